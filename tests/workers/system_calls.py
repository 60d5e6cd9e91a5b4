"""``python -m tests.workers.system_calls UNIT COMMAND …``: run under the system calls that a unit allows.

systemd itself cannot run here, so the unit's ``SystemCallFilter`` lines are made into the same filter of the
kernel by libseccomp, as systemd.exec(5) describes them: the first line decides whether calls are listed to be
allowed, later ones with ``~`` take some away again, and what is not allowed fails with EPERM.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_ALLOW = 0x7FFF0000
_EPERM = 0x00050000 | errno.EPERM


def allowed(unit: str) -> set[str]:
    """Return the names of the calls that the lines of a unit allow."""
    calls = set(_calls("@default"))
    for line in unit.splitlines():
        key, _, words = line.partition("=")
        if key == "SystemCallFilter":
            listed = {call for word in words.lstrip("~").split() for call in _calls(word)}
            calls = calls - listed if words.startswith("~") else calls | listed
    return calls


def _calls(word: str) -> Iterator[str]:
    if not word.startswith("@"):
        yield word
        return
    told = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager", word], capture_output=True, text=True, check=True
    )
    for line in told.stdout.splitlines()[1:]:
        if (inner := line.strip()) and not inner.startswith("#"):
            yield from _calls(inner)


def confine(calls: set[str]) -> None:
    """Let this process, and what it starts, make only these calls."""
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_rule_add.argtypes = (ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint)
    library.seccomp_load.argtypes = (ctypes.c_void_p,)
    rules = library.seccomp_init(_EPERM)
    for call in calls:
        number = library.seccomp_syscall_resolve_name(call.encode())
        if number >= 0:  # others are of another architecture
            library.seccomp_rule_add(rules, _ALLOW, number, 0)
    if library.seccomp_load(rules) != 0:
        raise OSError(ctypes.get_errno(), "the kernel takes no filter")


if __name__ == "__main__":
    confine(allowed(Path(sys.argv[1]).read_text(encoding="utf-8")))
    os.execvp(sys.argv[2], sys.argv[2:])
