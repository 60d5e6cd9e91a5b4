"""Build the wheel and the source package of a commit, with their digests and where they come from.

python scripts/package.py dist    # `make package`

The same commit gives the same bytes on any machine: whoever doubts a wheel builds it again and compares. The
provenance (in-toto, SLSA) is unsigned. It says what was built from what, and not who vouches for that.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

ROOT = Path(__file__).resolve().parent.parent
BUILD_TYPE: Final = "urn:strongroom:package:1"
"""What `externalParameters` and the steps mean: those of this script. No page on the web describes it."""
BUILDER: Final = "urn:strongroom:builder:unattested"
"""Some machine on which somebody typed `make package`: no service vouches for it."""
SUMS: Final = "SHA256SUMS"
PROVENANCE: Final = ".provenance.json"


def build(target: str, source: Path, folder: Path, *, epoch: int) -> Path:
    """Build ``wheel`` or ``sdist`` of a source tree; return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.iterdir())
    words = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    subprocess.run(words, cwd=source, env=environment, check=True, capture_output=True)
    (made,) = set(folder.iterdir()) - before
    return made


def provenance(files: list[Path], commit: str, *, epoch: int) -> dict[str, Any]:
    """Return the statement about what was built."""
    lock = ROOT / "requirements" / "dev.lock"
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": file.name, "digest": {"sha256": sha256(file)}} for file in sorted(files)],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"commit": commit, "SOURCE_DATE_EPOCH": epoch},
                "internalParameters": {
                    "python": ".".join(map(str, sys.version_info[:3])),
                    "hatchling": version("hatchling"),
                },
                "resolvedDependencies": [
                    {"name": "source", "digest": {"gitCommit": commit}},
                    {"name": "requirements/dev.lock", "digest": {"sha256": sha256(lock)}},
                ],
            },
            "runDetails": {"builder": {"id": BUILDER, "version": {"hatchling": version("hatchling")}}},
        },
    }


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def unpack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")


def git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def vouch(folder: Path, commit: str, *, epoch: int) -> None:
    """Write beside what was built its digests, and where it comes from."""
    files = sorted(folder.iterdir())
    (wheel,) = folder.glob("*.whl")
    (folder / SUMS).write_text("".join(f"{sha256(file)}  {file.name}\n" for file in files))
    statement = json.dumps(provenance(files, commit, epoch=epoch), indent=1) + "\n"
    (folder / f"{wheel.stem}{PROVENANCE}").write_text(statement)


def of_former_package(folder: Path) -> set[Path]:
    """Return what was put there by this script, and is still as it was: its digests say so."""
    sums = folder / SUMS
    lines = sums.read_text().splitlines() if sums.exists() else []
    told = {folder / name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    same = {file for file, digest in told.items() if file.is_file() and sha256(file) == digest}
    return {*same, *(file.with_name(f"{file.stem}{PROVENANCE}") for file in same), sums}


def others_in(folder: Path) -> list[str]:
    """Name what somebody else put there."""
    there = set(folder.iterdir()) if folder.exists() else set()
    return sorted(file.name for file in there - of_former_package(folder))


def deliver(made: Path, folder: Path) -> None:
    """Move what was built to its place, and remove what was there of a former package."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in of_former_package(folder):
        file.unlink(missing_ok=True)
    for file in made.iterdir():
        shutil.move(file, folder / file.name)


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0] if arguments else "dist").absolute()
    if git("status", "--porcelain", "--untracked-files=no"):
        print("The tree has changes that no commit has, and the provenance names a commit: commit first.")
        return 1
    if others := others_in(folder):
        print(f"{folder} has what no package of this script is: {', '.join(others)}.")
        print("Remove it, or name another folder.")
        return 1
    commit, epoch = git("rev-parse", "HEAD"), int(git("log", "-1", "--format=%ct"))
    with TemporaryDirectory() as scratch:
        archive, made = Path(scratch, "commit.tar"), Path(scratch, "made")
        git("archive", "--format=tar", f"--output={archive}", commit)
        unpack(archive, Path(scratch, "commit"))
        source = build("sdist", Path(scratch, "commit"), made, epoch=epoch)
        # Out of the source package, so that this is known to be whole.
        unpack(source, Path(scratch, "source"))
        (unpacked,) = Path(scratch, "source").iterdir()
        build("wheel", unpacked, made, epoch=epoch)
        vouch(made, commit, epoch=epoch)
        deliver(made, folder)
    for file in sorted(folder.iterdir()):
        print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
