"""Holds one thread of another process, as a host does that has no processor to spare for it."""

import contextlib
import ctypes
import os

SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17  # PTRACE_* of <sys/ptrace.h>
WALL = 0x40000000  # __WALL: waits for threads as well

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long] * 4


@contextlib.contextmanager
def stalled(thread):
    """Within it `thread` does not run, while the other threads of its process do. OSError where that is not allowed."""
    _ptrace(SEIZE, thread)
    try:
        _ptrace(INTERRUPT, thread)
        os.waitpid(thread, WALL)
        yield
    finally:
        _ptrace(DETACH, thread)


def _ptrace(request, thread):
    if _libc.ptrace(request, thread, 0, 0):
        raise OSError(ctypes.get_errno(), f"ptrace: {os.strerror(ctypes.get_errno())}")
