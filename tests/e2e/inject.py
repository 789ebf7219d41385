"""Has a thread of another process make a system call, as a fault in it that somebody makes use of would. For x86-64.

The thread is stopped by ptrace(2), its registers are set to the call's and it makes one step, over a `syscall` of the
C library's; then it goes on where it was.
"""

import ctypes
import os
import re
import struct

SEIZE, INTERRUPT, GETREGS, SETREGS, STEP, DETACH = 0x4206, 0x4207, 12, 13, 9, 17
WALL = 0x40000000
NAMES = ["r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi", "orig_rax",
         "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs"]
ARGUMENTS = ["rdi", "rsi", "rdx", "r10", "r8", "r9"]
SCRATCH = 8192  # bytes below the stack, past what a function without a frame may use


class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in NAMES]


libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


class Thread:
    """A thread that is stopped, until the end of a `with`."""

    def __init__(self, process, thread):
        self.process, self.thread = process, thread
        self.name = open(f"/proc/{process}/task/{thread}/comm").read().strip()

    def __enter__(self):
        _ptrace(SEIZE, self.thread)
        _ptrace(INTERRUPT, self.thread)
        os.waitpid(self.thread, WALL)
        self.before = Registers()
        _ptrace(GETREGS, self.thread, data=ctypes.addressof(self.before))
        self.memory = open(f"/proc/{self.process}/mem", "r+b", buffering=0)
        self.instruction = _syscall_instruction(self.process, self.memory)
        return self

    def __exit__(self, *_):
        _ptrace(SETREGS, self.thread, data=ctypes.addressof(self.before))
        _ptrace(DETACH, self.thread)
        self.memory.close()

    def __call__(self, number, *arguments):
        """Makes a system call. What of its arguments is bytes is put into memory. Returns its result, or the negative
        number of its error."""
        place = self.before.rsp - SCRATCH
        now = Registers.from_buffer_copy(self.before)
        for register, value in zip(ARGUMENTS, arguments):
            if isinstance(value, bytes):
                self.memory.seek(place)
                self.memory.write(value)
                value, place = place, place + (len(value) + 15) // 16 * 16
            setattr(now, register, value % 2**64)
        # Without a call of its own to go on with, the kernel does not repeat one.
        now.rax, now.orig_rax, now.rip = number, 2**64 - 1, self.instruction
        _ptrace(SETREGS, self.thread, data=ctypes.addressof(now))
        _ptrace(STEP, self.thread)
        _, status = os.waitpid(self.thread, WALL)
        assert os.WIFSTOPPED(status), f"the thread {self.name} ended by the call {number}: {status:#x}"
        _ptrace(GETREGS, self.thread, data=ctypes.addressof(now))
        return struct.unpack("q", struct.pack("Q", now.rax))[0]


def threads(process):
    """All threads of a process, the first first."""
    numbers = sorted(int(number) for number in os.listdir(f"/proc/{process}/task"))
    return [Thread(process, number) for number in numbers]


def _syscall_instruction(process, memory):
    for line in open(f"/proc/{process}/maps"):
        found = re.match(r"([0-9a-f]+)-([0-9a-f]+) r-xp .*/libc\.so\.6$", line)
        if found:
            start, end = (int(address, 16) for address in found.groups())
            memory.seek(start)
            return start + memory.read(end - start).index(b"\x0f\x05")
    raise RuntimeError("the process has no C library")


def _ptrace(request, thread, address=0, data=0):
    if libc.ptrace(request, thread, address, data) == -1:
        raise OSError(ctypes.get_errno(), f"ptrace {request:#x} of {thread}")
