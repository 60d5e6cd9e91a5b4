"""Files of what is typed and what came of it: read, played and written."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from strongroom.cli.main import main as command_line
from tests.golden import clock
from tests.golden.names import Names

FOLDER: Final = Path(__file__).parent
MONDAY: Final = 1_772_442_000.5
"""2026-03-02, 09:00 UTC: when houses are furnished. Scripts are played three hours later."""
LATER, BETWEEN, LONGEST = 3 * 3600.0, 60.0, 100
WIDE, MANY = 110, 4
COMMAND: Final = re.compile(
    r"(?:(?P<stdin>printf .*) \| )?strongroom(?: (?P<words>.*?))??(?: \| head -n (?P<lines>\d+))?"
)
WITHOUT_JSON: Final = re.compile(r"--help|--json")


class Answer(NamedTuple):
    """What a process printed, and how it ended."""

    out: str
    err: str
    code: int


@dataclass
class House:
    """A home to work in, whose path is as long wherever it is, and what has been typed there."""

    home: Path
    names: Names
    moment: float = MONDAY

    def type(self, typed: str) -> Iterator[str]:
        """Type one line; yield what is printed. An answer is also asked for as JSON, of the same state."""
        self.moment += BETWEEN
        yield f"$ {typed}"
        command = COMMAND.fullmatch(typed)
        if not command:
            yield from self._printed(self._shell(typed))
            return
        stdin = self._shell(command["stdin"]).out if command["stdin"] else ""
        words, saved = command["words"] or "", Path(f"{self.home}~")
        shutil.copytree(self.home, saved, symlinks=True)
        answer = self._run(words, stdin)
        told = [*self._printed(answer)]
        yield from told[: int(command["lines"] or len(told))]
        if (answer.out or not answer.code) and not command["lines"] and not WITHOUT_JSON.search(words):
            after = self.home.rename(f"{self.home}^")
            saved.rename(self.home)
            answer = self._run(f"{words} --json", stdin)
            yield "--json"
            document = self._printed(answer._replace(out=_pretty(answer.out)))
            yield from (line for line in document if not line.startswith(("!", "=")) or line not in told)
            saved = self.home.rename(saved)
            after.rename(self.home)
        shutil.rmtree(saved)

    def _printed(self, answer: Answer) -> Iterator[str]:
        for prefix, text in (("  ", answer.out), ("! ", answer.err)):
            for line in self.names.named(text).splitlines():
                yield f"{prefix}{line}".rstrip()
        if answer.code:
            yield f"= {answer.code}"

    def _shell(self, line: str) -> Answer:
        done = subprocess.run(
            ["sh", "-c", self.names.real(line)],
            cwd=self.home,
            env=_environment(self.home),
            capture_output=True,
            text=True,
            check=False,
        )
        return Answer(done.stdout, done.stderr, done.returncode)

    def _run(self, words: str, stdin: str) -> Answer:
        """Run a command in a process that is forked from this one."""
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            given.write(stdin.encode())
            given.seek(0)
            if not (pid := os.fork()):
                self._be(shlex.split(self.names.real(words)), [given.fileno(), out.fileno(), err.fileno()])
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            for file in (out, err):
                file.seek(0)
            return Answer(out.read().decode(), err.read().decode(), code)

    def _be(self, words: list[str], streams: list[int]) -> None:
        signal.alarm(LONGEST)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.chdir(self.home)
        os.environ.clear()
        os.environ.update(_environment(self.home))
        clock.put_to(self.moment)
        sys.argv = ["strongroom", *words]
        code = 70
        try:
            code = command_line(words)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _environment(home: Path) -> Mapping[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    return kept | {
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "SUDO_USER": "operator",
        "STRONGROOM_STATE_DIR": str(home / "state"),
    }


def _pretty(document: str) -> str:
    try:
        return "\n".join(_lines(json.loads(document), "", ""))
    except ValueError:
        return document


def _lines(value: Any, before: str, after: str) -> Iterator[str]:
    """Write a document over as few lines as is readable: what is short stands on one, and many show three."""
    if isinstance(value, list) and len(value) > MANY and isinstance(value[0], dict):
        value = [*value[: MANY - 1], f"... {len(value) - MANY + 1} more"]
    if isinstance(value, str) and value.count("\n") > MANY:
        value = f"... {value.count(chr(10))} lines, as they are printed"
    if isinstance(value, dict) and {"code", "exit_code", "transient"} <= value.keys():
        value = {"code": value["code"], "exit_code": value["exit_code"], "...": "as it is told"}
    short = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or len(short) + len(before) <= WIDE:
        yield f"{before}{short}{after}"
        return
    keys = [f"{json.dumps(key)}: " for key in value] if isinstance(value, dict) else [""] * len(value)
    inner = list(value.values()) if isinstance(value, dict) else value
    indented = " " * (len(before) - len(before.lstrip()) + 1)
    yield before + ("{" if isinstance(value, dict) else "[")
    for number, (key, item) in enumerate(zip(keys, inner, strict=True), 1):
        yield from _lines(item, f"{indented}{key}", "," if number < len(keys) else "")
    yield f"{indented[1:]}{'}' if isinstance(value, dict) else ']'}{after}"


class Houses:
    """Gives each script a house as another script left it: ``House: empty`` has nothing in it."""

    def __init__(self) -> None:
        self._home = _short_path()
        self._kept: dict[str, tuple[Path, Names]] = {}

    def play(self, name: str) -> str:
        """Type all that a script has, and return it with what came of it."""
        lines: list[str] = []
        house = House(self._home, Names(str(self._home)))
        for line in (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines():
            if line.startswith("House: "):
                house = self._enter(line.removeprefix("House: "))
            if line.startswith("$ "):
                lines += ["", *house.type(line.removeprefix("$ "))]
            elif line.startswith(("# ", "House: ")):
                lines += ["", line] if lines and not lines[-1].startswith("# ") else [line]
        self._kept[name] = self._keep(name), house.names
        return "\n".join([*lines, ""])

    def _enter(self, name: str) -> House:
        shutil.rmtree(self._home, ignore_errors=True)
        if name == "empty":
            self._home.mkdir()
            return House(self._home, Names(str(self._home)))
        if name not in self._kept:
            self.play(name)
        kept, names = self._kept[name]
        shutil.rmtree(self._home, ignore_errors=True)
        shutil.copytree(kept, self._home, symlinks=True)
        return House(self._home, names.copied(), MONDAY + LATER)

    def _keep(self, name: str) -> Path:
        kept = Path(f"{self._home}.{name}")
        shutil.rmtree(kept, ignore_errors=True)
        self._home.rename(kept)
        return kept

    def close(self) -> None:
        """Leave nothing behind."""
        for folder in self._home.parent.glob(f"{self._home.name}*"):
            shutil.rmtree(folder)


def _short_path() -> Path:
    """Return a path that nobody else has, of one length everywhere, in memory if that can be."""
    memory = Path("/dev/shm")
    drawn = os.urandom(4).hex()
    return memory / f"sr-{drawn}" if os.access(memory, os.W_OK) else Path("/tmp") / f"strong-{drawn}"


def scripts() -> list[str]:
    """Return the name of each."""
    return sorted(file.stem for file in FOLDER.glob("*.txt") if file.stem != "lists")
