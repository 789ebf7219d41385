"""What goes wrong is said in one clear line, and the exit code is not zero."""

import math
import os
import re
import socket
import subprocess
from pathlib import Path

from rig import ROOT, free_port

PLUGINS = Path("/usr/lib/x86_64-linux-gnu/gstreamer-1.0")
H264 = ("x264", "openh264", "va.so", "nvcodec", "qsv", "msdk", "vaapi", "v4l2", "video4linux")  # plugins that encode it


def guide(rig):
    """the guide for people who come from -spice and -vnc names all of their parts, and no option that we do not have"""
    guide = (ROOT / "docs/coming-from.md").read_text()
    told = subprocess.run([rig.settings.program, "--help"], capture_output=True, text=True, timeout=20).stdout
    ours = set(re.findall(r"(--[a-z][a-z0-9-]+)", told))
    for command in ("invite", "password", "status", "user", "certificate", "check"):
        told = subprocess.run([rig.settings.program, command, "--help"], capture_output=True, text=True, timeout=20).stdout
        ours |= set(re.findall(r"(--[a-z][a-z0-9-]+)", told))
        ours.add(command)
    named = set(re.findall(r"(--[a-z][a-z0-9-]+)", guide)) | set(re.findall(r"`qemu-spice ([a-z]+)", guide))
    assert named <= ours, named - ours
    sections = {name: guide[guide.index(f"## `-{name}`") :].split("\n## ")[0] for name in ("spice", "vnc")}
    for option in rig.vm().qmp("query-command-line-options"):
        if words := sections.get(option["option"]):
            parts = {part["name"] for part in option["parameters"]} - {"vnc"}  # the address itself
            missing = {part for part in parts if not re.search(rf"`{part}[`=]", words)}
            assert parts and not missing, f"-{option['option']}: {missing or 'has no parts'}"


def no_bus(rig):
    """no D-Bus at the address: nothing is said to be tried again"""
    _fails(rig, ["--dbus-address", f"unix:path={rig.artifacts}/nothing"], "bus", env={"RUST_LOG": "info"})


def no_bus_address(rig):
    """a D-Bus address that is none, which is not waited for"""
    _fails(rig, ["--dbus-address", "nonsense", "--wait"], "nonsense", lines=None)


def no_session_bus(rig):
    """no session bus: nothing is said to be tried again"""
    _fails(rig, [], "session bus", env={"RUST_LOG": "info", "DBUS_SESSION_BUS_ADDRESS": "nonsense"})


def no_qemu(rig):
    """no QEMU on the bus"""
    bus = rig.bus()
    _fails(rig, ["--dbus-address", bus.address], "QEMU")


def no_qmp(rig):
    """no QMP socket"""
    _fails(rig, ["--qmp", f"{rig.artifacts}/nothing.sock"], "nothing.sock")


def qmp_of_another_display(rig):
    """a QEMU without -display dbus"""
    vm = rig.own_vm(display="none")
    _fails(rig, ["--qmp", str(vm.qmp_path)], "-display dbus")


def port_taken(rig):
    """a port that is taken"""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        _fails(rig, ["--qmp", str(rig.vm().qmp_path)], str(port), address=f"127.0.0.1:{port}")


def no_such_address(rig):
    """an address that is none"""
    _fails(rig, ["--qmp", str(rig.vm().qmp_path)], "somewhere", address="somewhere", lines=None)


def no_password_file(rig):
    """a password file that is not there"""
    _fails(rig, ["--qmp", str(rig.vm().qmp_path), "--password-file", f"{rig.artifacts}/nothing"], "nothing")


def no_encoder(rig):
    """no encoder for the codec asked for: it names the package to install"""
    arguments = ["--qmp", str(rig.vm().qmp_path), "--video-codec", "h264"]
    _fails(rig, arguments, "gstreamer1.0-plugins-", env=_without_encoders(rig))


def no_encoder_for_full_colour(rig):
    """no encoder for 4:4:4: it names the package to install"""
    arguments = ["--qmp", str(rig.vm().qmp_path), "--video-codec", "h264-444"]
    _fails(rig, arguments, "gstreamer1.0-plugins-ugly", env=_without_encoders(rig))


def no_encoder_but_images(rig):
    """without any encoder, and none asked for, it says so and serves images"""
    rig.needs_program()
    vm = rig.vm()
    server = rig.serve(vm, env=_without_encoders(rig, H264 + ("vpx", "jpeg", "x265")))
    assert "gstreamer1.0-plugins-" in server.errors() and "gets images" in server.errors(), server.errors()
    client = rig.client(server)
    rig.same_picture(vm, client, at_least=math.inf)
    assert client.streams() == 0, "a video"


