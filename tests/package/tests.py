"""What the package is for: it is installed, serves machines by its units, and leaves nothing behind."""

import re
import shutil
import subprocess
from pathlib import Path

from machine import Machine, once

MAX_SCORE = 2.0  # of `systemd-analyze security`, from 0 (locked down) to 10
PICTURE_LIMIT = 35  # dB: how like the guest's screen a picture has to be
SERVICE = "qemu-spice@vm.service"
CONFIGURE = "cp /usr/share/doc/qemu-spice/examples/vm.toml /etc/qemu-spice/"
QEMU = ("qemu-system-x86_64 -accel tcg -cpu max -m 512 -nodefaults -no-user-config -nic none -vga none -name alpine "
        "-device virtio-gpu-pci,xres=640,yres=480 -kernel /guest/vmlinux -initrd /guest/initrd "
        "-append 'console=ttyS0 quiet loglevel=3 no_timer_check stage=picture' -display dbus,p2p=yes ")
LEFT = "find / -xdev -name '*qemu-spice*' -not -path '/proc/*' -not -path '/work/*' -not -path '/checkout/*'"
CLIENT = "/usr/bin/python3 /checkout/tests/clients/spice_client.py"


class Skip(Exception):
    """The test cannot be run here; its text says why."""


def lintian(settings, folder):
    """lintian finds no error"""
    if not shutil.which("lintian"):
        raise Skip("lintian is not installed")
    told = subprocess.run(["lintian", "--allow-root", settings.package], capture_output=True, text=True).stdout
    assert not re.search(r"^E: ", told, re.MULTILINE), told
    return f"{len(told.splitlines())} warnings"


def reproducible(settings, folder):
    """built another time, it has the same bytes"""
    if not settings.again:
        raise Skip("it was built once")
    one, other = settings.package.read_bytes(), settings.again.read_bytes()
    assert one == other, f"{settings.package} ({len(one)} bytes) and {settings.again} ({len(other)} bytes) differ"


def bare_debian(settings, folder, debian):
    """a Debian that has nothing installs it with what it depends on, and starts it; once purged, nothing is left"""
    script = ("set -e; apt-get update -q; apt-get install -q -y --no-install-recommends /work/qemu-spice.deb; "
              "qemu-spice --version; qemu-spice check /usr/share/doc/qemu-spice/examples/vm.toml; "
              f"apt-get purge -q -y qemu-spice; echo left: $({LEFT})")
    told = once(debian / "bare", folder, settings, "/bin/sh", "-c", script)
    assert re.search(r"^qemu-spice \d", told, re.MULTILINE) and "vm.toml: no faults\n" in told, told[-600:]
    assert told.endswith("left:\n"), told[-600:]


def service(settings, folder, debian):
    """a unit serves what its file says, with a password as credential, locked down; one that hangs is started again"""
    with _machine(settings, folder, debian) as machine:
        _start_qemu(machine)
        machine.run("mkdir -p -m 700 /etc/credstore && echo open sesame > /etc/credstore/qemu-spice.vm.password")
        machine.run(f"mkdir /etc/systemd/system/{SERVICE}.d")
        machine.run(f"printf '[Service]\\nWatchdogSec=3\\n' > /etc/systemd/system/{SERVICE}.d/watchdog.conf")
        machine.run(f"{CONFIGURE} && systemctl daemon-reload && systemctl start {SERVICE}")
        status = f"systemctl show --value --property StatusText {SERVICE}"
        machine.eventually(status, "Serving alpine; 0 clients")
        _same_picture(machine, "spice://127.0.0.1:5900", "--password 'open sesame'")
        machine.run(f"{CLIENT} --password wrong spice://127.0.0.1:5900 'wait-event main error-auth'")
        told = machine.run("qemu-spice status --dbus-address unix:path=/run/dbus/system_bus_socket")
        assert "VM alpine" in told, told
        first = _main_process(machine)
        state = dict(re.findall(r"^(\w+):\s+(\S+)", machine.run(f"cat /proc/{first}/status"), re.MULTILINE))
        assert (state["NoNewPrivs"], state["Seccomp"], int(state["CapBnd"], 16)) == ("1", "2", 0), state
        assert state["Uid"] != "0", state
        # The unit leaves it the calls with which it closes itself off further. What the kernel lacks is another matter.
        told = machine.run(f"journalctl --no-pager -o cat -u {SERVICE}")
        assert not re.search("seccomp|capabilities stay|kernel refused", told), told
        score = _score(machine.run(f"systemd-analyze security --no-pager {SERVICE}"))
        machine.run(f"kill -STOP {first}")
        machine.eventually(f"systemctl show --value --property NRestarts {SERVICE}", "1")
        machine.eventually(status, "Serving alpine; 0 clients")
        return f"exposure {score}"


