"""Make a virtual environment of exactly the locked packages, and the project itself in it.

    python3 scripts/make_venv.py VENV LOCK

Every package is checked against the hashes in LOCK. Only the standard library is used
here, for nothing else is at hand yet.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def has(module: str) -> bool:
    """Tell whether this Python can import a module."""
    return importlib.util.find_spec(module) is not None


def what_to_install() -> str:
    """Say which system package brings the missing part."""
    if shutil.which("apt-get"):
        return f"  apt-get install python{VERSION}-venv"
    if shutil.which("dnf"):
        return "  dnf install python3-pip"
    if shutil.which("apk"):
        return "  apk add py3-pip"
    return "  the venv and ensurepip modules of this Python"


def system_package() -> bool:
    """As root on a Debian-like system, install the missing part. Tell whether it worked."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    print(f"python{VERSION} has no ensurepip: installing python{VERSION}-venv", flush=True)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", f"python{VERSION}-venv"]
    for command in (install, ["apt-get", "update", "-q"], install):
        done = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False
        )
        if command is install and done.returncode == 0:
            return True
    return False


def is_usable(folder: Path) -> bool:
    """Tell whether ``folder`` is an environment of this very Python, with a pip that runs."""
    python = folder / "bin" / "python"
    if not python.exists():
        return False
    ask = [str(python), "-c", "import sys, pip; print(sys.base_prefix, sys.version)"]
    done = subprocess.run(ask, capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.strip() == f"{sys.base_prefix} {sys.version}"


def create(folder: Path) -> list[str]:
    """Create the environment; return the command that is its pip."""
    inside = [str(folder / "bin" / "python"), "-m", "pip"]
    if is_usable(folder):
        return inside
    if has("ensurepip") or system_package():
        # A new process: this one may have started before ensurepip was installed.
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        return inside
    venv.EnvBuilder(with_pip=False, clear=True, symlinks=True).create(folder)
    if has("pip"):
        return [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
    sys.exit(
        f"{sys.executable} (Python {VERSION}) has neither ensurepip nor pip."
        f"\nInstall what is missing and run make again:\n{what_to_install()}"
    )


def install(pip: list[str], lock: Path) -> None:
    """Install the locked packages, then the project, which needs nothing more."""
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check"]
    print(f"Installing {lock.relative_to(ROOT)} for Python {VERSION}", flush=True)
    subprocess.run([*pip, "install", *quiet, "--require-hashes", "-r", str(lock)], check=True)
    # Without isolation the build takes its backend from the lock instead of the newest there is.
    itself = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    subprocess.run([*pip, "install", *quiet, *itself], check=True)


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - this file is run by whatever Python was named
        sys.exit(f"Python 3.11 or newer is needed; this is {VERSION}.")
    folder, lock = Path(sys.argv[1]).absolute(), Path(sys.argv[2]).resolve()
    try:
        install(create(folder), lock)
    except subprocess.CalledProcessError as problem:
        # What went wrong is above: pip and venv say it themselves.
        sys.exit(
            f"{folder.name} was not set up: '{' '.join(problem.cmd[:4])} …' ended with {problem.returncode}."
        )


if __name__ == "__main__":
    main()
