"""The guest's agent: copy and paste, files, and the size of windows; and the server's own agent where a guest has none."""

import hashlib
import itertools
import os
import re
import struct
import subprocess
import time

from invitations import _invite as invite
from rig import ROOT, eventually
from sound import _switches as switches, _with_sound as with_sound
from viewer import shows_in_remote_viewer

TEXT, PNG = 1, 2
LIMIT = 90  # seconds for what goes through an emulated guest
CLIPBOARD_CAPS = (5, 6)
VOLUME_SYNC = 11
XCLIP = ("clipboard", "primary")  # its names of the clipboards


def text_and_pictures(rig):
    """text, a picture and 20 MB are copied at the viewer and pasted in the guest, and the other way round"""
    vm, server, client = _desktop(rig)
    _both_ways(rig, vm, client, TEXT, "UTF8_STRING", "Grüße aus Köln\n".encode() * 100)
    _both_ways(rig, vm, client, PNG, "image/png", os.urandom(300_000))
    _both_ways(rig, vm, client, PNG, "image/png", os.urandom(20_000_000))


def clipboard_to_guest(rig):
    """with --clipboard to-guest nothing that the guest has copied reaches the viewer"""
    vm, server, client = _desktop(rig, "--clipboard", "to-guest")
    _copy_here(rig, client, TEXT, b"from the viewer")
    _pasted_in_guest(vm, "UTF8_STRING", b"from the viewer")
    _copy_in_guest(vm, "UTF8_STRING", b"secret of the guest")
    _nothing_copied(rig, vm, client)


def clipboard_from_guest(rig):
    """with --clipboard from-guest nothing that the viewer has copied reaches the guest"""
    vm, server, client = _desktop(rig, "--clipboard", "from-guest")
    _copy_in_guest(vm, "UTF8_STRING", b"from the guest")
    client(f"wait-copied {TEXT}")
    _paste_here(rig, client, TEXT, b"from the guest")
    _copy_here(rig, client, TEXT, b"secret of the viewer")
    client("sleep 1000")
    assert _clipboard_of_guest(vm, "UTF8_STRING") == b"from the guest"


def no_clipboard(rig):
    """with --clipboard none the viewer knows of no clipboard"""
    vm, server, client = _desktop(rig, "--clipboard", "none", caps=(2,))
    caps = client("agent-caps")["caps"]
    assert not {3, 5, 6} & set(caps), caps
    _copy_in_guest(vm, "UTF8_STRING", b"secret of the guest")
    _nothing_copied(rig, vm, client)


def selected_text(rig):
    """what is selected at the viewer is pasted by the middle button in the guest, and the other way round, beside what was copied"""
    vm, server, client = _desktop(rig)
    _copy_here(rig, client, TEXT, b"copied here")
    _both_ways(rig, vm, client, TEXT, "UTF8_STRING", b"selected", selection=1)
    _pasted_in_guest(vm, "UTF8_STRING", b"copied here")


def text_through_qemu(rig):
    """without a port for the program text goes through QEMU's own clipboard, both ways: copied and selected, and after the agent began anew"""
    vm, server, client = _desktop_of_qemu(rig)
    for selection in (0, 1):
        _both_ways(rig, vm, client, TEXT, "UTF8_STRING", "Grüße aus Köln\n".encode() * 100, selection=selection)
    _both_ways(rig, vm, client, TEXT, "UTF8_STRING", b"x" * 900_000)
    _copy_here(rig, client, TEXT, b"before the agent ended")
    vm.stage("agent_off")
    vm.stage("agent_on")
    _pasted_in_guest(vm, "UTF8_STRING", b"before the agent ended")
    client.stop()
    second = rig.client(server)
    second("wait-agent-caps " + " ".join(map(str, CLIPBOARD_CAPS)))
    _copy_in_guest(vm, "UTF8_STRING", b"for the second viewer")
    second(f"wait-copied {TEXT}")
    _paste_here(rig, second, TEXT, b"for the second viewer")
    server.stop()
    third = rig.client(rig.serve(vm))  # QEMU takes us for the one before, which is gone
    third("wait-agent-caps " + " ".join(map(str, CLIPBOARD_CAPS)))
    _both_ways(rig, vm, third, TEXT, "UTF8_STRING", b"through the next program")


