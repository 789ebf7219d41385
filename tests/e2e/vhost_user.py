"""The program as the guest's graphics card, under a QEMU that shows nothing itself.

QEMU has no picture to compare with then. A second machine, with QEMU's own virtio-gpu, acts out the same.
"""

import json
import math
import os
import signal
import socket
import subprocess
import tempfile

import inputs
import relay
from rig import ROOT, compare, eventually, free_port

TEST_DEVICE = "vhost-user-test-device-pci,virtio-id=16,num_vqs=2,vq_size=256,config_size=24"
SHARED_MEMORY = ["-object", "memory-backend-memfd,id=mem,size=512M,share=on", "-machine", "memory-backend=mem"]


def picture(rig):
    """video and exact images show what the guest draws, with `-display none`"""
    vm, server = _start(rig)
    video, images = rig.client(server), rig.client(server, images_only=True)
    _same(rig, video, images)
    assert video.streams() > 0 and images.streams() == 0


def the_text_console(rig):
    """the text console scrolls in the viewer as in the guest, to the last pixel"""
    vm, server = _start(rig)
    client = rig.client(server, images_only=True)
    client("wait-picture")
    reference = rig.own_vm(folder="reference")  # the text console of the shared one has the size of some viewer's window
    for machine in (vm, reference):
        machine.stage("console")
        machine.stage(r"sh printf '\033c\033[?25l' >/dev/tty1; seq 1 200 >/dev/tty1")
    rig.same_picture(reference, client, at_least=math.inf)
    reference.stage(r"sh printf '\033[?25h\033c' >/dev/tty1")


def page_flips(rig):
    """frames arrive while the guest flips, and what it ends on is exact"""
    vm, server = _start(rig)
    client = rig.client(server)
    client("wait-picture")
    before = client("stats")["changes"]
    vm.stage("animate 60 25")
    client("sleep 2500")
    frames = client("stats")["changes"] - before
    assert frames > 20, f"{frames} changes of 60 frames"
    vm.stage("stop")
    vm.stage("picture")
    _same(rig, client)
    rig.tell(f"{frames} changes of 60 frames")


def flips_without_pause(rig):
    """a guest that flips as fast as it can is slowed down no further than its viewers need, and one that hangs holds it not"""
    vm, server = _start(rig)
    client = rig.client(server)
    client("wait-picture")
    vm.stage("flips 200", limit=30)
    client.process.send_signal(signal.SIGSTOP)
    vm.stage("flips 200", limit=30)
    client.process.send_signal(signal.SIGCONT)
    _same(rig, client)


def mode_changes(rig):
    """another resolution reaches the viewer without a disconnect, odd ones too"""
    vm, server = _start(rig)
    client = rig.client(server, images_only=True)
    client("wait-picture")
    reference = rig.vm()
    for width, height in ((1024, 768), (853, 481), (1920, 1080), (1280, 720)):
        for machine in (vm, reference):
            machine.stage(f"mode {width} {height}")
        client(f"wait-size {width} {height}")
        rig.same_picture(reference, client, at_least=math.inf)
    assert client("stats")["events"]["main"] == ["opened"]


def cursor(rig):
    """the guest's cursor reaches the viewer with its hot spot, is hidden, and comes back"""
    vm, server = _start(rig)
    client = rig.client(server)
    client("wait-picture")
    vm.stage("cursor arrow 200 100")
    client("wait-cursor shaped")
    assert client("cursor")["shape"] == {"width": 64, "height": 64, "hot": [0, 0], "opaque": 300}, client("cursor")
    vm.stage("cursor cross 200 100")
    eventually(lambda: client("cursor")["shape"] == {"width": 64, "height": 64, "hot": [15, 15], "opaque": 177},
               "the other cursor")
    vm.stage("cursor off 0 0")
    client("wait-cursor hidden")
    vm.stage("cursor arrow 300 100")
    client("wait-cursor shaped")
    _same(rig, client)


def switched_off(rig):
    """a screen that the guest switches off is black, for viewers that come then too, and comes back"""
    vm, server = _start(rig)
    client = rig.client(server)
    client("wait-picture")
    vm.stage("fill 804020")
    client("wait-colour 640 600 804020")
    vm.stage("off")
    client("wait-colour 640 600 000000")
    late = rig.client(server)
    # What is black is no first picture for the client.
    eventually(lambda: late("stats")["size"] == [1280, 720] and late("stats")["marked"], "a black surface")
    vm.stage("mode 1280 720")
    _same(rig, client, late)


