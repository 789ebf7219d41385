#!/usr/bin/python3
"""`lacking.py NUMBER[,NUMBER…] PROGRAM ARGUMENTS…` starts a program for which the kernel does not have some system calls."""

import ctypes
import errno
import os
import struct
import sys

NO_NEW_PRIVS, SECCOMP, FILTER = 38, 22, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERROR = 0x7FFF0000, 0x00050000


def main():
    calls = [int(number) for number in sys.argv[1].split(",")]
    program = [(LOAD, 0, 0, 0)]
    for call in calls:
        program += [(EQUAL, 0, 1, call), (RETURN, 0, 0, ERROR | errno.ENOSYS)]
    program.append((RETURN, 0, 0, ALLOW))
    text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in program))
    described = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(text)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((NO_NEW_PRIVS, 1, 0, 0, 0), (SECCOMP, FILTER, ctypes.addressof(described), 0, 0)):
        if libc.prctl(*(ctypes.c_ulong(value) for value in arguments)) != 0:
            sys.exit(f"prctl {arguments}: {os.strerror(ctypes.get_errno())}")
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
