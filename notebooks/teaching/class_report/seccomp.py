"""System calls that a box refuses: memory that nobody can count, and the kernel's store of keys.

A filter is a small program of the kernel's packet filter, which bwrap loads (`--seccomp`); see seccomp(2).
"""

import platform
import struct

CALLS = {  # machine: (its number in the kernel's audit, {call: its number})
    "x86_64": (0xC000003E, dict(shmget=29, add_key=248, request_key=249, keyctl=250, memfd_create=319)),
    "aarch64": (0xC00000B7, dict(shmget=194, add_key=217, request_key=218, keyctl=219, memfd_create=279)),
}
MEMFD_SECRET, FOREIGN = 447, 0x40000000  # the same number on both; from here on calls of another interface
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOWED, REFUSED = 0x7FFF0000, 0x00050001  # the second: "operation not permitted"


def program() -> bytes:
    """The filter for this machine; empty where its calls are not known here."""
    if platform.machine() not in CALLS:
        return b""
    machine, calls = CALLS[platform.machine()]
    tests = [(AT_LEAST, FOREIGN), *((EQUAL, number) for number in (*calls.values(), MEMFD_SECRET))]
    steps = [(LOAD, 0, 0, 4), (EQUAL, 0, len(tests) + 2, machine), (LOAD, 0, 0, 0)]
    steps += [(code, len(tests) - i, 0, number) for i, (code, number) in enumerate(tests)]
    steps += [(RETURN, 0, 0, ALLOWED), (RETURN, 0, 0, REFUSED)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
