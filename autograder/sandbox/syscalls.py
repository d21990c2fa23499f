"""System calls that learners' code has no use for, refused by the kernel itself (seccomp).

bubblewrap's namespaces and resource limits hold files, network and processes; this closes what
they leave open: memory that no limit counts (memfd), new namespaces, looking into other processes,
and kernel interfaces whose bugs have been ways out of sandboxes.
"""

import errno
import platform
import struct

# Numbers from the kernel's tables; a machine of another kind gets no filter, the other walls hold.
ARCHITECTURES = {
    "x86_64": (
        0xC000003E,
        {
            "ptrace": 101,
            "process_vm_readv": 310,
            "process_vm_writev": 311,
            "memfd_create": 319,
            "memfd_secret": 447,
            "unshare": 272,
            "setns": 308,
            "mount": 165,
            "umount2": 166,
            "pivot_root": 155,
            "keyctl": 250,
            "add_key": 248,
            "request_key": 249,
            "bpf": 321,
            "perf_event_open": 298,
            "userfaultfd": 323,
            "io_uring_setup": 425,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "ptrace": 117,
            "process_vm_readv": 270,
            "process_vm_writev": 271,
            "memfd_create": 279,
            "memfd_secret": 447,
            "unshare": 97,
            "setns": 268,
            "mount": 40,
            "umount2": 39,
            "pivot_root": 41,
            "keyctl": 219,
            "add_key": 217,
            "request_key": 218,
            "bpf": 280,
            "perf_event_open": 241,
            "userfaultfd": 282,
            "io_uring_setup": 425,
        },
    ),
}
X32_BIT = 0x40000000

_LOAD = 0x20  # the word at an offset of the call's description
_JUMP_IF_EQUAL = 0x15
_JUMP_IF_SET = 0x45
_RETURN = 0x06
_KILL, _ALLOW, _REFUSE = 0x80000000, 0x7FFF0000, 0x00050000 | errno.EPERM


def program() -> bytes | None:
    """The filter for this machine, as the kernel reads it; None where its numbers are not known.

    >>> filter = program()
    >>> filter is None or len(filter) % 8 == 0
    True
    """
    known = ARCHITECTURES.get(platform.machine())
    if known is None:
        return None
    architecture, calls = known
    numbers = sorted(calls.values())
    steps = [
        (_LOAD, 0, 0, 4),
        (_JUMP_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),  # a call in the manner of another machine, to get round the list
        (_LOAD, 0, 0, 0),
        (_JUMP_IF_SET, len(numbers) + 1, 0, X32_BIT),
    ]
    for place, number in enumerate(numbers):
        steps.append((_JUMP_IF_EQUAL, len(numbers) - place, 0, number))
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
