"""Say what machine the numbers came from, and nothing that identifies it."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def _first(path: str, key: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(key):
            return line.partition(":")[2].strip().strip('"')
    return "unknown"


def _system() -> str:
    values = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line
    )
    return values.get("PRETTY_NAME", platform.system()).strip('"')


def _file_system(path: Path) -> str:
    """Return the type of the file system that holds ``path``: the longest mount point wins."""
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _device, mount, found, *_rest = line.split()
        if str(path.resolve()).startswith(mount) and len(mount) >= len(best):
            best, kind = mount, found
    return kind


def describe(scratch: Path) -> dict[str, str]:
    """Return the machine as label and value, in print order."""
    memory = int(_first("/proc/meminfo", "MemTotal").split()[0]) / 1024**2
    return {
        "Processor": f"{_first('/proc/cpuinfo', 'model name')}, {os.cpu_count()} cores",
        "Memory": f"{memory:.0f} GiB",
        "File system": f"{_file_system(scratch)}, warm page cache",
        "System": f"{_system()}, Linux {platform.release().split('-')[0]}",
        "Python": platform.python_version(),
    }
