#!/usr/bin/python3
"""Connections that nobody wants: `crowd.py HOST PORT KIND COUNT [--origins N]`.

KINDs, of which COUNT are made:

  silent      connections that say nothing
  ticketless  connections that send a link message and no ticket
  leaving     connections that send a link message and leave at once; COUNT at a time, without end
  sessions    main channels that do nothing; the server must want no password
  channels    inputs channels of four sessions, a quarter each; likewise
  displays    displays 0, 1, … of one session, whose connections end at once; likewise
  guesses     logins with a wrong password, one after the other of each origin
  forgeries   one main channel that has copied text and sends a file, COUNT bytes at a time, whatever the agent allows; likewise
  questions   one main channel that asks its agent COUNT times, and takes the answers afterwards; likewise
  motions     one inputs channel that sends so many motions in one piece and then reads; likewise

They come from --origins addresses of 127.0.0.0/8 by turns. Prints one line, `there: N answered: N`, when all are made
(`leaving`: when the first COUNT are), and keeps what the server leaves open until its standard input ends. Answered are those
that were let in, of `questions` the answers that came before leave to ask more, of `guesses` those that were asked for a password, of `motions` the acknowledgements.
"""

import argparse
import os
import select
import socket
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

MAIN, DISPLAY, INPUTS = 1, 2, 3  # channels
MAIN_INIT, INPUTS_INIT, MOTION_ACK, MOUSE_MOTION = 103, 101, 111, 111  # messages
AGENT_START, AGENT_DATA, AGENT_TOKEN_TO_SERVER, AGENT_TOKEN, AGENT_FROM_SERVER = 106, 107, 108, 110, 109
ANNOUNCE, GRAB, FILE_START, FILE_DATA = 6, 7, 10, 12  # the agent's messages
AGENT_TOKENS = 32  # pieces that may be sent ahead
MOTIONS_EACH = 4  # motions for each acknowledgement
TICKET = 128  # bytes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("kind", choices=list(MAKERS))
    parser.add_argument("count", type=int)
    parser.add_argument("--origins", type=int, default=1)
    settings = parser.parse_args()
    made = MAKERS[settings.kind](settings)
    print(f"there: {len(made)} answered: {sum(int(answer) for _, answer in made)}", flush=True)
    if settings.kind == "leaving":
        while not ended():
            leaving(settings)
    sys.stdin.read()
    os._exit(0)  # without closing thousands of sockets one by one


def ended():
    return bool(select.select([sys.stdin], [], [], 0)[0])


def connect(settings, number):
    address = 1 + number % settings.origins
    peer = socket.socket()
    peer.bind((f"127.0.{address // 250}.{1 + address % 250}" if settings.origins > 1 else "127.0.0.1", 0))
    peer.connect((settings.host, settings.port))
    return peer


def silent(settings):
    return [(connect(settings, number), False) for number in range(settings.count)]


def ticketless(settings):
    peers = []
    for number in range(settings.count):
        peer = connect(settings, number)
        try:
            peer.sendall(hello(0, MAIN, 0))
        except OSError:
            pass
        peers.append((peer, False))
    return peers


def leaving(settings):
    for number in range(settings.count):
        with connect(settings, number) as peer:
            peer.sendall(hello(0, MAIN, 0))
    return [(None, False)] * settings.count


def sessions(settings):
    return [link(settings, number, 0, MAIN, 0) for number in range(settings.count)]