def no_encoder_but_another(rig):
    """without an encoder of H.264 it says so, and serves another codec"""
    rig.needs_program()
    vm = rig.vm()
    server = rig.serve(vm, env=_without_encoders(rig))
    assert "gstreamer1.0-plugins-" in server.errors() and "other codecs" in server.errors(), server.errors()
    client = rig.client(server)
    rig.same_picture(vm, client, at_least=math.inf)
    assert client.streams() > 0, "no video"


def _without_encoders(rig, names=H264):
    """The environment of a machine that has all of GStreamer but the plugins of these names."""
    folder = rig.fresh("plugins", "")
    folder.mkdir()
    for plugin in PLUGINS.iterdir():
        if not any(name in plugin.name for name in names):
            (folder / plugin.name).symlink_to(plugin)
    return {"GST_PLUGIN_SYSTEM_PATH_1_0": str(folder), "GST_REGISTRY_1_0": str(folder / "registry"), "GST_PLUGIN_PATH_1_0": ""}


def unknown_option(rig):
    """an option that is none"""
    _fails(rig, ["--spice-adr"], "--spice-adr", lines=None, address=None)


def configuration(rig):
    """options come from a file; what the command line gives wins"""
    rig.needs_program()
    vm, file, path = rig.vm(), rig.fresh("vm", ".toml"), rig.fresh("vm", ".sock")
    file.write_text(f'qmp = "{rig.artifacts}/nothing.sock"\nspice-addr = ["unix:{path}"]\nvideo-codec = "none"\n')
    server = rig.start("--config", file, "--qmp", vm.qmp_path)
    server.ready()
    assert server.uris == [f"spice+unix://{path}"], server.uris
    rig.same_picture(vm, rig.client(server), at_least=math.inf)


def faults_in_a_configuration(rig):
    """what is wrong in a file is told with its line, by `check` all of it, and nothing is served"""
    rig.needs_program()
    file = rig.fresh("vm", ".toml")
    check = [rig.settings.program, "check", file]
    file.write_text('# a machine\nqmp = "/run/vm.qmp"\npasword-file = "/etc/vm"\nclipboard = "sideways"\n')
    told = subprocess.run(check, capture_output=True, text=True, timeout=20)
    first = f"qemu-spice: {file}:3: there is no option `pasword-file`; the nearest is `password-file`"
    second = f"{file}:4: invalid value 'sideways' for '--clipboard <WAY>' [possible values: none, to-guest, from-guest, both]"
    assert (told.returncode, told.stderr.splitlines(), told.stdout) == (1, [first, second], ""), told
    _fails(rig, ["--config", str(file)], first)
    file.write_text('qmp = "/run/vm.qmp"\nwait = true\n')
    told = subprocess.run(check, capture_output=True, text=True, timeout=20)
    assert (told.returncode, told.stderr, told.stdout) == (0, "", f"{file}: no faults\n"), told
    _fails(rig, ["--config", str(file.with_suffix(".none"))], ".none")


def help_and_version(rig):
    """--help tells the options with an example, --version the version"""
    rig.needs_program()
    told = subprocess.run([rig.settings.program, "--help"], capture_output=True, text=True, timeout=10)
    assert told.returncode == 0
    for word in ("--dbus-address", "--bus-name", "--dbus-p2p-fd", "--qmp", "--wait", "--spice-addr", "--password-file"):
        assert word in told.stdout, f"{word} is missing in --help"
    told = subprocess.run([rig.settings.program, "--version"], capture_output=True, text=True, timeout=10)
    assert told.returncode == 0 and told.stdout.startswith("qemu-spice "), told.stdout


def _fails(rig, arguments, word, address="127.0.0.1:0", lines=1, env=None):
    """The program ends soon, not with 0, having said `word` in one line and nothing else on standard error."""
    rig.needs_program()
    rig.artifacts.mkdir(parents=True, exist_ok=True)
    if address == "127.0.0.1:0":
        address = f"127.0.0.1:{free_port()}"
    if address:
        arguments = [*arguments, "--spice-addr", address]
    server = rig.start(*arguments, env={"RUST_LOG": "error", **(env or {})})
    code = server.wait(15)
    said = server.errors().strip()
    assert code not in (0, 101) and code > 0, f"exit code {code}: {said}"
    assert word in said.splitlines()[0], f"wanted `{word}` in: {said}"
    if lines:
        assert len(said.splitlines()) == lines, f"wanted {lines} line, it said: {said}"
    assert os.read(server.process.stdout.fileno(), 100) == b"", "it printed a ready line"
