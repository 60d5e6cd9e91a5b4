"""A virtual environment with the built wheel and what its own metadata asks for, and nothing else.

The environment that runs the tests has more than that (linters, the build backend), which hides a dependency
that is imported and not declared. So what the wheel's metadata asks for is followed from package to package,
and only those are linked in, file by file, out of the locked and hash-checked environment of the tests.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.cli.program import ROOT


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout, as a release does."""
    words = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """Make an environment, install the wheel and what it asks for; return the environment's ``bin``."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    words = ["install", "--quiet", "--no-index", "--no-deps", "--no-compile", str(wheel)]
    python = str(folder / "bin" / "python")
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *words], check=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (metadata,) = site.glob("strongroom-*.dist-info")
    for package in asked_for(PathDistribution(metadata)):
        link(package, site)
    return folder / "bin"


def asked_for(package: Distribution) -> list[Distribution]:
    """Return what a package needs, and what that needs in turn."""
    found: dict[tuple[str, str], Distribution] = {}
    todo = list(_requirements(package, ()))
    while todo:
        requirement = todo.pop()
        extras = tuple(sorted(requirement.extras))
        key = (canonicalize_name(requirement.name), ",".join(extras))
        if key not in found:
            found[key] = distribution(requirement.name)
            todo += _requirements(found[key], extras)
    return list({name: one for (name, _), one in found.items()}.values())


def _requirements(package: Distribution, extras: tuple[str, ...]) -> Iterator[Requirement]:
    for line in package.requires or ():
        requirement = Requirement(line)
        marker = requirement.marker
        environments = [{**default_environment(), "extra": extra} for extra in ("", *extras)]
        if marker is None or any(marker.evaluate(one) for one in environments):
            yield requirement


def link(package: Distribution, site: Path) -> None:
    for file in package.files or ():
        if ".." in file.parts:  # a program of the package, in the environment's bin
            continue
        link = site / file
        source = Path(str(package.locate_file(file)))
        if source.exists() and not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(source)
