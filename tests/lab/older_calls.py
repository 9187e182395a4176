"""Run a program on a kernel without the newest system calls that take paths: proot of Debian does not know them.

    python older_calls.py PROGRAM ARGUMENT...

proot translates paths in system calls, and lets those pass that came after it. Refused, programs use the older ones.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

NUMBERS = {
    "x86_64": {"renameat2": 316, "statx": 332, "openat2": 437, "faccessat2": 439, "fchmodat2": 452},
    "aarch64": {"renameat2": 276, "statx": 291, "openat2": 437, "faccessat2": 439, "fchmodat2": 452},
}
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
LOAD_NUMBER, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.ENOSYS


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def main() -> None:
    numbers = list(NUMBERS[os.uname().machine].values())
    steps = [(LOAD_NUMBER, 0, 0, 0)]
    # each comparison jumps over the rest of them and over the step that allows
    steps += [(JUMP_IF_EQUAL, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    steps += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
    code = b"".join(struct.pack("<HBBI", *step) for step in steps)
    program = Program(len(steps), code)
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program))):
        if libc.prctl(*arguments):
            sys.exit(f"the kernel refuses to filter system calls: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
