"""Write what is installed with the package, as CycloneDX: the pins of requirements/base.lock, with hashes.

python scripts/sbom.py            # write requirements/strongroom.cdx.json, which goes into the wheel
python scripts/sbom.py --check    # exit with 1 if it is stale

The pins and hashes are the lock's. Licences, and what needs what, are what the metadata of the installed
packages says, so it takes an environment that has them: `make dev`. One lock gives the same bytes again.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
import uuid
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from strongroom import __version__  # noqa: E402

LOCK: Final = ROOT / "requirements" / "base.lock"
FILE: Final = ROOT / "requirements" / "strongroom.cdx.json"
SPEC: Final = "1.6"
ITSELF: Final = "strongroom"

_PIN = re.compile(r"^(?P<name>[a-z0-9.-]+)==(?P<version>[^ ;\\]+)(?: ; (?P<marker>[^\\]+?))? \\$")


class Pin(NamedTuple):
    """A package as the lock has it."""

    name: str
    version: str
    marker: str | None
    hashes: list[str]


def pins(lock: str) -> dict[str, Pin]:
    """Return the packages of a lock by name."""
    found: dict[str, Pin] = {}
    name = ""
    for line in lock.splitlines():
        if match := _PIN.match(line):
            name = canonicalize_name(match["name"])
            found[name] = Pin(name, match["version"], match["marker"], [])
        elif line.startswith("    --hash=sha256:"):
            found[name].hashes.append(line.strip(" \\").removeprefix("--hash=sha256:"))
    return found


def bill() -> dict[str, Any]:
    """Return the whole document."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    locked = pins(LOCK.read_text(encoding="utf-8"))
    needed: dict[str, set[str]] = {ITSELF: set()}
    for line in project["dependencies"]:
        _follow(ITSELF, Requirement(line), needed)
    required = set(needed)
    extras: dict[str, set[str]] = {}
    for extra, lines in project["optional-dependencies"].items():
        if extra not in ("all", "apprise", "dev"):
            of_extra: dict[str, set[str]] = {}
            for line in lines:
                _follow(ITSELF, Requirement(line), needed)
                _follow(ITSELF, Requirement(line), of_extra)
            for name in of_extra.keys() - required:
                extras.setdefault(name, set()).add(extra)
    # The lock has the build backend, too, since the project is installed without build isolation.
    locked = {name: pin for name, pin in locked.items() if name in needed or pin.marker}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "pre-build"}],
            "component": {
                "type": "application",
                "bom-ref": ITSELF,
                "name": ITSELF,
                "version": __version__,
                "description": project["description"],
                "licenses": [{"expression": project["license"]}],
                "purl": f"pkg:pypi/{ITSELF}@{__version__}",
            },
        },
        "components": [_component(pin, extras.get(pin.name, set())) for _, pin in sorted(locked.items())],
        "dependencies": [
            {"ref": name, "dependsOn": sorted(needs & locked.keys())}
            for name, needs in sorted(needed.items())
            if name == ITSELF or name in locked
        ],
    }
    name = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document, sort_keys=True))
    return document | {"serialNumber": f"urn:uuid:{name}"}


def _follow(user: str, wanted: Requirement, needed: dict[str, set[str]]) -> None:
    """Note what a package needs, and what that needs in turn, with the extras that it asks for."""
    name = canonicalize_name(wanted.name)
    needed.setdefault(user, set()).add(name)
    needed.setdefault(name, set())
    for inner in _requirements(name, wanted.extras):
        if canonicalize_name(inner.name) not in needed[name]:
            _follow(name, inner, needed)


def _requirements(name: str, extras: set[str]) -> Iterator[Requirement]:
    environment = cast("dict[str, str]", default_environment())
    for line in (package.requires or []) if (package := _installed(name)) else []:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({**environment, "extra": each}) for each in ("", *extras)):
            yield requirement


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None  # what another version of Python needs


def _component(pin: Pin, extras: set[str]) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": pin.name,
        "name": pin.name,
        "version": pin.version,
        "scope": "optional" if extras or pin.marker else "required",
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in sorted(pin.hashes)],
        "purl": f"pkg:pypi/{pin.name}@{pin.version}",
    }
    if licence := _licence(pin.name):
        component["licenses"] = [licence]
    said: Mapping[str, str] = {f"strongroom:extra:{extra}": "true" for extra in sorted(extras)}
    if pin.marker:
        said = {**said, "strongroom:marker": pin.marker}
    if said:
        component["properties"] = [{"name": name, "value": value} for name, value in said.items()]
    return component


def _licence(name: str) -> dict[str, Any] | None:
    """Return a package's licence, as its metadata says it: an expression of SPDX, or a name."""
    package = _installed(name)
    if package is None:
        return None
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return {"expression": expression}
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License :: ") and line.count(" :: ") > 1
    ]
    said = (metadata.get("License") or "").strip()
    text = " AND ".join(sorted(classifiers)) or (said if "\n" not in said else "")
    return {"license": {"name": text}} if text else None


def text() -> str:
    """Return the file's text."""
    return json.dumps(bill(), indent=1, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    made = text()
    stale = not FILE.exists() or FILE.read_text(encoding="utf-8") != made
    if stale and "--check" not in arguments:
        FILE.write_text(made, encoding="utf-8")
    if stale:
        print(f"{FILE.relative_to(ROOT)} {'is stale' if '--check' in arguments else 'is written'}")
    return int(stale and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