def keys_and_pointer(rig):
    """keys, places, buttons, wheel and lock lights, all without QEMU's display"""
    vm, server = _start(rig, input=True)
    client = rig.client(server)
    client("wait-mouse-mode client")
    client("wait-picture")
    vm.stage("events on")
    wanted = []
    for scancode, code in inputs.KEYS.items():
        client(f"key {scancode}")
        wanted += [(inputs.KEY, code, 1), (inputs.KEY, code, 0)]
    for button, code in ((1, 272), (2, 274), (3, 273), (6, 275), (7, 276)):
        client(f"button {button}")
        wanted += [(inputs.KEY, code, 1), (inputs.KEY, code, 0)]
    for button, notch in ((4, 1), (5, -1)):
        client(f"button {button}")
        wanted.append((inputs.RELATIVE, 8, notch))
    vm.events(lambda events: [event[1:] for event in events if event[1] in (inputs.KEY, inputs.RELATIVE)] == wanted)
    for x, y in ((0, 0), (640, 360), (1279, 719), (13, 700)):
        for to in ((333, 222), (x, y)):
            vm.stage("events on")
            client("position {} {}".format(*to))
            vm.events(lambda events, to=to: _place(events) == to)
    vm.stage("console")  # it is the text console that has lights
    for key, light in (("3a", 4), ("45", 2)):
        client(f"key {key}")
        client(f"wait-leds {light}")
        client(f"key {key}")
        client("wait-leds 0")


def a_mouse(rig):
    """with --vhost-user-pointer mouse the guest's pointer moves by as much as the viewer's, and keys go on"""
    vm, server = _start(rig, "--vhost-user-pointer", "mouse", input=True)
    client = rig.client(server)
    client("wait-mouse-mode server")
    client("wait-picture")
    vm.stage("events on")
    client("button 1")
    for _ in range(20):
        client("motion 5 -3")
    client("key 1e")

    def moved(events):
        ways = [sum(value for _, kind, code, value in events if kind == inputs.RELATIVE and code == axis) for axis in (0, 1)]
        # spice-gtk keeps movements back while it waits for an answer, and sends keys at once.
        return ways == [100, -60] and (inputs.KEY, 30, 0) in [event[1:] for event in events]
    found = vm.events(moved)
    assert [event[1:] for event in found if event[1] == inputs.KEY] == [
        (inputs.KEY, code, down) for code in (272, 30) for down in (1, 0)], found
    assert not [event for event in found if event[1] == inputs.ABSOLUTE], found
    assert "qemu-spice_keyboard_and_mouse" in {event[0] for event in found}, found


def keys_while_the_guest_stands_still(rig):
    """what is typed while the VM is paused arrives when it goes on, and the pointer is where it was put last"""
    vm, server = _start(rig, input=True)
    client = rig.client(server)
    client("wait-mouse-mode client")
    vm.stage("events on")
    vm.qmp("stop")
    client("key 1e")
    vm.qmp("cont")
    client("key 30")
    typed = [(inputs.KEY, 48, 1), (inputs.KEY, 48, 0)]
    vm.events(lambda events: [event[1:] for event in events if event[1] == inputs.KEY][-2:] == typed)
    for x in range(0, 1200, 3):
        client(f"position {x} 100")
    client("position 1000 500")
    # spice-gtk keeps places back until earlier ones are answered: a key may overtake them.
    client("key 1e")
    last = (inputs.KEY, 30, 0)
    vm.events(lambda events: _place(events) == (1000, 500) and [event[1:] for event in events if event[1] == inputs.KEY][-1:] == [last])


