"""A virtual environment with the built wheel and what its own metadata asks for, and nothing else.

The environment that runs the tests has more than that (linters, the build backend), which hides a dependency
that is imported and not declared. So what the wheel's metadata asks for is followed from package to package,
and only those are linked in, file by file, out of the locked and hash-checked environment of the tests.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path
from typing import cast

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.cli.program import ROOT
from tests.once_a_run import FOLDER
from tests.patience import PATIENCE, until


@functools.cache
def build_wheel() -> Path:
    """Build the wheel of this checkout, as a release does: once in a process."""
    folder = Path(tempfile.mkdtemp(prefix="wheel-", dir=os.environ[FOLDER]))
    words = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path, *extras: str) -> Path:
    """Make an environment, install the wheel and what it asks for; return the environment's ``bin``.

    Args:
        extras: as in ``strongroom[aws]``.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    words = ["install", "--quiet", "--no-index", "--no-deps", "--no-compile", str(wheel)]
    python = str(folder / "bin" / "python")
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *words], check=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (metadata,) = site.glob("strongroom-*.dist-info")
    for package in asked_for(PathDistribution(metadata), extras):
        link(package, site)
    return folder / "bin"


def asked_for(package: Distribution, extras: tuple[str, ...] = ()) -> list[Distribution]:
    """Return what a package needs, with some of its extras, and what that needs in turn."""
    found: dict[tuple[str, str], Distribution] = {}
    todo = list(_requirements(package, extras))
    while todo:
        requirement = todo.pop()
        extras = tuple(sorted(requirement.extras))
        key = (canonicalize_name(requirement.name), ",".join(extras))
        if requirement.name == package.name:  # an extra that is made of others
            todo += _requirements(package, extras)
        elif key not in found:
            found[key] = distribution(requirement.name)
            todo += _requirements(found[key], extras)
    return list({name: one for (name, _), one in found.items()}.values())


def _requirements(package: Distribution, extras: tuple[str, ...]) -> Iterator[Requirement]:
    for line in package.requires or ():
        requirement = Requirement(line)
        marker = requirement.marker
        environments = [
            {**cast("dict[str, str]", default_environment()), "extra": extra} for extra in ("", *extras)
        ]
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


class Installed:
    """An installed wheel on a machine of its own: a home folder and an empty environment."""

    def __init__(self, programs: Path, home: Path) -> None:
        self.programs = programs
        self.home = home
        home.mkdir()
        self.environment = {
            "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(home),
            "PYTHONPYCACHEPREFIX": os.environ.get("PYTHONPYCACHEPREFIX", ""),
            "STRONGROOM_STATE_DIR": str(home / "state"),
        }

    def run(self, *words: str, text: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words,
            cwd=cwd or self.home,
            env=self.environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def ok(self, *words: str, text: str = "", cwd: Path | None = None) -> str:
        done = self.run(*words, text=text, cwd=cwd)
        assert done.returncode == 0, done
        return done.stdout

    def python(self, program: str) -> str:
        return self.ok("python", "-P", "-c", program)

    @contextmanager
    def cluster(self) -> Iterator[None]:
        """Run ``strongroom up`` inside the block, from the moment when it says that it is up."""
        said, errors = self.home / "up.out", self.home / "up.err"
        with said.open("wb") as out, errors.open("wb") as err:
            process = subprocess.Popen(
                ["strongroom", "up"],
                cwd=self.home,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        try:
            until(lambda: "The cluster is up" in said.read_text(), what="the cluster")
            yield
        except AssertionError as error:
            raise AssertionError(errors.read_text()) from error
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=PATIENCE)

    def runs(self, policy: str) -> list[Mapping[str, str]]:
        document = json.loads(self.ok("strongroom", "runs", "--json"))
        return [run for run in document["runs"] if run["policy"] == policy and run["state"] == "done"]
