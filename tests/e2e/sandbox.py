"""What the program cannot do, whoever has taken it over. Its threads are made to try."""

import errno
import os
import platform
import re
import socket
import struct
from pathlib import Path

import attach
import inject
from rig import Skip, free_port

OPEN, CLOSE, SOCKET, CONNECT, BIND, CLONE, EXECVE, KILL, PTRACE, MOUNT, UNSHARE, UNLINK = (
    2, 3, 41, 42, 49, 56, 59, 62, 101, 165, 272, 87)
IO_URING_SETUP, BPF, PERF_EVENT_OPEN, KEYCTL, FINIT_MODULE, SETUID, CLONE3 = 425, 321, 298, 250, 313, 105, 435
LANDLOCK_CREATE_RULESET = 444
SECCOMP = 317
DAC_OVERRIDE = 1
WRITE_NEW = os.O_WRONLY | os.O_CREAT
LANDLOCK_ABI = 6  # from which on nothing is missing

THEIRS = Path.home() / "qemu-spice-was-here"  # a file of the user's, which the program has no need of


def refused(rig):
    """no thread opens a file, connects out or starts a program: not the first, not those that encode"""
    _needs_landlock(rig)
    vm = rig.vm()
    server = rig.serve(vm, video="h264")
    client = rig.client(server)
    vm.begin("scroll 100000 30 3")
    client("wait-picture")
    client("sleep 1000")
    names = []
    for thread in inject.threads(server.process.pid):
        with thread as call:
            told = {what: call(*how) for what, how in _attempts().items()}
            wanted = {what: _wanted(what) for what in told}
            assert told == wanted, f"{thread.name}: {told}"
            # What is left works: its own libraries.
            library = call(OPEN, b"/usr/lib/os-release\0", os.O_RDONLY)
            assert library >= 0, f"{thread.name}: {library}"
            call(CLOSE, library)
        names.append(thread.name)
    assert any(name.startswith("encode") for name in names), names
    assert not THEIRS.exists()
    vm.stage("picture")
    rig.same_picture(vm, client)
    assert server.errors().count("sandbox") == 0, server.errors()
    rig.tell(f"{len(names)} threads, {len(told)} ways each")


def off(rig):
    """--sandbox off leaves all of that open, and the log says so"""
    _needs_ptrace(rig)
    server = rig.serve(rig.vm(), "--sandbox", "off")
    try:
        with inject.threads(server.process.pid)[0] as call:
            for what, how in _attempts().items():
                if what in ("reads", "writes", "connects"):
                    assert call(*how) >= 0, what
        assert THEIRS.exists()
    finally:
        THEIRS.unlink(missing_ok=True)
    assert "--sandbox off" in server.errors(), server.errors()


def published(rig):
    """with --publish to a network, only what it names is connected to, and nothing listened on"""
    _needs_landlock(rig)
    with socket.socket() as media:
        media.bind(("127.0.0.1", 0))
        media.listen()
        port = media.getsockname()[1]
        server = rig.serve(rig.vm(), "--publish", f"rtmp://127.0.0.1:{port}/live/vm")
        with inject.threads(server.process.pid)[0] as call:
            made = call(SOCKET, socket.AF_INET, socket.SOCK_STREAM, 0)
            assert made >= 0, made
            assert call(CONNECT, made, _address(free_port()), 16) == -errno.EACCES
            assert call(BIND, made, _address(free_port()), 16) == -errno.EACCES
            assert call(CONNECT, made, _address(port), 16) == 0
            call(CLOSE, made)
            assert call(SOCKET, socket.AF_NETLINK, socket.SOCK_RAW, 0) == -errno.EPERM


def handed_over(rig):
    """on a connection that was handed over, the program makes no sockets of any kind"""
    _needs_landlock(rig)
    vm = rig.vm()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        attach.hand_to_qemu(vm, theirs)
        server = rig.start("--dbus-p2p-fd", ours.fileno(), "--spice-addr", f"127.0.0.1:{free_port()}", fds=(ours.fileno(),))
    server.ready()
    rig.same_picture(vm, rig.client(server))
    with inject.threads(server.process.pid)[0] as call:
        assert call(SOCKET, socket.AF_UNIX, socket.SOCK_STREAM, 0) == -errno.EPERM
    server.stop()
    with inject.threads(rig.serve(vm).process.pid)[0] as call:
        assert call(SOCKET, socket.AF_UNIX, socket.SOCK_STREAM, 0) >= 0


def without_landlock(rig):
    """where the kernel has no Landlock, it is told once and the rest stays closed; `strict` does not start"""
    _lacking(rig, LANDLOCK_CREATE_RULESET, "Landlock", lambda call: call(OPEN, b"/etc/passwd\0", os.O_RDONLY) >= 0)


def without_seccomp(rig):
    """… and no filters of system calls"""
    _lacking(rig, SECCOMP, "seccomp", lambda call: call(OPEN, b"/etc/passwd\0", os.O_RDONLY) == -errno.EACCES)


