#!/usr/bin/python3
"""Viewers of a Janus stream by WebRTC (aiortc): `janus_viewers.py URL STREAM COUNT FRAMES`.

Each waits for so many frames, which are counted as they come out of the jitter buffer and not decoded. Tells how many each got,
as JSON."""

import asyncio
import json
import sys
import urllib.request

import aiortc.rtcrtpreceiver
from aiortc import RTCPeerConnection, RTCSessionDescription

LIMIT = 60  # seconds


async def main(url, stream, count, frames):
    viewers = [Viewer(url, stream) for _ in range(count)]
    await asyncio.gather(*(viewer.start() for viewer in viewers))
    end = asyncio.get_running_loop().time() + LIMIT
    while asyncio.get_running_loop().time() < end and any(viewer.frames() < frames for viewer in viewers):
        await asyncio.sleep(0.2)
    print(json.dumps([viewer.frames() for viewer in viewers]), flush=True)
    await asyncio.gather(*(viewer.peer.close() for viewer in viewers))


class Viewer:
    """One subscriber."""

    def __init__(self, url, stream):
        self.url, self.stream, self.peer = url, stream, RTCPeerConnection()

    async def start(self):
        self.url += f"/{(await self.ask({'janus': 'create'}))['data']['id']}"
        self.url += f"/{(await self.ask({'janus': 'attach', 'plugin': 'janus.plugin.streaming'}))['data']['id']}"
        offer = await self.message({"request": "watch", "id": self.stream})
        await self.peer.setRemoteDescription(RTCSessionDescription(**offer))
        await self.peer.setLocalDescription(await self.peer.createAnswer())
        answer = self.peer.localDescription
        await self.message({"request": "start"}, {"type": answer.type, "sdp": answer.sdp})

    def frames(self):
        return sum(COUNTS.get(id(receiver.receiver), 0) for receiver in self.peer.getTransceivers())

    async def message(self, body, jsep=None):
        await self.ask({"janus": "message", "body": body, **({"jsep": jsep} if jsep else {})})
        session = self.url.rsplit("/", 1)[0]
        while True:
            event = await _http(f"{session}?maxev=1")
            if event.get("janus") == "event":
                return event.get("jsep")

    async def ask(self, words):
        answer = await _http(self.url, {**words, "transaction": "0"})
        assert answer["janus"] in ("success", "ack"), answer
        return answer


async def _http(url, words=None):
    def ask():
        data = None if words is None else json.dumps(words).encode()
        return json.loads(urllib.request.urlopen(url, data, timeout=LIMIT).read())
    return await asyncio.get_running_loop().run_in_executor(None, ask)


COUNTS = {}  # a receiver: its frames


def count_instead_of_decoding():
    """Has each receiver's decoder thread count the frames that it would decode."""
    receive = aiortc.rtcrtpreceiver.RTCRtpReceiver.receive

    async def counting(receiver, parameters):
        def worker(_loop, waiting, _decoded):
            while waiting.get() is not None:
                COUNTS[id(receiver)] = COUNTS.get(id(receiver), 0) + 1
        aiortc.rtcrtpreceiver.decoder_worker = worker
        await receive(receiver, parameters)
    aiortc.rtcrtpreceiver.RTCRtpReceiver.receive = counting


if __name__ == "__main__":
    count_instead_of_decoding()
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