def socket(settings, folder, debian):
    """the first viewer at a unit's socket starts the service, and sees the machine"""
    with _machine(settings, folder, debian) as machine:
        _start_qemu(machine)
        machine.run(f"{CONFIGURE} && systemctl start qemu-spice@vm.socket")
        assert machine.run(f"systemctl is-active {SERVICE}", check=False) == "inactive"
        _same_picture(machine, "spice+unix:///run/qemu-spice/vm.sock")
        assert machine.run(f"systemctl is-active {SERVICE}") == "active"


def user(settings, folder, debian):
    """a user's own unit serves the user's own machine"""
    with _machine(settings, folder, debian) as machine:
        machine.run("useradd --create-home --shell /bin/bash ann && loginctl enable-linger ann")
        runtime = f"/run/user/{machine.run('id -u ann')}"
        as_ann = f"runuser -u ann -- env XDG_RUNTIME_DIR={runtime} "
        machine.eventually(f"{as_ann} systemctl --user is-system-running", "running")
        _start_qemu(machine, folder=runtime, run=f"{as_ann} systemd-run --user --unit=vm")
        machine.run("install -d -o ann /home/ann/.config /home/ann/.config/qemu-spice")
        config = f'qmp = "{runtime}/qmp.sock"\\nwait = true\\n'
        machine.run(f"printf '{config}' > /home/ann/.config/qemu-spice/vm.toml")
        machine.run(f"{as_ann} systemctl --user start qemu-spice@vm.socket")
        _same_picture(machine, f"spice+unix://{runtime}/qemu-spice/vm.sock", run=as_ann, folder=runtime)
        assert machine.run(f"{as_ann} systemctl --user is-active {SERVICE}") == "active"
        return f"exposure {_score(machine.run(f'{as_ann} systemd-analyze --user security --no-pager {SERVICE}'))}"


def life(settings, folder, debian):
    """an upgrade disturbs no viewer; removed, it stops its units and leaves their files; purged, it leaves nothing"""
    with _machine(settings, folder, debian) as machine:
        machine.run(f"{CONFIGURE} && systemctl start {SERVICE}")
        first = _main_process(machine)
        _make_newer(machine)
        machine.run("dpkg -i /work/newer.deb")
        assert machine.run("dpkg-query -W -f '${Version}' qemu-spice").endswith("+newer")
        assert _main_process(machine) == first
        machine.run("dpkg -r qemu-spice")
        assert machine.run(f"systemctl is-active {SERVICE}", check=False) != "active"
        assert machine.run("ls /etc/qemu-spice") == "vm.toml"
        machine.run("dpkg -P qemu-spice && systemctl daemon-reload")
        left = machine.run(LEFT + " -not -path '/sys/*' -not -path '/run/*'")
        assert left == "", left


ONCE = (lintian, reproducible)
OF_EACH_DEBIAN = (bare_debian, service, socket, user, life)


def _main_process(machine):
    return machine.run(f"systemctl show --value --property MainPID {SERVICE}")


def _machine(settings, folder, debian):
    machine = Machine(debian / "whole", folder, settings)
    machine.run("dpkg -i /work/qemu-spice.deb")
    return machine


def _start_qemu(machine, folder="/run/vm", run="systemd-run --unit=vm -p UMask=0007 -p Group=qemu-spice"):
    """Starts QEMU with a picture that rests, and with sockets for the program and for us."""
    if folder == "/run/vm":
        machine.run("install -d -g qemu-spice -m 2770 /run/vm")
    sockets = "".join(f"-qmp unix:{folder}/{name}.sock,server=on,wait=off " for name in ("qmp", "test"))
    machine.run(f"{run} {QEMU} {sockets} -serial file:{folder}/serial.log")
    machine.eventually(f"cat {folder}/serial.log", "stage: ready", limit=120)


def _same_picture(machine, uri, options="", run="", folder="/run/vm"):
    """A client sees what QEMU itself says that the guest shows."""
    shown, wanted = f"{folder}/shown.png", f"{folder}/wanted.png"
    compare = "/usr/bin/python3 /checkout/tests/clients/compare.py"
    machine.run(f"{run} {CLIENT} {options} {uri} wait-picture 'wait-rest 2000' 'picture {shown}'")
    machine.run(f"{run} /usr/bin/python3 /checkout/tests/e2e/vm.py screendump {folder}/test.sock {wanted}")
    machine.run(f"cp {shown} {wanted} /work; {compare} {wanted} {shown} --at-least {PICTURE_LIMIT}")


def _make_newer(machine):
    """Makes a package of the same files with a later version."""
    machine.run("dpkg-deb -R /work/qemu-spice.deb /work/newer && sed -i '/^Version: /s/$/+newer/' "
                "/work/newer/DEBIAN/control && dpkg-deb --root-owner-group -b /work/newer /work/newer.deb && "
                "rm -r /work/newer")


def _score(told):
    """What systemd-analyze says of a unit in the end."""
    score = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", told).group(1))
    assert score <= MAX_SCORE, told
    return score
