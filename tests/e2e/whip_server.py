#!/usr/bin/python3
"""A server of WHIP (by aiortc) that takes what is offered at /whip/vm to whoever has the token, and writes its frames to
standard output: `whip_server.py PORT TOKEN`. Standard error has a line for each request."""

import asyncio
import os
import sys

from aiortc import RTCPeerConnection, RTCSessionDescription

PORT, TOKEN = int(sys.argv[1]), sys.argv[2]
ours = set()


async def receive(track):
    while True:
        frame = await track.recv()
        pixels = frame.to_ndarray(format="rgb24", src_colorspace="ITU709").tobytes()
        for at in range(0, len(pixels), 1 << 16):
            await asyncio.to_thread(os.write, 1, pixels[at:at + (1 << 16)])


async def answer(offer):
    peer = RTCPeerConnection()
    ours.add(peer)
    peer.on("track", lambda track: ours.add(asyncio.ensure_future(receive(track))))
    await peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
    await peer.setLocalDescription(await peer.createAnswer())
    return peer.localDescription.sdp


async def serve(reader, writer):
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next((int(line.split(":")[1]) for line in head.splitlines() if line.startswith("content-length:")), 0)
    body = (await reader.readexactly(length)).decode()
    method, path = head.split(" ")[:2]
    status, extra, text = "401 Unauthorized", "", ""
    if f"\r\nauthorization: bearer {TOKEN}\r\n" in head:
        if method == "post" and path == "/whip/vm" and "\r\ncontent-type: application/sdp\r\n" in head:
            status, extra, text = "201 Created", "Location: /session/1\r\nContent-Type: application/sdp\r\n", await answer(body)
        elif method == "delete" and path == "/session/1":
            status = "200 OK"
        else:
            status = "404 Not Found"
    print(method, path, status, file=sys.stderr, flush=True)
    writer.write(f"HTTP/1.1 {status}\r\n{extra}Content-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode())
    await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", PORT)
    await server.serve_forever()

asyncio.run(main())
