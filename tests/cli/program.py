"""The command line as a person runs it: in a process of its own, on a machine of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from strongroom.cli.terminal.failures import BROKEN_PIPE, INTERRUPTED, TERMINATED, UNEXPECTED
from strongroom.errors import StrongroomError
from tests import warm
from tests.patience import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "secrets_cli.py"
REGIONS = ("frankfurt", "dublin", "toronto")
PASSPHRASE = "CANARY-PASSPHRASE six words nobody would guess"


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    def failed_with(self, kind: type[StrongroomError]) -> bool:
        """Tell whether it ended with the exit code of an error, and named this one."""
        return self.code == kind.exit_code and self.named == kind.__name__

    @property
    def named(self) -> str | None:
        """The error that stderr names."""
        found = re.search(r"^strongroom: (\w+)$", self.err, re.MULTILINE)
        return found[1] if found else None

    def check_contract(self, *, json: bool) -> None:
        """Hold what is promised of every command: its error is named on stderr, and in the document."""
        expected = self.code not in (0, UNEXPECTED, INTERRUPTED, BROKEN_PIPE, TERMINATED)
        assert (self.named is not None) == expected, self
        if json and self.out.startswith("{"):  # --help is no document
            error = self.document["error"]
            assert (error is None) == (self.code == 0), self
            assert error is None or error["exit_code"] == self.code, self
            assert not expected or error["code"] == self.named, self
            assert error is None or {"family", "message", "hint", "transient"} <= error.keys(), self


@dataclass
class Machine:
    """A directory to work in, a state directory, and an environment that holds nothing else."""

    home: Path
    env: dict[str, str] = field(default_factory=dict)
    done: tuple[Callable[[Machine], Any], ...] = ()

    def __post_init__(self) -> None:
        self.home.mkdir(exist_ok=True)
        kept = {
            name: os.environ[name]
            for name in ("PATH", "LANG", "TMPDIR", *warm.MOVED_CLOCK)
            if name in os.environ
        }
        self.env = kept | {"HOME": str(self.home), "STRONGROOM_STATE_DIR": str(self.state)} | self.env

    def clear(self) -> None:
        """Have nothing on it, as a new machine."""
        shutil.rmtree(self.home)
        self.home.mkdir()

    def began_long_ago(self) -> None:
        """Have a configuration of long ago, so that policies without a backup are overdue."""
        os.utime(self.path("strongroom.toml"), (0, 0))

    @property
    def state(self) -> Path:
        return self.home / "state"

    def path(self, name: str) -> Path:
        return self.home / name

    def run(self, *words: str | Path, stdin: str | bytes = b"", **env: str) -> Done:
        """Run one command line to its end."""
        content = stdin.encode() if isinstance(stdin, str) else stdin
        done = warm.run(
            command(*words)[1:], cwd=self.home, env=self.env | env, stdin=content, timeout=PATIENCE
        )
        ended = Done(code=done.returncode, out=done.stdout.decode(), err=done.stderr.decode())
        ended.check_contract(json="--json" in words)
        return ended

    def ok(self, *words: str | Path, stdin: str | bytes = b"", **env: str) -> Done:
        """Run one that must succeed."""
        done = self.run(*words, stdin=stdin, **env)
        assert done.code == 0, done
        return done

    def set(self, name: str, value: str, *words: str) -> None:
        self.ok("set", name, *words, stdin=value)

    def seal(self, name: str = "full.sr", *words: str | Path) -> Path:
        """Make a full backup, sealed for PASSPHRASE."""
        self.ok("backup", name, "--include-values", "--force", *words, STRONGROOM_PASSPHRASE=PASSPHRASE)
        return self.path(name)

    def staged(self) -> list[Path]:
        """Whatever lies on the stage, but what the next index of names is held against."""
        stage = self.state / "stage"
        found = [path for path in stage.rglob("*") if path.is_file() and path.name[0] != "."]
        return [path for path in found if path.relative_to(stage).parts[0] != "index"]


def command(name: str | Path = "", *words: str | Path) -> list[str]:
    """Return a command line under the procedures' own name; a command's name may be of several words."""
    return [sys.executable, str(SCRIPT), *str(name).split(), *map(str, words)]