def strict(rig):
    """--sandbox strict starts where nothing is missing, by the configuration file too"""
    _needs_landlock(rig)
    vm = rig.vm()
    file = rig.fresh("vm", ".toml")
    file.write_text('sandbox = "strict"\n')
    server = rig.serve(vm, "--config", file)
    rig.same_picture(vm, rig.client(server))
    with inject.threads(server.process.pid)[0] as call:
        assert call(OPEN, b"/etc/passwd\0", os.O_RDONLY) == -errno.EACCES


def by_root(rig):
    """root has no powers left, but the one to speak to a QEMU of another user where there is one"""
    _needs_landlock(rig)
    vm = rig.vm()
    for owner, wanted in ((0, 0), (65534, 1 << DAC_OVERRIDE)):
        os.chown(vm.qmp_path, owner, owner)
        try:
            server = rig.serve(vm)
            rig.same_picture(vm, rig.client(server))
            status = Path(f"/proc/{server.process.pid}/status").read_text()
            sets = {name: int(bits, 16) for name, bits in re.findall(r"Cap(\w+):\s*(\w+)", status)}
            assert sets == {"Inh": 0, "Prm": wanted, "Eff": wanted, "Bnd": 0, "Amb": 0}, sets
            server.stop()
        finally:
            os.chown(vm.qmp_path, 0, 0)


def _lacking(rig, number, word, holds):
    """Without one system call the program says so once and serves, or does not start with `strict`."""
    _needs_ptrace(rig)
    vm = rig.vm()
    lacking = Path(__file__).with_name("lacking.py")
    arguments = ["--qmp", str(vm.qmp_path), "--spice-addr", f"127.0.0.1:{free_port()}"]
    server = rig.start(str(number), rig.settings.program, *arguments, program=lacking)
    server.ready()
    rig.same_picture(vm, rig.client(server))
    told = [line for line in server.errors().splitlines() if "sandbox" in line]
    assert len(told) == 1 and word in told[0], told
    with inject.threads(server.process.pid)[0] as call:
        assert holds(call), f"without {word}"
    server.stop()
    server = rig.start(str(number), rig.settings.program, *arguments, "--sandbox", "strict", program=lacking)
    assert server.wait(20) == 1
    told = server.errors().splitlines()
    assert len(told) == 1 and "--sandbox" in told[0] and word in told[0], told


def _attempts():
    """What somebody who has taken a program over would do, as system calls."""
    arguments = struct.pack("QQ", 0, 0)
    return {
        "reads": (OPEN, b"/etc/passwd\0", os.O_RDONLY),
        "writes": (OPEN, f"{THEIRS}\0".encode(), WRITE_NEW, 0o600),
        "writes in /tmp": (OPEN, b"/tmp/qemu-spice-was-here\0", WRITE_NEW, 0o600),
        "connects": (SOCKET, socket.AF_INET, socket.SOCK_STREAM, 0),
        "connects by IPv6": (SOCKET, socket.AF_INET6, socket.SOCK_STREAM, 0),
        "speaks with the kernel": (SOCKET, socket.AF_NETLINK, socket.SOCK_RAW, 0),
        "starts a program": (EXECVE, b"/bin/true\0", arguments, arguments),
        "starts a process": (CLONE, 17, 0, 0, 0, 0),
        "starts one in another way": (CLONE3, bytes(64), 64),
        "ends another": (KILL, os.getpid(), 0),
        "looks into another": (PTRACE, 16, os.getpid(), 0, 0),
        "mounts": (MOUNT, b"none\0", b"/mnt\0", b"tmpfs\0", 0, 0),
        "makes namespaces": (UNSHARE, 0x10000000),
        "uses io_uring": (IO_URING_SETUP, 1, bytes(128)),
        "uses bpf": (BPF, 0, bytes(128), 128),
        "counts events": (PERF_EVENT_OPEN, bytes(128), 0, 2**64 - 1, 2**64 - 1, 0),
        "uses keys": (KEYCTL, 0, -3, 0),
        "loads a module": (FINIT_MODULE, 0, b"\0", 0),
        "becomes another": (SETUID, 1),
    }


def _wanted(what):
    if what in ("reads", "writes", "writes in /tmp"):
        return -errno.EACCES
    return -errno.ENOSYS if what in ("uses io_uring", "starts one in another way") else -errno.EPERM


def call(number, *arguments):
    return call(number, *arguments)


def _address(port):
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, socket.inet_aton("127.0.0.1"))


def _needs_ptrace(rig):
    rig.needs_program()
    if platform.machine() != "x86_64" or os.geteuid() != 0:
        raise Skip("system calls are injected on x86-64, by root")


def _needs_landlock(rig):
    _needs_ptrace(rig)
    abi = inject.libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, 1)
    if abi < LANDLOCK_ABI:
        raise Skip(f"this kernel's Landlock is {max(abi, 0)}, and {LANDLOCK_ABI} has all")
