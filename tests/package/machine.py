"""A Debian in namespaces: booted with its systemd, or for one command."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHELL = ["/bin/bash", "-c"]
NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--cgroup", "--uts", "--ipc"]
BOOT_LIMIT = 120  # seconds until systemd has started all of its units


def why_not():
    """Why no machine can be run here, if so."""
    if os.geteuid() != 0:
        return "needs root, for namespaces with mounts"
    script = ("mount -t tmpfs none /mnt && cd /mnt && mkdir a b c d && mount -t cgroup2 none a && "
              "mount -t overlay o -o lowerdir=a,upperdir=b,workdir=c d")
    tried = subprocess.run([*NAMESPACES, "--net", "sh", "-c", script], capture_output=True, text=True)
    return f"no machines in namespaces here: {tried.stderr.strip()}" if tried.returncode else None


def once(tree, folder, settings, *command):
    """Runs one command in a copy of a tree, with this machine's network; returns what it printed."""
    _prepare(folder, settings)
    with open(folder / "output.txt", "w") as log:
        done = subprocess.run([*NAMESPACES, HERE / "boot", tree, folder, settings.guest, *command],
                              stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                              env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    text = (folder / "output.txt").read_text()
    assert done.returncode == 0, f"exit code {done.returncode}: {text[-600:]}"
    return text


class Machine:
    """A copy of a tree that its systemd has started, with a network of its own."""

    def __init__(self, tree, folder, settings):
        _prepare(folder, settings)
        self.folder, self.log = folder, folder / "console.log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen([*NAMESPACES, "--net", HERE / "boot", tree, folder, settings.guest],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.first = None
        deadline = time.monotonic() + BOOT_LIMIT
        while not self._is_up():
            assert self.process.poll() is None, f"the machine ended: {self.log.read_text()[-400:]}"
            assert time.monotonic() < deadline, f"systemd did not start within {BOOT_LIMIT} s; see {self.log}"
            time.sleep(0.2)

    def _is_up(self):
        """Whether all units have started, one of them in vain or none."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        if not children or Path(f"/proc/{children[0]}/comm").read_text() != "systemd\n":
            return False
        self.first = children[0]
        return self.run("systemctl is-system-running", check=False) in ("running", "degraded")

    def run(self, command, check=True, limit=120):
        """Runs a line of shell inside; returns what it printed."""
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(["nsenter", "--target", self.first, "--all", *SHELL, command], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=limit, env=environment)
        with open(self.folder / "commands.log", "a") as log:
            log.write(f"$ {command}\n{done.stdout}{done.stderr}")
        told = (done.stdout + done.stderr)[-600:]
        assert not check or done.returncode == 0, f"`{command}`: exit code {done.returncode}: {told}"
        return done.stdout.strip()

    def eventually(self, command, wanted, limit=30):
        """Runs a line again and again until it prints what is wanted."""
        deadline = time.monotonic() + limit
        while wanted not in (said := self.run(command, check=False)):
            assert time.monotonic() < deadline, f"waited {limit} s for `{wanted}` of `{command}`: {said[-600:]}"
            time.sleep(0.1)
        return said

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.run("journalctl --no-pager > /work/journal.txt", check=False)
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        for name in ("upper", "lower"):
            shutil.rmtree(self.folder / name, ignore_errors=True)


def _prepare(folder, settings):
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("upper", "lower", "root", "work"):
        (folder / name).mkdir(parents=True)
    shutil.copy(settings.package, folder / "work" / "qemu-spice.deb")