def blobs(rig):
    """a guest whose buffers are its own memory (QEMU 11's test device): picture, flips, cursor, another mode"""
    bus = rig.bus()
    vm, server = _start(rig, "--relay-bus", bus.address, name="qemu11", gpu=TEST_DEVICE, size=None)
    assert "+resource_blob" in "".join(vm.stage("sh dmesg | grep -m 1 resource_blob"))
    client = rig.client(server, images_only=True)
    reference = rig.vm()
    for width, height in ((1280, 720), (1024, 768), (1280, 720)):
        for machine in (vm, reference):
            machine.stage(f"mode {width} {height}")
        client(f"wait-size {width} {height}")
        rig.same_picture(reference, client, at_least=math.inf)
    vm.stage("flips 200", limit=30)
    vm.stage("cursor arrow 200 100")
    client("wait-cursor shaped")
    assert client("cursor")["shape"] == {"width": 64, "height": 64, "hot": [0, 0], "opaque": 300}, client("cursor")
    _same(rig, client)
    # Where nothing makes a buffer of it, the guest's memory is read in pieces.
    memory = rig.status(bus)["Consoles"][0]["memory"]
    assert memory in ("guest", "dmabuf"), memory
    rig.tell(f"read in place: {memory}")


def with_qemu_11(rig):
    """QEMU 11's own device: picture, pause, reboot"""
    vm, server = _start(rig, name="qemu11")
    client = rig.client(server)
    _same(rig, client)
    vm.qmp("stop")
    vm.qmp("cont")
    vm.stage("fill 307050")
    client("wait-colour 640 360 307050")
    vm.stage_text = b""
    vm.qmp("system_reset")
    vm.until(rb"stage: ready", 120)
    _same(rig, client)


def with_vga(rig):
    """the same card with VGA: the guest's driver takes over from it"""
    vm, server = _start(rig, gpu="vhost-user-vga")
    _same(rig, rig.client(server))


def two_scanouts(rig):
    """a second display of the card is a second console"""
    bus = rig.bus()
    vm, server = _start(rig, "--relay-bus", bus.address, gpu="vhost-user-gpu-pci,max_outputs=2",
                        stage="console video=Virtual-2:1024x768e")
    consoles = rig.status(bus)["Consoles"]
    assert [(console["width"], console["height"]) for console in consoles] == [(1280, 720), (1024, 768)], consoles
    vm.stage(r"sh printf '\033c\033[?25l' >/dev/tty1; seq 1 20 >/dev/tty1")
    pictures = []
    for number in ("0", "1"):
        viewer = rig.dbus_viewer(bus, "--console", number)
        viewer("wait-picture")
        viewer("wait-rest 400")
        shown = rig.fresh(f"console-{number}", ".png")
        viewer(f"picture {shown}")
        pictures.append(compare.load(shown))
    # Linux shows the same text console on both.
    assert compare.psnr(pictures[0][:700, :1000], pictures[1][:700, :1000]) == math.inf


def beside_qemus_display(rig):
    """QEMU's display brings keys to the guest and shows another card, the guest's own card shows its picture"""
    path = rig.fresh("gpu", ".sock")
    qmp = rig.artifacts / "vm" / "qmp.sock"
    bus = rig.bus()
    server = _serve(rig, path, "--qmp", qmp, "--wait", "--relay-bus", bus.address)
    vm = _machine(rig, path, display="dbus,p2p=yes", extra=["-device", "secondary-vga"])
    client = rig.client(server)
    _same(rig, client)
    client("wait-mouse-mode client")
    vm.stage("events on")
    client("key 1e")
    vm.events(lambda events: [event[1:] for event in events if event[1] == inputs.KEY] == [(inputs.KEY, 30, 1), (inputs.KEY, 30, 0)])
    client("position 640 360")
    vm.events(lambda events: _place(events) == (640, 360))
    consoles = rig.status(bus)["Consoles"]
    assert [console["label"] for console in consoles] == ["vhost-user-gpu-pci", "secondary-vga"], consoles


def windows(rig):
    """a guest whose card is ours alone takes the size of a viewer's window, once for each size, and finds it after a reboot"""
    bus = rig.bus()
    vm, _ = _start(rig, "--relay-bus", bus.address, name="qemu11", gpu=TEST_DEVICE, size=None)
    vm.stage("mode 1280 720")
    viewer = rig.dbus_viewer(bus)
    viewer("wait-size 1280 720")
    relay._follow_windows(vm, viewer)
    vm.stage_text = b""
    vm.qmp("system_reset")
    vm.until(rb"stage: ready", 120)
    viewer("wait-size 800 600")


