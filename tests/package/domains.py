"""What happens to domains, and what their viewers see of it."""

import functools
import re

from machine import Machine

CLIENT = "/usr/bin/python3 /checkout/tests/clients/spice_client.py"
COMPARE = "/usr/bin/python3 /checkout/tests/clients/compare.py"
SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"
NAMESPACE = "urn:qemu-spice:libvirt:1"
SERIAL = "/var/log/libvirt/qemu/alpine-serial.log"
UNIT = "qemu-spice-libvirt@alpine.service"
SOCKET = "/run/qemu-spice/alpine/spice.sock"
XML = """
<domain type='qemu'>
  <name>alpine</name>
  <metadata>{metadata}</metadata>
  <memory unit='MiB'>512</memory>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>/guest/vmlinux</kernel>
    <initrd>/guest/initrd</initrd>
    <cmdline>console=ttyS0 quiet loglevel=3 no_timer_check stage=picture</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='maximum'/>
  <devices>
    <graphics type='dbus'{graphics}>{sound}</graphics>
    <video><model type='virtio' heads='{heads}'><resolution x='640' y='480'/></model></video>
    {devices}
    <serial type='pty'><log file='{serial}'/></serial>
    <memballoon model='none'/>
  </devices>
</domain>
"""
DEVICES = """
<audio id='1' type='dbus'/>
<sound model='ich9'><codec type='duplex'/></sound>
<controller type='usb' model='qemu-xhci'/>
<input type='tablet' bus='usb'/>
<channel type='dbus'><source channel='com.redhat.spice.0'/><target type='virtio' name='com.redhat.spice.0'/></channel>
<channel type='dbus'><source channel='com.example.tool'/><target type='virtio' name='com.example.tool'/></channel>
<redirdev bus='usb' type='dbus'><source channel='org.qemu.usbredir'/></redirdev>
<redirdev bus='usb' type='dbus'><source channel='org.qemu.usbredir'/></redirdev>
"""


def _with_libvirt(test):
    """Makes a test of a machine one of a Debian with libvirt, where the package is installed as a newcomer does it."""

    @functools.wraps(test)
    def run(settings, folder, debian):
        with Machine(debian / "libvirt", folder, settings) as machine:
            machine.run("dpkg -i /work/qemu-spice.deb && systemctl restart libvirtd")
            return ", ".join(filter(None, [f"libvirt {machine.run('virsh --version')}", test(machine)]))

    return run


@_with_libvirt
def events(machine):
    """libvirt's hook has a domain served as it starts, and after all that can happen to it the picture is the guest's"""
    _define(machine)
    assert _state(machine) == "inactive", _state(machine)
    _virsh(machine, "start alpine")
    _is_served(machine)
    first = _process(machine)
    for event in ("suspend", "resume"):
        _virsh(machine, f"{event} alpine")
        _same_picture(machine)
    _virsh(machine, "reset alpine", boots=2)
    _same_picture(machine)
    _reboot(machine, boots=3)
    _same_picture(machine)
    assert _process(machine) == first, "the guest's reboot had the domain served anew"
    # A viewer that stays sees nothing of a restart of libvirt.
    machine.run(f"(cd /work; {CLIENT} spice+unix://{SOCKET} wait-picture 'sleep 8000' 'stats' > stays.txt 2>&1 & echo $! > stays.pid)")
    machine.eventually("cat /work/stays.txt", '"ok": true')
    machine.run("systemctl restart libvirtd")
    machine.eventually("virsh list --name", "alpine")
    _same_picture(machine)
    assert _process(machine) == first, "libvirt's restart had the domain served anew"
    machine.eventually("cat /work/stays.txt", '"events"', limit=60)
    assert '"main:closed"' not in machine.run("cat /work/stays.txt"), machine.run("cat /work/stays.txt")
    _virsh(machine, "save alpine /var/lib/libvirt/saved")
    _is_not_served(machine)
    _virsh(machine, "restore /var/lib/libvirt/saved", boots=0)
    _is_served(machine, boots=0)
    _virsh(machine, "managedsave alpine")
    _is_not_served(machine)
    _virsh(machine, "start alpine", boots=0)
    _is_served(machine, boots=0)
    _virsh(machine, "destroy alpine")
    _is_not_served(machine)
    _virsh(machine, "start alpine")
    _is_served(machine)
    _in_guest(machine, "poweroff -f")
    _is_not_served(machine)
    _virsh(machine, "start alpine")
    _is_served(machine)
    told = machine.run(f"qemu-spice status --dbus-address {SYSTEM_BUS}")
    assert "VM alpine" in told, told
    _virsh(machine, "destroy alpine")
    _is_not_served(machine)


