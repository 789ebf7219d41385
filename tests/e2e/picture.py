"""What clients see of a guest that shows a picture."""

import math
import subprocess


def over_tcp(rig):
    """a client over TCP shows what the guest shows, as video"""
    vm = rig.vm()
    client = rig.client(rig.serve(vm))
    rig.same_picture(vm, client)
    if not rig.settings.against_qemu:
        assert client.streams() > 0, "the client was sent no video stream"


def in_full_colour(rig):
    """a client that decodes 4:4:4 shows what the guest shows, as such video"""
    rig.needs_program()
    vm = rig.vm()
    server = rig.serve(vm, "--video-codec", "h264-444")
    client = rig.client(server)
    rig.same_picture(vm, client)
    vm.stage("animate 20 20")
    rig.same_picture(vm, client)
    assert client.streams() > 0, "the client was sent no video stream"


def over_a_unix_socket(rig):
    """a client on a unix socket shows what the guest shows"""
    vm = rig.vm()
    server = rig.serve(vm, address=f"unix:{vm.folder}/spice.sock")
    rig.same_picture(vm, rig.client(server))


def on_two_addresses(rig):
    """TCP and a unix socket at the same time"""
    vm = rig.vm()
    server = rig.serve(vm, "--spice-addr", f"unix:{vm.folder}/second.sock")
    assert len(server.uris) == 2, server.uris
    for uri in server.uris:
        server.uris = [uri]
        rig.same_picture(vm, rig.client(server))


def exact_at_rest(rig):
    """video becomes exact, to the last pixel, once the picture rests"""
    rig.needs_program()
    vm = rig.vm()
    client = rig.client(rig.serve(vm))
    for size in ((1280, 720), (853, 481)):
        vm.stage(f"mode {size[0]} {size[1]}")
        vm.stage("animate 30 15")
        client(f"wait-size {size[0]} {size[1]}")
        rig.same_picture(vm, client, at_least=math.inf)
    assert client.streams() > 0, "the client was sent no video stream"


def after_a_long_rest(rig):
    """a screen that rested for long needs less memory, and goes on as before"""
    rig.needs_program()
    vm = rig.vm()
    server = rig.serve(vm)
    client = rig.client(server)
    vm.stage("animate 30 15")
    rig.same_picture(vm, client, at_least=math.inf)
    busy = server.memory()
    client("sleep 23000")
    rested = server.memory()
    assert rested < busy - 3, f"{busy:.1f} MiB, and at rest {rested:.1f}"
    vm.stage("animate 20 20")
    rig.same_picture(vm, client, at_least=math.inf)


def as_images(rig):
    """a client that can decode no video sees every pixel exactly"""
    vm = rig.vm()
    client = rig.client(rig.serve(vm, video="h264"), images_only=True)
    rig.same_picture(vm, client, at_least=math.inf)
    assert client.streams() == 0, "it was sent a video stream"


def as_images_while_it_changes(rig):
    """images follow the guest's changes, to the last pixel"""
    vm = rig.vm()
    client = rig.client(rig.serve(vm, video="h264"), images_only=True)
    client("wait-picture")
    for colour in ("804020", "208040"):
        vm.stage(f"fill {colour}")
        client(f"wait-colour 640 360 {colour}")
    vm.stage("animate 20 20")
    client("wait-rest 1000")
    rig.same_picture(vm, client, at_least=math.inf)


def by_spicy_screenshot(rig):
    """spicy-screenshot takes the picture"""
    vm = rig.vm()
    server = rig.serve(vm)
    host, port = server.uri.removeprefix("spice://").split(":")
    shot = rig.fresh("screenshot", ".ppm")
    done = subprocess.run(["spicy-screenshot", "-h", host, "-p", port, "-o", shot], timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert shot.exists(), f"spicy-screenshot wrote no picture: {done.stdout[-400:]}"
    rig.same_file(vm, shot)


def joining_an_idle_guest(rig):
    """a client that joins an idle guest sees the picture at once"""
    vm = rig.vm()
    server = rig.serve(vm)
    rig.same_picture(vm, rig.client(server))
    late = rig.client(server)
    late("wait-picture")
    first = late("stats")["first_picture_ms"]
    rig.same_picture(vm, late)
    # Most of it is the client's: starting its decoder takes up to a second on a busy machine.
    assert first < 4000, f"the first picture came after {first} ms"


def the_last_frame_of_a_burst(rig):
    """the last frame of a burst is shown, though nothing follows it"""
    vm = rig.vm()
    client = rig.client(rig.serve(vm))
    client("wait-picture")
    for colour in ("ff0000", "00ff00", "0000ff"):
        vm.stage("animate 30 15")
        client("sleep 1500")
        vm.stage(f"fill {colour}")
        client(f"wait-colour 100 650 {colour}")
    vm.stage("animate 30 15")
    client("sleep 1500")
    rig.same_picture(vm, client)


def small_changes(rig):
    """a small change in a corner arrives, and the rest stays as it was"""
    vm = rig.vm()
    client = rig.client(rig.serve(vm))
    client("wait-rest 400")
    vm.stage("blink 3 200")
    client("sleep 1000")
    rig.same_picture(vm, client)


def the_text_console(rig):
    """the text console scrolls in the client as in the guest"""
    vm = rig.vm()
    client = rig.client(rig.serve(vm))
    client("wait-picture")
    vm.stage("console")
    vm.stage(r"sh printf '\033[?25l' >/dev/tty1; seq 1 200 >/dev/tty1")
    rig.same_picture(vm, client, at_least=30)  # white text a pixel wide, all of it
    vm.stage(r"sh printf '\033[?25h\033c' >/dev/tty1")