def windows_beside_qemus_display(rig):
    """QEMU's own vhost-user-gpu is told of a viewer's window by its D-Bus display"""
    path, bus = rig.fresh("gpu", ".sock"), rig.bus()
    qmp = rig.artifacts / "vm" / "qmp.sock"
    _serve(rig, path, "--qmp", qmp, "--wait", "--relay-bus", bus.address)
    vm = _machine(rig, path, display="dbus,p2p=yes")
    viewer = rig.dbus_viewer(bus)
    viewer("wait-size 1280 720")
    relay._follow_windows(vm, viewer)


def guest_reboots(rig):
    """a guest that reboots is shown all along"""
    vm, server = _start(rig)
    client = rig.client(server)
    client("wait-picture")
    for _ in range(2):
        vm.stage_text = b""
        vm.qmp("system_reset")
        vm.until(rb"stage: ready", 120)
        _same(rig, client)
    assert client("stats")["events"]["main"] == ["opened"]


def driver_reloads(rig):
    """the guest's driver goes and comes back while somebody looks on"""
    vm, server = _start(rig)
    client = rig.client(server)
    client("wait-picture")
    # The stage still has the first card open, so the next has another number.
    vm.begin("sh cd /sys/bus/virtio/drivers/virtio_gpu; set -- virtio*; echo $1 >unbind; sleep 1; echo $1 >bind; "
             "ln -s card1 /dev/dri/card0; kill $PPID")
    vm.until(rb"stage: ready", 60)
    _same(rig, client)


def guest_paused(rig):
    """while the VM is paused viewers can come and see where it stopped, and it goes on afterwards"""
    vm, server = _start(rig)
    first = rig.client(server)
    first("wait-picture")
    vm.stage("animate 100000 20")
    vm.qmp("stop")
    late = rig.client(server)
    late("wait-picture")
    vm.qmp("cont")
    vm.stage("picture")
    _same(rig, first, late)


def qemu_leaves(rig):
    """when QEMU ends the program ends, says so, and its socket is gone"""
    vm, server = _start(rig)
    client = rig.client(server)
    client("wait-picture")
    vm.stop()
    server.wait(5)
    assert "QEMU" in server.errors().strip().splitlines()[-1]
    client("wait-end")
    assert not vm.gpu_socket.exists()


def the_next_qemu(rig):
    """with --wait viewers stay connected, and see the next machine"""
    vm, server = _start(rig, "--wait")
    client = rig.client(server)
    _same(rig, client)
    before = server.files()
    for number in range(2):
        vm.stop()
        client("sleep 500")
        assert server.alive(), server.errors()
        vm = _machine(rig, vm.gpu_socket, folder=f"vm-{number}")
        vm.stage("fill 307050")
        client("wait-colour 640 360 307050")
    assert server.files() <= before, f"{server.files()} open files, {before} before"
    assert client("stats")["events"]["main"] == ["opened"]


def terminated(rig):
    """SIGTERM ends it at once, with a guest that draws, and the machine runs on"""
    vm, server = _start(rig)
    client = rig.client(server)
    client("wait-picture")
    vm.stage("animate 100000 0")
    client("sleep 300")
    server.terminate()
    assert server.wait(3) == 0
    assert vm.alive() and not vm.gpu_socket.exists()


def started_by_a_manager(rig):
    """started as libvirt does, from the JSON file, with a connected socket: it tells what it is, and shows the guest"""
    rig.needs_program()
    told = json.loads((ROOT / "vhost-user/50-qemu-spice-gpu.json").read_text())
    assert set(told) == {"description", "type", "binary"} and told["type"] == "gpu", told
    binary = ROOT / "vhost-user" / os.path.basename(told["binary"])
    capabilities = subprocess.run([binary, "--print-capabilities", "--fd=7"], capture_output=True, text=True, check=True)
    assert json.loads(capabilities.stdout) == {"type": "gpu", "features": []}, capabilities
    # A unix socket's path has to be short.
    with tempfile.TemporaryDirectory() as folder:
        env = {"PATH": f"{os.path.dirname(os.path.abspath(rig.settings.program))}:{os.environ['PATH']}", "XDG_RUNTIME_DIR": folder}
        refused = subprocess.run([binary, "--virgl"], capture_output=True, text=True, env=env)
        assert refused.returncode != 0 and "--virgl" in refused.stderr, refused
        ours, theirs = socket.socketpair()
        server = rig.start(f"--fd={ours.fileno()}", program=binary, env=env, fds=[ours.fileno()])
        ours.close()
        server.ready()
        assert server.uri == f"spice+unix://{folder}/gpu-{server.process.pid}.sock", server.uri
        vm = rig.own_vm(gpu="vhost-user-gpu-pci,chardev=gpu", display="none", fds=[theirs.fileno()],
                        extra=[*SHARED_MEMORY, "-chardev", f"socket,id=gpu,fd={theirs.fileno()}"])
        theirs.close()
        client = rig.client(server)
        _same(rig, client)
        vm.stop()
        server.wait(5)
        client("wait-end")


