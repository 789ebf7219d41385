"""Invitations: secrets beside the password, to look or to use, once or until they end; and wrong passwords without end."""

import re
import subprocess

from inputs import KEY
from rig import eventually
from strangers import Strangers
from tls import certificates
from viewer import shows_in_remote_viewer


def to_look(rig):
    """who is invited to look sees the picture and the lights, and the guest hears nothing of their keys and pointer"""
    vm, server, bus = _controlled(rig)
    owner = rig.client(server, password="open sesame")
    guest = rig.client(server, password=_invite(rig, bus, "--look")[1])
    rig.same_picture(vm, owner)
    rig.same_picture(vm, guest)
    vm.stage("events on")
    owner("key 2a down")
    for command in ("key 1e", "key 39 down", "button 1", "leds 4", "position 200 200", "motion 5 5", "key 2a up", "sleep 300"):
        guest(command)
    guest.stop()  # what it held, and what others hold, is not released
    owner("key 30")
    keys = lambda events: [(code, value) for _, kind, code, value in events if kind == KEY]  # noqa: E731
    wanted = [(42, 1), (48, 1), (48, 0)]
    vm.events(lambda events: len(keys(events)) >= len(wanted))
    owner("sleep 300")
    found = vm.events(lambda events: keys(events) == wanted)
    assert found is not False
    owner("key 2a up")
    assert server.errors().count("may only look") == 1, "one line"
    looker = rig.client(server, password=_invite(rig, bus, "--look")[1])
    looker("wait-picture")
    owner("key 3a")  # Caps Lock
    looker("wait-leds 4")
    owner("key 3a")
    looker("wait-leds 0")


def once(rig):
    """an invitation for once lets one session in with all its channels, and no second one"""
    vm, server, bus = _controlled(rig)
    number, secret, _ = _invite(rig, bus, "--once", "--name", "ann")
    first = rig.client(server, password=secret)
    rig.same_picture(vm, first)
    assert [(row["name"], row["taken"]) for row in rig.status(bus)["Invitations"]] == [("ann", True)]
    second = rig.client(server, password=secret)
    second("wait-event main error-auth")
    vm.stage("fill 306090")
    first("wait-colour 100 100 306090")
    first("leave")
    eventually(lambda: not rig.status(bus)["Invitations"], "the end of what was used up")
    first("come-back")
    first("wait-event main error-auth")
    assert "error-auth" in second("stats")["events"]["main"]
    rig.same_picture(vm, rig.client(server, password="open sesame"))
    assert secret not in server.errors(), "a secret in the log"


def until_they_end(rig):
    """at its end whoever came in by an invitation is disconnected and reads why, and nobody else is"""
    vm, server, bus = _controlled(rig)
    owner = rig.client(server, password="open sesame")
    _, secret, _ = _invite(rig, bus, "--for", "15s")
    clients = [rig.client(server, password=secret) for _ in range(2)]
    for client in (owner, *clients):
        client("wait-picture")
    for client in clients:
        client("wait-end")
        eventually(lambda: "time of its invitation is over" in client.log_path.read_text(errors="replace"), "a notice")
    eventually(lambda: server.errors().count("time of its invitation is over") == 2, "a line for each")
    rig.client(server, password=secret)("wait-event main error-auth")
    vm.stage("fill 609030")
    owner("wait-colour 100 100 609030")
    assert not rig.status(bus)["Invitations"]


def revoked(rig):
    """an invitation that is revoked lets nobody in, and whoever is in by it is disconnected"""
    vm, server, bus = _controlled(rig)
    (one, first, _), (_, second, _) = _invite(rig, bus), _invite(rig, bus)
    clients = [rig.client(server, password=secret) for secret in (first, second)]
    for client in clients:
        rig.same_picture(vm, client)
    _run(rig, bus, "--revoke", str(one))
    clients[0]("wait-end")
    rig.client(server, password=first)("wait-event main error-auth")
    vm.stage("fill 603090")
    clients[1]("wait-colour 100 100 603090")
    assert "no invitation" in _run(rig, bus, "--revoke", str(one), code=1).stderr


def refused(rig):
    """where everybody enters there is nothing to invite to, until there is a password; there is an end to invitations"""
    rig.needs_program()
    vm, bus = rig.vm(), rig.bus()
    open_one = rig.serve(vm, "--relay-bus", bus.address)
    told = _run(rig, bus, code=1).stderr
    assert "set a password first" in told and "--invited-only" in told, told
    open_one.stop()
    bus = rig.bus()
    server = rig.serve(vm, "--relay-bus", bus.address, "--invited-only")
    for password in (None, "", "x"):
        rig.client(server, password=password)("wait-event main error-auth")
    invitations = [_invite(rig, bus) for _ in range(64)]
    assert len({secret for _, secret, _ in invitations}) == 64
    assert "revoke one" in _run(rig, bus, code=1).stderr
    assert "at once" in _run(rig, bus, "--until", "1", code=1).stderr
    rig.same_picture(vm, rig.client(server, password=invitations[-1][1]))


def connection_file(rig):
    """remote-viewer opens the connection file of an invitation, over TLS, and shows the guest without asking anything"""
    folder = certificates(rig)
    vm, server, bus = _controlled(rig, "--tls-creds", folder)
    _, secret, text = _invite(rig, bus, "--look", "--once")
    assert f"password={secret}" in text and "tls-port=" in text, text
    file = rig.fresh("machine", ".vv")
    file.write_text(text)
    shows_in_remote_viewer(rig, vm, str(file))
    assert rig.status(bus)["Invitations"][0]["taken"]


def guesses(rig):
    """who tries passwords without end gets to try a few, and keeps nobody else out"""
    vm, server, bus = _controlled(rig)
    owner = rig.client(server, password="open sesame")
    rig.same_picture(vm, owner)
    with Strangers(rig, server, "guesses", 60, "--origins", "2") as strangers:
        tried = int(strangers.told.split()[-1])
        refused = rig.status(bus)["Refused"]
        assert refused["wrong-password"] == tried and refused["held-off"] == 60 - tried, (tried, refused)
        # Four of each without a wait, and while the waits are short enough to be waited for.
        assert 8 <= tried <= 20, tried
        rig.same_picture(vm, rig.client(server, password="open sesame"))
    vm.stage("fill 903060")
    owner("wait-colour 100 100 903060")
    rig.tell(f"{tried} of 60 guesses were looked at")


def _controlled(rig, *options):
    rig.needs_program()
    vm, bus = rig.vm(), rig.bus()
    file = rig.fresh("password", "")
    file.write_text("open sesame\n")
    return vm, rig.serve(vm, "--password-file", file, "--relay-bus", bus.address, *options), bus


def _invite(rig, bus, *options):
    """Runs `qemu-spice invite`; returns the invitation's number, its secret, and the connection file."""
    done = _run(rig, bus, *options)
    number = int(re.match(r"Invitation (\d+)", done.stderr)[1])
    secret = re.search(r"^password=(.*)$", done.stdout, re.MULTILINE)[1]
    assert len(secret) >= 22 and secret in done.stderr, done.stderr
    return number, secret, done.stdout


def _run(rig, bus, *options, code=0):
    command = [rig.settings.program, "invite", "--dbus-address", bus.address, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == code, (done.returncode, done.stderr)
    return done
