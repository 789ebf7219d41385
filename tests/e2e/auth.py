"""Passwords."""

import socket


def right_password(rig):
    """with the right password a client gets in"""
    vm, server = _server(rig)
    rig.same_picture(vm, rig.client(server, password="open sesame"))


def wrong_password(rig):
    """with a wrong one it is refused, and others are not disturbed"""
    vm, server = _server(rig)
    inside = rig.client(server, password="open sesame")
    inside("wait-picture")
    for password in ("wrong", "", "open sesame ", "x" * 60):
        client = rig.client(server, password=password)
        client("wait-event main error-auth")
        assert client("stats")["first_picture_ms"] is None
    rig.same_picture(vm, inside)


def no_password(rig):
    """without one it is refused"""
    _, server = _server(rig)
    client = rig.client(server)
    client("wait-event main error-auth")


def not_told(rig):
    """the password is told nobody: not in the log, not on the command line"""
    _, server = _server(rig)
    client = rig.client(server, password="open sesame")
    client("wait-picture")
    with open(f"/proc/{server.process.pid}/cmdline", "rb") as file:
        assert b"sesame" not in file.read()
    assert "sesame" not in server.errors()


def strangers(rig):
    """a peer that speaks no SPICE is turned away, and the program goes on"""
    vm, server = _server(rig)
    host, port = server.uri.removeprefix("spice://").split(":")
    for words in (b"GET / HTTP/1.1\r\n\r\n", b"REDQ" + b"\xff" * 200, b"\0" * 4096, b"REDQ\2\0\0\0\2\0\0\0\xff\xff\xff\x7f"):
        with socket.create_connection((host, int(port)), timeout=10) as peer:
            peer.sendall(words)
            peer.settimeout(20)
            try:
                while peer.recv(4096):
                    pass
            except ConnectionResetError:
                pass
    rig.same_picture(vm, rig.client(server, password="open sesame"))


def _server(rig):
    rig.needs_program()
    vm = rig.vm()
    file = rig.fresh("password", "")
    file.write_text("open sesame\n")
    file.chmod(0o600)
    return vm, rig.serve(vm, "--password-file", str(file))