def a_listening_socket_handed_over(rig):
    """with fd:N of a listening socket VMMs connect as they do to a path, and --wait takes the next"""
    path = rig.fresh("gpu", ".sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        number = listening.fileno()
        server = rig.start("--vhost-user-gpu", f"fd:{number}", "--wait", "--spice-addr", f"127.0.0.1:{free_port()}", fds=[number])
        server.ready()
    for folder in ("vm-1", "vm-2"):
        vm = _machine(rig, path, folder=folder)
        _same(rig, rig.client(server))
        vm.stop()
    server.terminate()
    assert server.wait(3) == 0 and path.exists()


def strangers_at_the_socket(rig):
    """connections that say nothing, and one that is no VMM, keep no machine from its screen"""
    path = rig.fresh("gpu", ".sock")
    server = _serve(rig, path, "--wait")
    before = server.files()
    strangers = []
    for number in range(20):
        stranger = socket.socket(socket.AF_UNIX)
        stranger.connect(str(path))
        strangers.append(stranger)
    strangers[-1].sendall(b"GET / HTTP/1.0\r\n\r\n")
    vm = _machine(rig, path)
    _same(rig, rig.client(server))
    try:
        assert strangers[-1].recv(1) == b"", "what is no VMM is still served"
    except ConnectionResetError:
        pass
    assert server.files() < before + 60, f"{server.files()} open files, {before} before"
    for stranger in strangers:
        stranger.close()


def the_socket(rig):
    """a socket left over is no obstacle, one in use is"""
    rig.needs_program()
    path = rig.fresh("gpu", ".sock")
    for how in ("kill", "terminate"):
        server = _serve(rig, path)
        other = rig.start("--vhost-user-gpu", path, "--spice-addr", "none")
        assert other.wait(5) != 0
        said = other.errors().strip()
        assert str(path) in said and len(said.splitlines()) == 1, said
        getattr(server.process, how)()
        server.wait(5)
        assert path.exists() == (how == "kill")


def _start(rig, *arguments, input=False, extra=(), **options):
    """The program, and a machine whose graphics card it is, and with `input` its keyboard and tablet."""
    path = rig.fresh("gpu", ".sock")
    if input:
        keys = rig.fresh("keys", ".sock")
        arguments = [*arguments, "--vhost-user-input", keys]
        extra = [*extra, "-chardev", f"socket,id=keys,path={keys}", "-device", "vhost-user-input-pci,chardev=keys"]
        options["tablet"] = False
    server = _serve(rig, path, *arguments)
    return _machine(rig, path, extra=extra, **options), server


def _serve(rig, path, *arguments):
    server = rig.start("--vhost-user-gpu", path, "--spice-addr", f"127.0.0.1:{free_port()}", "--video-codec", "h264", *arguments)
    server.ready()
    return server


def _machine(rig, path, gpu="vhost-user-gpu-pci", display="none", extra=(), **options):
    vm = rig.own_vm(gpu=f"{gpu},chardev=gpu", display=display,
                    extra=[*SHARED_MEMORY, "-chardev", f"socket,id=gpu,path={path}", *extra], **options)
    vm.gpu_socket = path
    return vm


def _place(events, size=(1280, 720)):
    """The pixel that the last two places of the events are."""
    places = {code: round(value * size[code] / 32768) for _, kind, code, value in events if kind == inputs.ABSOLUTE}
    return places.get(0), places.get(1)


def _same(rig, *clients):
    """Each client comes to show the resting picture exactly."""
    reference = rig.vm()
    for client in clients:
        rig.same_picture(reference, client, at_least=math.inf)