@_with_libvirt
def metadata(machine):
    """a domain's metadata says where and to whom it is served, by the rules of every configuration; a fault is told, and stops no domain"""
    machine.run("install -d -m 755 /etc/qemu-spice && (umask 027; echo open sesame > /etc/qemu-spice/alpine.password) && "
                "chgrp libvirt-qemu /etc/qemu-spice/alpine.password")
    _define(machine, metadata="<spice-addr>127.0.0.1:5901</spice-addr><password-file>/etc/qemu-spice/alpine.password</password-file>")
    _virsh(machine, "start alpine")
    machine.eventually(f"systemctl is-active {UNIT}", "active")
    _same_picture(machine, "spice://127.0.0.1:5901", "--password 'open sesame'")
    machine.run(f"{CLIENT} --password wrong spice://127.0.0.1:5901 'wait-event main error-auth'")
    assert "5900" not in machine.run("cat /proc/net/tcp /proc/net/tcp6; ls /run/qemu-spice/alpine")
    state = dict(re.findall(r"^(\w+):\s+(\S+)", machine.run(f"cat /proc/{_process(machine)}/status"), re.MULTILINE))
    assert (state["NoNewPrivs"], state["Seccomp"], int(state["CapBnd"], 16)) == ("1", "2", 0), state
    assert state["Uid"] == machine.run("id -u libvirt-qemu"), state
    disks = "ls -A /var/lib/libvirt"
    assert machine.run(disks) and not machine.run(f"nsenter --target {_process(machine)} --mount {disks}")
    _virsh(machine, "destroy alpine")
    # Set by libvirt's own command, for the next start.
    _set_metadata(machine, "<spice-adr>127.0.0.1:5901</spice-adr>")
    _virsh(machine, "start alpine")
    machine.eventually(f"journalctl --unit {UNIT}", "there is no option `spice-adr`; the nearest is `spice-addr`")
    assert machine.run("virsh domstate alpine") == "running"
    _virsh(machine, "destroy alpine")
    for wrong, why in (("<dbus-address>unix:path=/b</dbus-address>", "duplicate key"),
                       ("<qmp>/b</qmp>", "cannot be used with"),
                       ("<wait><a/></wait>", "takes its value as text")):
        _set_metadata(machine, wrong)
        _virsh(machine, "start alpine")
        machine.eventually("journalctl", why)
        assert machine.run("virsh domstate alpine") == "running"
        _virsh(machine, "destroy alpine")
    _set_metadata(machine, "<invited-only/>")
    _virsh(machine, "start alpine")
    machine.eventually(f"systemctl is-active {UNIT}", "active")
    machine.run(f"{CLIENT} spice+unix://{SOCKET} 'wait-event main error-auth'")
    told = machine.run(f"qemu-spice invite --look --dbus-address {SYSTEM_BUS} 2>&1")
    secret = re.search(r"^  (\S+)\nas the password", told, re.MULTILINE).group(1)
    _same_picture(machine, options=f"--password {secret}")
    return f"exposure {_score(machine)}"


@_with_libvirt
def peer_to_peer(machine):
    """a display without a bus is said not to be served by the hook; whoever libvirt lets in is served it by --libvirt"""
    _define(machine, graphics=" p2p='yes'")
    told = machine.run("qemu-spice --libvirt alpine 2>&1", check=False)
    assert "does not run" in told, told
    _virsh(machine, "start alpine")
    machine.eventually("journalctl -o cat", "the domain alpine is not served: its display has p2p='yes'")
    assert _state(machine) == "inactive", _state(machine)
    machine.run("useradd --create-home ann && usermod -a -G libvirt ann")
    machine.run("systemd-run --unit=mine --uid=ann qemu-spice --libvirt alpine --connect qemu:///system")
    machine.eventually("journalctl --unit mine -o cat", "attached to QEMU")
    _same_picture(machine, "spice://127.0.0.1:5900")
    _reboot(machine, boots=2)
    _same_picture(machine, "spice://127.0.0.1:5900")
    _virsh(machine, "destroy alpine")
    machine.eventually("systemctl is-active mine", "inactive")


@_with_libvirt
def session(machine):
    """--libvirt serves a user's own domain, and with --wait the next start of it to the viewers that stayed"""
    machine.run("useradd --create-home --shell /bin/bash ann && loginctl enable-linger ann")
    runtime = f"/run/user/{machine.run('id -u ann')}"
    as_ann = f"runuser -u ann -- env XDG_RUNTIME_DIR={runtime} HOME=/home/ann "
    machine.eventually(f"{as_ann} systemctl --user is-system-running", "running")
    virsh = f"{as_ann} virsh --quiet --connect qemu:///session"
    serial = "/home/ann/serial.log"
    _write(machine, serial=serial)
    machine.run(f"{virsh} define /work/alpine.xml")
    told = machine.run(f"{as_ann} qemu-spice --libvirt alpine 2>&1", check=False)
    assert "the domain alpine does not run: start it first, or give --wait" in told, told
    told = machine.run(f"{as_ann} qemu-spice --libvirt nobody 2>&1", check=False)
    assert told.startswith("qemu-spice: virsh dumpxml: failed to get domain 'nobody'"), told
    machine.run(f"{as_ann} systemd-run --user --unit=mine qemu-spice --libvirt alpine --connect qemu:///session --wait "
                f"--spice-addr unix:{runtime}/alpine.sock")
    machine.eventually(f"ls {runtime}", "alpine.sock")
    uri = f"spice+unix://{runtime}/alpine.sock"
    # What the domain does before a viewer looks.
    for before in ([], ["destroy alpine"]):
        for command in [*before, "start alpine"]:
            machine.run(f"{virsh} {command}")
        _has_booted(machine, serial=serial)
        _same_picture(machine, uri, run=as_ann, virsh=virsh, folder="/home/ann")


