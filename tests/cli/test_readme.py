"""The README's first screen is run as it stands: an example that fails is a bug."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def example() -> str:
    """Return the README's first shell example, without the command that keeps running."""
    found = re.search(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found is not None
    lines = [line for line in found[1].splitlines() if not line.startswith("strongroom up")]
    return "\n".join(lines)


def test_the_readmes_example_runs_as_written(tmp_path: Path) -> None:
    program = f'strongroom() {{ "{sys.executable}" "{ROOT / "scripts" / "secrets_cli.py"}" "$@"; }}'
    script = f"set -eu\n{program}\n{example()}\nstrongroom get PAYMENTS_API_KEY --show-value\n"
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "TOKEN": "CANARY-README",
        "STRONGROOM_STATE_DIR": str(tmp_path / "state"),
    }
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("CANARY-README")
    assert (tmp_path / "weekly.strongroom").stat().st_mode & 0o777 == 0o600
