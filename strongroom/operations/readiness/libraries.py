"""Whether Python and its libraries are what this Strongroom asks for."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata

from strongroom.errors import ConfigError
from strongroom.operations.findings import Finding, good, remark, wrong

PYTHON, LIBRARIES = "python", "libraries"
CORE = ("cryptography", "msgspec", "zstandard")
"""What restoring from a file needs."""

INSTALL = "Install this Strongroom again, with the libraries that its lock file names."

_DISTRIBUTION = "strongroom"
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*([^;]*)")
_BOUND = re.compile(r"(>=|<=|==|!=|<|>|~=)\s*([0-9][0-9.]*)")


def python() -> Iterator[Finding]:
    """Hold the interpreter to what the package asks for."""
    running = ".".join(map(str, sys.version_info[:3]))
    try:
        asked = metadata.metadata(_DISTRIBUTION)["Requires-Python"] or ""
    except metadata.PackageNotFoundError:
        yield remark(PYTHON, f"Python {running}; what is required is not on record here", INSTALL)
        return
    if fits(running, asked):
        yield good(PYTHON, f"Python {running} ({asked} is required)")
    else:
        yield wrong(PYTHON, ConfigError(f"Python {running}, and {asked} is required", hint=INSTALL))


def libraries(needed: Iterable[str]) -> Iterator[Finding]:
    """Hold the libraries that are needed here to the versions that the package asks for."""
    asked = _asked()
    found = [(name, _version(name), asked.get(_normal(name), "")) for name in sorted(set(needed))]
    bad = [other for other in found if other[1] is None or not fits(other[1], other[2])]
    for name, version, bounds in bad:
        there = f"{version} is here" if version else "it is not here"
        yield wrong(LIBRARIES, ConfigError(f"{name} {bounds} is required, and {there}", hint=INSTALL))
    if not bad:
        yield good(LIBRARIES, ", ".join(f"{name} {version}" for name, version, _ in found))


def fits(version: str, bounds: str) -> bool:
    """Tell whether a version is within bounds such as ``<2.2,>=2.1``; other kinds are passed over."""
    return all(
        _RULES[rule](_numbers(version), _numbers(than))
        for rule, than in _BOUND.findall(bounds)
        if rule in _RULES
    )


_RULES: Mapping[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    ">=": lambda have, than: have >= than,
    "<=": lambda have, than: have <= than,
    ">": lambda have, than: have > than,
    "<": lambda have, than: have < than,
}


def _numbers(version: str) -> tuple[int, ...]:
    """Return a version's numbers, as many as make 2.1 and 2.1.0 the same."""
    found = [int(number) for number in re.findall(r"\d+", re.split(r"[a-z+-]", version)[0])]
    return tuple([*found, 0, 0, 0, 0][:4])


def _asked() -> dict[str, str]:
    try:
        lines = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return {}
    matched = [_REQUIREMENT.match(line) for line in lines if "extra ==" not in line]
    return {_normal(match[1]): match[2].strip() for match in matched if match}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