@_with_libvirt
def elements(machine):
    """sound, a second display, the agent's channel, a port and USB sockets are those of libvirt's elements that docs/coming-from.md has"""
    _define(machine, sound="<audio id='1'/>", heads=2, devices=DEVICES)
    _virsh(machine, "start alpine")
    _is_served(machine)
    told = machine.run(f"qemu-spice status --dbus-address {SYSTEM_BUS}")
    for wanted in ("sound: ", "usbredir:0", "usbredir:1", "com.example.tool"):
        assert wanted in told, (wanted, told)
    assert re.search(r"^  1 +video0", told, re.MULTILINE), told


TESTS = (events, metadata, elements, peer_to_peer, session)


def _define(machine, **what):
    _write(machine, **what)
    _virsh(machine, "define /work/alpine.xml", boots=0)


def _write(machine, metadata="", graphics="", serial=SERIAL, sound="", heads=1, devices=""):
    if metadata:
        metadata = f"<qemu-spice xmlns='{NAMESPACE}'>{metadata}</qemu-spice>"
    text = XML.format(metadata=metadata, graphics=graphics, serial=serial, sound=sound, heads=heads, devices=devices)
    (machine.folder / "work" / "alpine.xml").write_text(text)


def _set_metadata(machine, metadata):
    machine.run(f"virsh metadata alpine {NAMESPACE} --config --key qemu-spice --set \"<qemu-spice>{metadata}</qemu-spice>\"")


def _virsh(machine, command, boots=1):
    """Runs a command of virsh, and waits until the guest has booted as it does then."""
    machine.run(f"virsh --quiet {command}")
    if command.split()[0] in ("start", "reset") and boots:
        _has_booted(machine, boots)


def _has_booted(machine, times=1, serial=SERIAL):
    """Waits until the guest has booted so many times in this start of its domain."""
    machine.eventually(f"grep -c 'stage: ready' {serial}", str(times), limit=180)


def _in_guest(machine, command):
    # QEMU looks once a second whether somebody has the terminal open.
    machine.run(f"(sleep 2; echo sh {command}; sleep 2) > $(virsh ttyconsole alpine)")


def _reboot(machine, boots):
    """Reboots as a guest does that heeds its power button: it powers off, and libvirt resets it."""
    machine.run("virsh --quiet reboot alpine")
    _in_guest(machine, "poweroff -f")
    _has_booted(machine, boots)


def _state(machine):
    return machine.run(f"systemctl is-active {UNIT}", check=False)


def _process(machine):
    return machine.run(f"systemctl show --value --property MainPID {UNIT}")


def _is_served(machine, boots=1):
    machine.eventually(f"systemctl show --value --property StatusText {UNIT}", "Serving alpine; 0 clients")
    _same_picture(machine)


def _is_not_served(machine):
    machine.eventually(f"systemctl is-active {UNIT}", "inactive")
    left = machine.run("ls /run/qemu-spice /run/qemu-spice-libvirt")
    assert "alpine" not in left, left


def _same_picture(machine, uri=f"spice+unix://{SOCKET}", options="", run="", virsh="virsh --quiet", folder="/work"):
    """A client sees what QEMU itself says that the guest shows."""
    shown, wanted = f"{folder}/shown.png", f"{folder}/wanted.ppm"
    for rest in (1000, 5000, 30000):  # milliseconds until a video of it is exact
        machine.run(f"{run} {CLIENT} --limit 60 {options} {uri} wait-picture 'wait-size 640 480' 'sleep {rest}' 'picture {shown}'")
        machine.run(f"{virsh} screenshot alpine {wanted}")
        told = machine.run(f"{COMPARE} {wanted} {shown}")
        if told == "PSNR inf dB: every pixel is equal":
            return
    raise AssertionError(f"after {rest / 1000} s of rest it is not the guest's screen: {told}")


def _score(machine):
    """What systemd-analyze says of the unit in the end: from 0 (locked down) to 10."""
    told = machine.run(f"systemd-analyze security --no-pager {UNIT}")
    score = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", told).group(1))
    assert score <= 2.0, told
    return score