def channels(settings):
    made = []
    for number in range(4):
        peer, session = start(settings, number)
        made.append((peer, False))
        made += [link(settings, number, session, INPUTS, channel) for channel in range(settings.count // 4)]
    return made


def displays(settings):
    peer, session = start(settings, 0)
    made = [link(settings, 0, session, DISPLAY, channel) for channel in range(settings.count)]
    for display, _ in made:
        display.close()
    peer.close()
    return made


def guesses(settings):
    def of(origin):
        return [guess(settings, origin) for _ in range(settings.count // settings.origins)]
    with ThreadPoolExecutor(settings.origins) as pool:
        return [made for all_of_one in pool.map(of, range(settings.origins)) for made in all_of_one]


def guess(settings, number):
    peer = connect(settings, number)
    peer.settimeout(20)
    peer.sendall(hello(0, MAIN, 0))
    size = struct.unpack("<4sIII", exactly(peer, 16))[3]
    if exactly(peer, size)[:4] != bytes(4):
        return peer, False
    peer.sendall(bytes(range(TICKET)))
    assert exactly(peer, 4) == struct.pack("<I", 7)
    return peer, True


def motions(settings):
    main, session = start(settings, 0)
    peer, entered = link(settings, 0, session, INPUTS, 0)
    assert entered
    assert struct.unpack("<HI", exactly(peer, 6)) == (INPUTS_INIT, 2)
    exactly(peer, 2)
    peer.sendall(struct.pack("<HIiiH", MOUSE_MOTION, 10, 1, 0, 0) * settings.count)
    acknowledged = 0
    while acknowledged < settings.count // MOTIONS_EACH:
        kind, size = struct.unpack("<HI", exactly(peer, 6))
        exactly(peer, size)
        acknowledged += kind == MOTION_ACK
    return [(main, False), (peer, acknowledged)]


def forgeries(settings):
    main, _ = start(settings, 0)
    exactly(main, 28)  # the rest of MAIN_INIT
    caps, question = (struct.pack("<II", asks, 1 << 5 | 1 << 6) for asks in (0, 1))
    about = b"[vdagent-file-xfer]\nname=forged.txt\nsize=6\n\0"
    stream = b"".join(struct.pack("<IIQI", 1, kind, 0, len(body)) + body for kind, body in (
        (ANNOUNCE, caps), (GRAB, struct.pack("<II", 0, 1)), (FILE_START, struct.pack("<I", 7) + about),
        (FILE_DATA, struct.pack("<IQ", 7, 6) + b"forged"), (ANNOUNCE, question)))
    main.sendall(struct.pack("<HII", AGENT_START, 4, 0xffffffff))
    pieces = [stream[at:at + settings.count] for at in range(0, len(stream), settings.count)]
    tokens, answered = AGENT_TOKENS, False
    while pieces or not answered:  # the answer comes when all before it has been read
        while pieces and tokens:
            piece = pieces.pop(0)
            main.sendall(struct.pack("<HI", AGENT_DATA, len(piece)) + piece)
            tokens -= 1
        kind, size = struct.unpack("<HI", exactly(main, 6))
        body = exactly(main, size)
        tokens += struct.unpack("<I", body)[0] if kind == AGENT_TOKEN else 0
        answered = answered or (kind == AGENT_FROM_SERVER and struct.unpack_from("<II", body) == (1, ANNOUNCE))
    return [(main, True)]


def questions(settings):
    main, _ = start(settings, 0)
    exactly(main, 28)  # the rest of MAIN_INIT
    question = struct.pack("<III", 0, 1, 1)
    question = struct.pack("<IIQI", 1, ANNOUNCE, 0, 8) + question[4:]
    main.sendall(struct.pack("<HII", AGENT_START, 4, 0))
    main.sendall((struct.pack("<HI", AGENT_DATA, len(question)) + question) * settings.count)
    answers = 0
    for taken in (settings.count - 1, 1):
        main.sendall(struct.pack("<HII", AGENT_TOKEN_TO_SERVER, 4, taken))
        while True:
            kind, size = struct.unpack("<HI", exactly(main, 6))
            exactly(main, size)
            answers += kind == AGENT_FROM_SERVER
            if kind == AGENT_TOKEN:
                return [(main, answers)]
            if answers == settings.count - 1 and taken > 1:
                break
    raise AssertionError("unreachable")


def start(settings, number):
    """Begins a session. Returns its main channel's connection, and its number."""
    peer, entered = link(settings, number, 0, MAIN, 0)
    assert entered
    # The mini header of MAIN_INIT, whose body begins with the session's number.
    kind, _, session = struct.unpack("<HII", exactly(peer, 10))
    assert kind == MAIN_INIT, kind
    return peer, session


def hello(session, kind, channel):
    """SpiceLinkMess: the minimal header, tickets, no choice of mechanism."""
    caps = struct.pack("<I", 1 << 3)
    body = struct.pack("<IBBIII", session, kind, channel, 1, 0, 18) + caps
    return b"REDQ" + struct.pack("<III", 2, 2, len(body)) + body


def link(settings, number, session, kind, channel):
    """Logs in to a server that wants no password. Returns the connection, and whether it was let in."""
    peer = connect(settings, number)
    peer.settimeout(20)
    try:
        peer.sendall(hello(session, kind, channel))
        size = struct.unpack("<4sIII", exactly(peer, 16))[3]
        exactly(peer, size)
        peer.sendall(bytes(TICKET))
        return peer, exactly(peer, 4) == bytes(4)
    except OSError:
        return peer, False


def exactly(peer, size):
    data = b""
    while len(data) < size:
        more = peer.recv(size - len(data))
        if not more:
            raise ConnectionError("the server closed the connection")
        data += more
    return data


MAKERS = {"silent": silent, "ticketless": ticketless, "leaving": leaving, "sessions": sessions, "channels": channels,
          "displays": displays, "forgeries": forgeries, "questions": questions, "guesses": guesses, "motions": motions}

if __name__ == "__main__":
    main()