def text_through_a_bus(rig):
    """the same where QEMU is on a bus"""
    bus = rig.bus()
    vm = rig.desktop(agent="qemu-vdagent,clipboard=on", display=f"dbus,addr={bus.address}")
    server = rig.serve(vm, attach=["--dbus-address", bus.address])
    client = rig.client(server)
    client("wait-agent-caps " + " ".join(map(str, CLIPBOARD_CAPS)))
    _both_ways(rig, vm, client, TEXT, "UTF8_STRING", b"over the bus")


def text_through_the_newest_qemu(rig):
    """the same with QEMU 11"""
    vm, server, client = _desktop_of_qemu(rig, "qemu11")
    _both_ways(rig, vm, client, TEXT, "UTF8_STRING", b"through another version")


def too_much_text_through_qemu(rig):
    """text that QEMU cannot carry is left out, and the guest does not wait for it"""
    vm, server, client = _desktop_of_qemu(rig)
    _copy_here(rig, client, TEXT, b"small")
    _pasted_in_guest(vm, "UTF8_STRING", b"small")
    for size in (1_000_000, 9_000_000):
        _copy_here(rig, client, TEXT, b"x" * size)
        eventually(lambda: "UTF8_STRING" not in _clipboard_types(vm), "an empty clipboard", LIMIT)
        _copy_here(rig, client, TEXT, b"small again")
        _pasted_in_guest(vm, "UTF8_STRING", b"small again")


def policies_through_qemu(rig):
    """each --clipboard is kept with QEMU's own clipboard as well"""
    vm = rig.desktop(agent="qemu-vdagent,clipboard=on")
    for policy in ("to-guest", "from-guest", "none"):
        server = rig.serve(vm, "--clipboard", policy)
        client = rig.client(server)
        client("wait-agent-caps 1")
        if policy != "none":
            client("wait-agent-caps " + " ".join(map(str, CLIPBOARD_CAPS)))
        text = f"from the viewer, {policy}".encode()
        _copy_here(rig, client, TEXT, text)
        if policy == "to-guest":
            _pasted_in_guest(vm, "UTF8_STRING", text)
        _copy_in_guest(vm, "UTF8_STRING", b"of the guest")
        if policy == "from-guest":
            client(f"wait-copied {TEXT}")
            _paste_here(rig, client, TEXT, b"of the guest")
        else:
            _nothing_copied(rig, vm, client)
        if policy != "to-guest":
            _copy_here(rig, client, TEXT, text)
            client("sleep 1000")
            assert _clipboard_of_guest(vm, "UTF8_STRING") == b"of the guest"
            assert not {3, 5, 6} & set(client("agent-caps")["caps"]) or policy != "none"
        client.stop()
        server.stop()


def files(rig):
    """files are sent to the guest, several at once, and one is given up on the way"""
    vm, server, client = _desktop(rig)
    paths = []
    for size in (50_000_000, 0, 12_345):
        paths.append(rig.fresh("sent", ".bin"))
        paths[-1].write_bytes(os.urandom(size))
    began = time.monotonic()
    result = client("send " + " ".join(map(str, paths)))
    took = time.monotonic() - began
    assert result["sent"] and result["steps"] > 10, result
    for path in paths:
        wanted = hashlib.sha256(path.read_bytes()).hexdigest()
        found = "".join(vm.stage(f"sha256sum $HOME/Desktop/{path.name}", LIMIT))
        assert wanted in found, f"{path.name}: {found}"
    given_up = rig.fresh("given-up", ".bin")
    given_up.write_bytes(os.urandom(20_000_000))
    result = client(f"send {given_up} --cancel")
    assert not result["sent"], result
    eventually(lambda: given_up.name not in "".join(vm.stage("ls $HOME/Desktop")), "the end of the given up file", 20)
    rig.tell(f"50 MB at {50 / took:.0f} MB/s, to an emulated guest")


def disk_full(rig):
    """a file that does not fit the guest's disk is refused, and the next one that does is sent"""
    vm, server, client = _desktop(rig)
    vm.stage("mount -t tmpfs -o size=2m small $HOME/Desktop")
    large, small = rig.fresh("large", ".bin"), rig.fresh("small", ".bin")
    large.write_bytes(os.urandom(10_000_000))
    small.write_bytes(os.urandom(1_000_000))
    result = client(f"send {large}")
    assert not result["sent"], result
    assert client(f"send {small}")["sent"]
    assert hashlib.sha256(small.read_bytes()).hexdigest() in "".join(vm.stage(f"sha256sum $HOME/Desktop/{small.name}", LIMIT))
    assert "".join(vm.stage("ls $HOME/Desktop")) == small.name
    rig.tell(result["refusal"])


