"""Passwords."""

import socket
import subprocess


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


def changed(rig):
    """`qemu-spice password` changes it while viewers are in: for those who come later, and with --connected for those who are there"""
    vm, server, bus = _controlled(rig)
    first = rig.client(server, password="open sesame")
    rig.same_picture(vm, first)
    assert "clients are connected (1)" in _password(rig, bus, "another", "--connected", "fail", code=1)
    _password(rig, bus, "another")
    rig.client(server, password="open sesame")("wait-event main error-auth")
    second = rig.client(server, password="another")
    rig.same_picture(vm, second)
    vm.stage("fill 306090")
    first("wait-colour 100 100 306090")
    _password(rig, bus, "a third", "--connected", "disconnect")
    for client in (first, second):
        client("wait-end")
    rig.same_picture(vm, rig.client(server, password="a third"))
    assert not any(word in server.errors() for word in ("another", "third", "sesame")), "a password in the log"


def expires(rig):
    """a password that has expired lets nobody in, whoever is in stays, and it can be given more time"""
    vm, server, bus = _controlled(rig)
    inside = rig.client(server, password="open sesame")
    rig.same_picture(vm, inside)
    _password(rig, bus, None, "--expires", "now")
    rig.client(server, password="open sesame")("wait-event main error-auth")
    _password(rig, bus, None, "--expires", "+3600")
    rig.same_picture(vm, rig.client(server, password="open sesame"))
    vm.stage("fill 609030")
    inside("wait-colour 100 100 609030")
    _password(rig, bus, "short", "--expires", "1")
    rig.client(server, password="short")("wait-event main error-auth")


def wrongly_changed(rig):
    """what cannot be changed is told in one line, and the password is as it was"""
    vm, server, bus = _controlled(rig)
    assert "longer than 60" in _password(rig, bus, "x" * 61, code=1)
    assert "empty" in _password(rig, bus, "", code=1)
    assert "org.example" in _password(rig, bus, "other", "--server", "org.example", code=1)
    assert "SECONDS" in _password(rig, bus, None, "--expires", "soon", code=2)
    rig.same_picture(vm, rig.client(server, password="open sesame"))


def _controlled(rig):
    bus = rig.bus()
    vm, server = _server(rig, "--relay-bus", bus.address)
    return vm, server, bus


def _password(rig, bus, text, *options, code=0):
    """Runs `qemu-spice password`, with a new one or none; returns what it says of errors."""
    command = [rig.settings.program, "password", "--dbus-address", bus.address, *options, *(["--keep"] if text is None else [])]
    done = subprocess.run(command, input=f"{text}\n", capture_output=True, text=True, timeout=20)
    assert done.returncode == code, (done.returncode, done.stderr)
    return done.stderr


def _server(rig, *options):
    rig.needs_program()
    vm = rig.vm()
    file = rig.fresh("password", "")
    file.write_text("open sesame\n")
    file.chmod(0o600)
    return vm, rig.serve(vm, "--password-file", str(file), *options)
