"""Count what a whole process reads of one file, as the kernel sees it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CALLS = "read,pread64,readv,preadv,preadv2,mmap"
RETURNED = re.compile(r"^\d+ +(\w+)\(.*\) = (\w+)$")


@dataclass(frozen=True, kw_only=True)
class Reads:
    """``mapped`` is true if the file was mapped: then nothing can be said of its reads."""

    calls: int
    bytes: int
    mapped: bool


def parse(trace: str) -> Reads:
    """Add up the calls in the output of ``strace -f -P FILE``."""
    found = [match.groups() for match in map(RETURNED.match, trace.splitlines()) if match]
    sizes = [int(result) for call, result in found if call != "mmap" and int(result) > 0]
    return Reads(calls=len(sizes), bytes=sum(sizes), mapped=any(call == "mmap" for call, _ in found))


def count(command: Sequence[str], file: Path, *, env: Mapping[str, str], scratch: Path) -> Reads | None:
    """Run ``command`` under strace; ``None`` without strace, or if either failed."""
    if not shutil.which("strace"):
        return None
    trace = scratch / "trace"
    watched = ["strace", "-f", "-qq", "-P", str(file), "-e", f"trace={CALLS}", "-e", "signal=none"]
    done = subprocess.run(
        [*watched, "-o", str(trace), *command], env=dict(env), capture_output=True, check=False
    )
    return parse(trace.read_text(errors="replace")) if done.returncode == 0 else None