def no_files(rig):
    """with --file-transfer off the viewer cannot send any"""
    vm, server, client = _desktop(rig, "--file-transfer", "off")
    assert 13 in client("agent-caps")["caps"]
    path = rig.fresh("sent", ".bin")
    path.write_bytes(b"x" * 100)
    assert not client(f"send {path}")["sent"]
    assert not "".join(vm.stage("ls $HOME/Desktop"))


def forged_messages(rig):
    """what is forbidden stays so for a client that does not care, in pieces of any size"""
    vm = rig.desktop()
    for allowed in (True, False):
        arguments = [] if allowed else ["--clipboard", "none", "--file-transfer", "off"]
        server = rig.serve(vm, *arguments)
        for size in (3, 33, 2048):
            client = rig.client(server)  # the guest's agent is there once it is for somebody
            client(f"wait-agent-caps {VOLUME_SYNC}")
            client.stop()
            crowd = subprocess.Popen([ROOT / "tests/clients/crowd.py", *server.uri.removeprefix("spice://").split(":"), "forgeries", str(size)],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            assert crowd.stdout.readline() == "there: 1 answered: 1\n"
            if allowed:
                eventually(lambda: "forged.txt" in "".join(vm.stage("ls $HOME/Desktop")), "the file", LIMIT)
                eventually(lambda: "UTF8_STRING" in _clipboard_types(vm), "the text", LIMIT)
            else:
                assert "forged.txt" not in "".join(vm.stage("ls $HOME/Desktop"))
                assert "UTF8_STRING" not in _clipboard_types(vm)
            crowd.stdin.close()
            crowd.wait(20)
            vm.stage("rm -f $HOME/Desktop/*")
        server.stop()


def takes_no_answers(rig):
    """a client that asks the agent without taking its answers may not ask any more, until it takes them"""
    server = rig.serve(rig.vm())
    crowd = subprocess.Popen([ROOT / "tests/clients/crowd.py", *server.uri.removeprefix("spice://").split(":"), "questions", "32"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert crowd.stdout.readline() == "there: 1 answered: 32\n"
    crowd.stdin.close()
    crowd.wait(20)


def agent_restarts(rig):
    """the guest's agent ends and comes back while a viewer is on: pasting works again"""
    vm, server, client = _desktop(rig)
    vm.stage("agent_off")
    eventually(lambda: 13 in client("agent-caps")["caps"], "the server's own agent", 20)
    vm.stage("agent_on")
    client("wait-agent-caps " + " ".join(map(str, CLIPBOARD_CAPS)))
    _copy_here(rig, client, TEXT, b"after the restart")
    _pasted_in_guest(vm, "UTF8_STRING", b"after the restart")


def handed_over(rig):
    """the first of three viewers has the agent; when it leaves, in the middle of a paste, the next has it"""
    vm, server, first = _desktop(rig)
    others = []
    for _ in range(2):
        others.append(rig.client(server))
        others[-1]("wait-picture")
        others[-1]("wait-agent off")
    second, third = others
    big = rig.fresh("copied", "")
    big.write_bytes(os.urandom(20_000_000))
    first(f"copy {PNG} {big}")
    vm.stage("(timeout 60 xclip -selection clipboard -o -t image/png >/share/half 2>&1 &)")
    first("sleep 300")
    first.process.kill()
    second("wait-agent-caps " + " ".join(map(str, CLIPBOARD_CAPS)))
    third("wait-agent off")
    _copy_here(rig, second, TEXT, b"from the second")
    _pasted_in_guest(vm, "UTF8_STRING", b"from the second")
    second.stop()
    third("wait-agent-caps " + " ".join(map(str, CLIPBOARD_CAPS)))
    _copy_here(rig, third, TEXT, b"from the third")
    _pasted_in_guest(vm, "UTF8_STRING", b"from the third")


def handed_on_and_told(rig):
    """agent and microphone are the first viewer's, and the next one's when it leaves: status says whose, and viewers are told"""
    bus, vm = rig.bus(), rig.own_vm(**with_sound())
    file = rig.fresh("password", "")
    file.write_text("open sesame\n")
    server = rig.serve(vm, "--password-file", file, "--relay-bus", bus.address)
    secrets = ["open sesame"] * 3 + [invite(rig, bus, "--look")[1]]
    viewers = []
    for secret in secrets:
        viewers.append(rig.client(server, password=secret, sound=True))
        viewers[-1]("wait-event record opened")
    holds = lambda: [client["Holds"] for client in rig.status(bus)["Clients"]]  # noqa: E731
    for users in (3, 2, 1):
        eventually(lambda: holds() == [["agent", "microphone"]] + [[]] * users, f"the first of {users} has both: {holds()}")
        leaver = viewers.pop(0)
        leaver("wait-agent on")
        leaver.stop()
        of_others = "another viewer has" in leaver.log_path.read_text()
        its_own = [f"{what} are yours now" in leaver.log_path.read_text() for what in ("and the size of the screens",)]
        its_own.append("the microphone is yours now" in leaver.log_path.read_text())
        assert [of_others, *its_own] == [users < 3] * 3, (users, of_others, its_own)
    eventually(lambda: holds() == [[]], "nobody has them")
    looker, = viewers
    looker.stop()
    assert not re.search("another viewer has|yours now", looker.log_path.read_text()), "who may only look is told nothing"


def window_size(rig):
    """without an agent in the guest its mode follows the viewer's window, and a window that is dragged is one change"""
    vm = rig.own_vm()
    server = rig.serve(vm)
    client = rig.client(server, images_only=True)
    client("wait-picture")
    client("wait-agent-caps 1")
    vm.stage("console")
    vm.stage(r"sh printf '\033[?25l' >/dev/tty1")  # a caret that blinks is no rest
    client("wait-rest 400")
    for last in (1104, 808):
        before = len(client("sizes")["sizes"])
        for width in range(last - 160, last, 16):
            client(f"window {width} 600")
        client(f"window {last + 5} 600")  # guests take widths in steps of 8
        client(f"wait-size {last} 600")
        client("wait-rest 400")
        sizes = client("sizes")["sizes"][before:]
        assert sizes == [[last, 600]], sizes
    rig.tell("11 sizes of the window, 1 of the picture, twice")


def rest_costs_nothing(rig):
    """while all of a desktop rests, the program does not wake up, with sound, agent, USB and port channels open"""
    sound = with_sound()
    usb = ["-device", "qemu-xhci,id=usb", "-chardev", "dbus,id=usb0,name=org.qemu.usbredir", "-device", "usb-redir,bus=usb.0,chardev=usb0"]
    port = ["-chardev", "dbus,id=port,name=com.example.rest", "-device", "virtserialport,chardev=port,name=com.example.rest"]
    vm = rig.desktop(display=sound["display"], extra=[*sound["extra"], *usb, *port])
    bus = rig.bus()
    server = rig.serve(vm, "--relay-bus", bus.address)
    vm.stage(r"printf '\033[?25l' >/dev/tty1")  # a caret that blinks is no rest
    memory = [server.memory()]
    client = rig.client(server)
    client("wait-event display opened")
    client("sleep 2000")
    memory.append(server.memory())
    client.stop()
    client = rig.client(server, sound=True)
    client("wait-agent-caps " + " ".join(map(str, CLIPBOARD_CAPS)) + f" {VOLUME_SYNC}")
    wanted = {"display:0", "playback:0", "record:0", "usbredir:0", "port:0"}
    channels = lambda: set(rig.status(bus)["Clients"][0]["Channels"])  # noqa: E731
    eventually(lambda: wanted <= channels(), f"all channels: {channels()}", 20)
    _copy_here(rig, client, TEXT, b"something to carry")
    _pasted_in_guest(vm, "UTF8_STRING", b"something to carry")

    def sleeps():
        before = switches(server)
        time.sleep(2)
        return switches(server) == before
    eventually(sleeps, "two seconds without a wake-up", limit=60)
    memory.append(server.memory())
    rig.tell("{:.1f} MiB of its own before a viewer, {:.1f} with picture and agent, {:.1f} with all".format(*memory))


def pointer(rig):
    """in a guest without a tablet its agent has the pointer where the viewer's is, and buttons; it is a mouse again when the agent ends"""
    vm = rig.desktop(tablet=False)
    vm.stage("agent_off; ls /dev/uinput")
    vm.stage("(spice-vdagentd -x -X -d -d -u /dev/uinput >/run/vdagentd.log 2>&1 &) ; sleep 2")
    vm.stage("(spice-vdagent -x -d -d -f $HOME/Desktop >/run/vdagent.log 2>&1 &)")
    server = rig.serve(vm)
    client = rig.client(server)
    client("wait-mouse-mode client")
    device = "grep -l vdagent /sys/class/input/event*/device/name"
    eventually(lambda: vm.stage(f"{device} || true"), "the agent's tablet", 20)
    vm.stage(f"(cat /dev/input/$(basename $(dirname $(dirname $({device})))) >/share/events 2>/dev/null &)")

    def events(kind):
        data = (vm.shared / "events").read_bytes()
        found = [struct.unpack_from("<HHi", data, at + 16) for at in range(0, len(data) - 23, 24)]
        return [(code, value) for of, code, value in found if of == kind]
    places = itertools.cycle(("1 1", "2 2"))
    eventually(lambda: client(f"position {next(places)}") or events(3), "any movement")  # once the guest listens
    for x, y in ((640, 360), (3, 700)):
        client(f"position {x} {y}")
        eventually(lambda: {code: value for code, value in events(3)} == {0: x, 1: y}, f"{x},{y}: {events(3)}")
    client("button 1")
    client("button 3")
    eventually(lambda: events(1) == [(272, 1), (272, 0), (273, 1), (273, 0)], f"two clicks: {events(1)}")
    client("button 1 down")
    client("position 10 10")
    client.stop()
    eventually(lambda: events(1)[4:] == [(272, 1), (272, 0)], f"no button stays pressed: {events(1)}")
    client = rig.client(server)
    client("wait-mouse-mode client")
    vm.stage("agent_off")
    client("wait-mouse-mode server")


def size_in_millimetres(rig):
    """the guest is told how large a pixel is at the viewer, and 100 to the inch where that does not say so"""
    vm = rig.own_vm()
    client = rig.client(rig.serve(vm))
    client("wait-agent-caps 1")
    centimetres = lambda: [int(side) for side in vm.stage("sh od -An -tu1 -j21 -N2 /sys/class/drm/card0-Virtual-1/edid")[0].split()]  # noqa: E731
    client("window 1600 800 0 300 150")  # a dense one: 135 to the inch
    eventually(lambda: centimetres() == [30, 15], f"30 cm x 15 cm: {centimetres()}", 20)
    client("window 1000 800 0")
    eventually(lambda: centimetres() == [25, 20], f"25 cm x 20 cm: {centimetres()}", 20)


def two_heads(rig):
    """a viewer opens and closes the guest's second display, and then its first, each with one change of a mode"""
    bus, vm = rig.bus(), rig.own_vm(gpu="virtio-vga,max_outputs=2")
    server = rig.serve(vm, "--relay-bus", bus.address)
    vm.stage("console")
    connectors = lambda: vm.stage("sh cat /sys/class/drm/card0-Virtual-*/status")  # noqa: E731
    consoles = lambda: [(row.get("width"), row.get("height")) for row in rig.status(bus)["Consoles"]]  # noqa: E731
    assert connectors() == ["connected", "disconnected"]
    eventually(lambda: consoles()[1] == (None, None), f"a second display that is off: {consoles()}")
    client = rig.client(server, images_only=True)
    client("wait-picture")
    client("wait-agent-caps 1 7")
    assert client("displays")["sizes"] == {"0": [[1280, 720]], "1": []}
    for first, second in (((800, 600), (1024, 480)), ((808, 600), (1000, 400))):
        client(f"window {first[0]} {first[1]} 0")
        client(f"window {second[0]} {second[1]} 1")
        eventually(lambda: consoles() == [first, second], f"both displays: {consoles()}", 20)
        assert connectors() == ["connected"] * 2
        client("window 0 0 1")
        eventually(lambda: consoles() == [first, (None, None)], f"the first display: {consoles()}", 20)
        assert connectors() == ["connected", "disconnected"]
    client(f"window {second[0]} {second[1]} 1")
    eventually(lambda: consoles() == [first, second], f"both displays: {consoles()}", 20)
    client("window 0 0 0")
    eventually(lambda: connectors() == ["disconnected", "connected"], f"the second display: {connectors()}", 20)
    client("wait-rest 600")
    sizes = client("displays")["sizes"]
    assert sizes == {"0": [[1280, 720], [800, 600], [808, 600]], "1": [[1024, 480], [1000, 400], [1000, 400]]}, sizes
    rig.tell(f"sizes of the displays: {sizes}")


def two_heads_in_remote_viewer(rig):
    """remote-viewer has one window for a guest that uses one of two displays, and a second one once that is opened"""
    vm = rig.own_vm(gpu="virtio-vga,max_outputs=2")
    server = rig.serve(vm)
    display = shows_in_remote_viewer(rig, vm, server.uri)
    environment = {**os.environ, **display}

    def windows():
        asked = ["xdotool", "search", "--onlyvisible", "--class", "remote-viewer"]
        found = subprocess.run(asked, env=environment, capture_output=True, text=True).stdout.split()
        return [subprocess.run(["xdotool", "getwindowname", window], env=environment, capture_output=True, text=True).stdout.strip()
                for window in found]
    eventually(lambda: len(windows()) == 1, f"one window: {windows()}")
    connectors = lambda: [line for line in vm.stage("sh cat /sys/class/drm/card0-Virtual-*/status") if line]  # noqa: E731
    assert connectors() == ["connected", "disconnected"]
    vm.stage("console")  # what the guest shows on all of its displays

    def choose_second():
        # The third button of the window's head has a list of the displays, with the second in its second row.
        for x, y in ((112, 26), (148, 113)):
            subprocess.run(["xdotool", "mousemove", str(x), str(y), "sleep", "0.5", "click", "1", "sleep", "0.5"], env=environment, check=True)
    choose_second()
    eventually(lambda: len(windows()) == 2 and connectors() == ["connected"] * 2, f"two displays: {windows()}, {connectors()}", 20)
    choose_second()
    eventually(lambda: len(windows()) == 1 and connectors() == ["connected", "disconnected"], f"one display: {windows()}, {connectors()}", 20)


def _desktop(rig, *arguments, caps=CLIPBOARD_CAPS):
    """A guest with its agent, the program, and a client that speaks with the agent."""
    vm = rig.desktop()
    server = rig.serve(vm, *arguments)
    client = rig.client(server)
    client("wait-agent on")
    client("wait-agent-caps " + " ".join(map(str, caps)) + f" {VOLUME_SYNC}")  # our own agent has no volume
    return vm, server, client


def _desktop_of_qemu(rig, name="qemu"):
    """A guest whose agent speaks with QEMU, the program, and a client that has a clipboard through both."""
    vm = rig.desktop(name, agent="qemu-vdagent,clipboard=on")
    server = rig.serve(vm)
    client = rig.client(server)
    client("wait-agent on")
    client("wait-agent-caps " + " ".join(map(str, CLIPBOARD_CAPS)))
    return vm, server, client


def _both_ways(rig, vm, client, kind, target, content, selection=0):
    _copy_here(rig, client, kind, content, selection)
    _pasted_in_guest(vm, target, content, selection)
    content = content[::-1] if kind != TEXT else content + b"!"
    _copy_in_guest(vm, target, content, selection)
    client(f"wait-copied {kind} {selection}")
    _paste_here(rig, client, kind, content, selection)


def _copy_here(rig, client, kind, content, selection=0):
    path = rig.fresh("copied", "")
    path.write_bytes(content)
    client(f"copy {kind} {path} {selection}")


def _paste_here(rig, client, kind, content, selection=0):
    path = rig.fresh("pasted", "")
    found = client(f"paste {kind} {path} {selection}")
    assert found == {"type": kind, "size": len(content)}, f"{found}, not the {len(content)} bytes that were copied"
    assert path.read_bytes() == content, f"{path.stat().st_size} bytes, not the {len(content)} that were copied"


def _nothing_copied(rig, vm, client):
    """Nothing came of what the guest has copied, though its agent has sent word of it."""
    client("sleep 1500")
    client("window 800 600")  # the agent answers this after all that came before
    client("sleep 500")
    assert client("clipboards") == {"types": []}


def _clipboard_types(vm):
    return " ".join(vm.stage("timeout 20 xclip -selection clipboard -o -t TARGETS 2>/dev/null || true", LIMIT))


def _clipboard_of_guest(vm, target, selection=0):
    vm.stage(f"timeout 60 xclip -selection {XCLIP[selection]} -o -t {target} >/share/clipboard 2>/dev/null; true", LIMIT)
    return (vm.shared / "clipboard").read_bytes()


def _pasted_in_guest(vm, target, content, selection=0):
    eventually(lambda: _clipboard_of_guest(vm, target, selection) == content, f"{len(content)} bytes of {target} in the guest", LIMIT)


def _copy_in_guest(vm, target, content, selection=0):
    (vm.shared / "copied").write_bytes(content)
    vm.stage(f"xclip -selection {XCLIP[selection]} -t {target} -i /share/copied >/dev/null 2>&1", LIMIT)
