"""A quorum by command line: the ceremony on a real terminal, its shares tried, its custodians replaced."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.errors import UsageError
from strongroom.keys.quorum import record
from strongroom.keys.quorum.ceremony import open_together
from strongroom.keys.quorum.record import ShareForeign, SharesTooFew
from strongroom.system import process
from strongroom.system.errors import WouldOverwrite
from tests.cli.program import Done, Machine, command
from tests.keys.quorum.made import made
from tests.patience import PATIENCE

NAMES = ["Ada", "Björn", "Chi"]
CLEARED = "\x1b[2J"


class Table:
    """The people at the terminal: they press Enter, write down what they see, and read it back."""

    def __init__(self, *, slips: dict[str, int] | None = None, leaves: str | None = None) -> None:
        self.papers: dict[str, list[str]] = {}
        self.turns: list[str] = []
        self._slips = slips or {}
        self._leaves = leaves

    def answer(self, screen: str) -> bytes | None:
        """Return what is typed at this screen; ``None`` while there is nothing to answer."""
        if screen.endswith("camera sees the screen. "):
            self.turns.append(re.findall(r"\x1b\[H(\w+) to the screen", screen)[-1])
            return b"\x03" if self.turns[-1] == self._leaves else b"\n"
        if screen.endswith("shown again. "):
            self.papers[self.turns[-1]] = re.findall(r"\d+  ([a-z]+)", screen.rpartition(CLEARED)[2])
            return b"\n"
        if screen.endswith("> "):
            return " ".join(self._typed(self.turns[-1])).encode() + b"\n"
        return None

    def _typed(self, name: str) -> list[str]:
        words = list(self.papers[name])
        if self._slips.get(name):
            self._slips[name] -= 1
            words[4] = "zero" if words[4] != "zero" else "acid"
        return words


def at_table(machine: Machine, *words: str | Path, answer: Callable[[str], bytes | None]) -> tuple[int, str]:
    """Run a command on a terminal; answer whenever ``answer`` has something to say to the screen."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(*words),
        cwd=machine.home,
        env=machine.env | {"TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one thread
    )
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 4096):
            shown += block
            typed = answer(shown.decode(errors="replace"))
            if typed is not None:
                os.write(ours, typed)
                shown += b"\n"
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    return process.wait(timeout=PATIENCE), shown.decode(errors="replace")


def create(machine: Machine, table: Table, file: str = "board.quorum") -> tuple[int, str]:
    return create_by(machine, table.answer, file)


def create_by(
    machine: Machine, answer: Callable[[str], bytes | None], file: str = "board.quorum"
) -> tuple[int, str]:
    custodians = [word for name in NAMES for word in ("--custodian", name)]
    words = ("keys", "quorum", "create", file, *custodians, "--threshold", "2")
    return at_table(machine, *words, answer=answer)


def test_a_ceremony_makes_a_quorum_that_its_papers_open(machine: Machine) -> None:
    table = Table(slips={"Chi": 2})
    code, shown = create(machine, table)

    assert code == 0, shown
    assert table.turns == NAMES
    assert "Not yet right: word 5 is not what was shown." in shown
    quorum = record.load(machine.path("board.quorum"))
    assert (quorum.name, quorum.threshold) == ("board", 2)
    assert open_together(quorum, [" ".join(table.papers[name]) for name in ("Chi", "Ada")])
    assert "any 2 of 3 custodians of the quorum `board`: Ada, Björn, Chi" in shown
    assert 'kind = "quorum"' in shown


def test_every_share_is_gone_from_the_screen_before_anybody_else_comes_to_it(machine: Machine) -> None:
    table = Table()
    _, shown = create(machine, table)

    assert shown.count("\x1b[?1049h") == shown.count("\x1b[?1049l") == 1
    for name, paper in table.papers.items():
        # The first words are those of all shares of a quorum.
        row = "".join(rf"{number} +{paper[number - 1]} *" for number in range(9, 13))
        screens = [screen for screen in shown.split(CLEARED) if re.search(row, screen)]
        assert len(screens) == 1
        assert f"The share of {name}" in screens[0]
        assert "from the paper" not in screens[0]
    after = shown.rpartition("\x1b[?1049l")[2]
    # A word alone may be one of the ceremony's own sentences: "kind" is in the list of words.
    shares = [(at, word) for paper in table.papers.values() for at, word in enumerate(paper, 1)]
    assert not [word for at, word in shares if re.search(rf"\b{at} +{word}\b", after)]


def test_no_share_is_in_any_file(machine: Machine) -> None:
    table = Table()
    create(machine, table)
    pairs = [" ".join(paper[at : at + 2]).encode() for paper in table.papers.values() for at in range(32)]
    for path in (path for path in machine.home.rglob("*") if path.is_file()):
        data = path.read_bytes()
        assert not [pair for pair in pairs if pair in data], path


def test_a_ceremony_that_is_left_makes_no_quorum_and_clears_the_screen(machine: Machine) -> None:
    code, shown = create(machine, Table(leaves="Chi"))

    assert code != 0
    assert not machine.path("board.quorum").exists()
    assert shown.rpartition("\x1b[?1049l")[1]


def test_a_key_that_ends_or_stops_a_program_leaves_no_share_on_the_screen(machine: Machine) -> None:
    """Ctrl-\\ ends a program at once, with a core dump, and Ctrl-Z leaves it stopped: neither does here."""
    table = Table()

    def answer(screen: str) -> bytes | None:
        typed = table.answer(screen)
        return b"\x1c\x1a" + typed if typed and screen.endswith("shown again. ") else typed

    code, shown = create_by(machine, answer)

    assert code == 0, shown
    assert open_together(
        record.load(machine.path("board.quorum")), [" ".join(table.papers[n]) for n in NAMES[:2]]
    )


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.platform
def test_what_a_ceremony_holds_is_kept_out_of_core_dumps_and_swap(machine: Machine) -> None:
    def answer(screen: str) -> bytes | None:
        if not screen.endswith("camera sees the screen. "):
            return None
        seen.append(limits())
        return b"\x03"

    def limits() -> str:
        (pid,) = (path.name for path in Path("/proc").glob("[0-9]*") if _is_ceremony(path, machine))
        return "".join((Path("/proc") / pid / name).read_text() for name in ("limits", "status"))

    seen: list[str] = []
    create_by(machine, answer)

    assert re.search(r"Max core file size +0 +0 ", seen[0])
    if process.may_lock():  # others are told to turn swap off
        assert re.search(r"VmLck:\s+[1-9]", seen[0])


def _is_ceremony(path: Path, machine: Machine) -> bool:
    try:
        return (path / "cwd").readlink() == machine.home and b"quorum" in (path / "cmdline").read_bytes()
    except OSError:
        return False


def test_without_a_terminal_no_share_is_shown(machine: Machine) -> None:
    words = ["keys", "quorum", "create", "q", "--custodian", "Ada", "--custodian", "Chi", "--threshold", "2"]
    done = machine.run(*words)

    assert done.failed_with(UsageError)
    assert "needs a terminal" in done.err
    assert not machine.path("q").exists()


def test_an_existing_file_is_left_alone_before_anybody_has_a_share(machine: Machine) -> None:
    machine.path("board.quorum").write_text("something")
    table = Table()
    code, _ = create(machine, table)

    assert code == WouldOverwrite.exit_code
    assert not table.turns
    assert machine.path("board.quorum").read_text() == "something"


def test_a_folder_that_is_not_there_is_found_out_before_anybody_has_a_share(machine: Machine) -> None:
    table = Table()
    code, shown = create(machine, table, "nowhere/board.quorum")

    assert code == UsageError.exit_code
    assert "cannot be written" in " ".join(shown.split())
    assert not table.turns


@pytest.fixture
def papers(machine: Machine) -> dict[str, Path]:
    """A quorum `board.quorum`, and each custodian's share in a file."""
    table = Table()
    assert create(machine, table)[0] == 0
    made = {}
    for name, words in table.papers.items():
        made[name] = machine.path(f"share-{name}")
        made[name].write_text(" ".join(words))
        made[name].chmod(0o600)
    return made


def test_shares_are_tried_without_writing_anything(machine: Machine, papers: dict[str, Path]) -> None:
    before = sorted(machine.home.rglob("*"))
    done = machine.ok(
        "keys",
        "quorum",
        "combine",
        "board.quorum",
        "--share",
        papers["Ada"],
        "--share",
        papers["Chi"],
        "--json",
    )
    assert done.document["opened_by"] == ["Ada", "Chi"]
    assert sorted(machine.home.rglob("*")) == before


def test_typed_shares_are_not_shown_and_a_slip_costs_only_a_repetition(
    machine: Machine, papers: dict[str, Path]
) -> None:
    texts = [papers["Björn"].read_text(), "no share at all", papers["Ada"].read_text()]

    def answer(screen: str) -> bytes | None:
        return texts.pop(0).encode() + b"\n" if screen.endswith("more): ") and texts else None

    code, shown = at_table(machine, "keys", "quorum", "combine", "board.quorum", answer=answer)

    assert code == 0, shown
    assert "The shares of Björn, Ada open" in shown
    assert "is not a word that shares are made of" in shown
    assert papers["Ada"].read_text()[:40] not in shown


def test_a_share_that_the_file_does_not_know_loses_no_other_share(
    machine: Machine, papers: dict[str, Path]
) -> None:
    quorum = record.load(machine.path("board.quorum"))
    first, *others = quorum.custodians
    exchanged = replace(quorum, custodians=(replace(first, share="0" * 32), *others))
    machine.path("board.quorum").write_bytes(exchanged.encode())
    texts = [papers[name].read_text() for name in ("Chi", "Ada", "Björn")]

    def answer(screen: str) -> bytes | None:
        return texts.pop(0).encode() + b"\n" if screen.endswith("more): ") and texts else None

    code, shown = at_table(machine, "keys", "quorum", "combine", "board.quorum", answer=answer)

    assert code == 0, shown
    assert "the quorum's file does not know it" in " ".join(shown.split())


def test_a_custodian_is_replaced_by_a_new_quorum_that_names_the_old_one(
    machine: Machine, papers: dict[str, Path]
) -> None:
    table = Table()
    words = (
        "keys",
        "quorum",
        "create",
        "new.quorum",
        "--replaces",
        "board.quorum",
        "--without",
        "Chi",
        "--custodian",
        "Dana",
    )
    code, shown = at_table(machine, *words, answer=table.answer)

    assert code == 0, shown
    assert table.turns == ["Ada", "Björn", "Dana"]
    old = machine.ok("keys", "quorum", "show", "board.quorum", "--json").document
    new = machine.ok("keys", "quorum", "show", "new.quorum", "--json").document
    assert (new["replaces"], new["threshold"], new["name"]) == (old["id"], 2, "board")
    done = machine.run("keys", "quorum", "combine", "new.quorum", "--share", papers["Ada"])
    assert done.failed_with(ShareForeign)
    done = machine.run("keys", "quorum", "create", "x", "--replaces", "board.quorum", "--without", "Zoe")
    assert done.failed_with(UsageError)
    assert "has no share of this quorum" in done.err


def test_a_share_of_another_known_quorum_is_said_to_be_that(stocked: Machine) -> None:
    """Two of the board's and one of the other's were called two of three, as if one had stayed at home."""
    files = []
    config = ""
    for name, seed in (("board", bytes(range(32))), ("heirs", bytes(range(32, 64)))):
        quorum, papers = made(seed, name)
        stocked.path(f"{name}.quorum").write_bytes(quorum.encode())
        stocked.path(f"{name}.quorum").chmod(0o644)
        config += f'[keys.{name}]\nkind = "quorum"\nfile = "{name}.quorum"\n'
        for at, paper in enumerate(papers[:3]):
            files.append(stocked.path(f"{name}-{at}"))
            files[-1].write_text(paper)
            files[-1].chmod(0o600)
    stocked.path("strongroom.toml").write_text(config)
    stocked.ok("backup", "b.sr", "--include-values", "--force", "--recipient", "board")

    def opened(*which: int) -> Done:
        return stocked.run(
            "backups", "verify", "--opens", "b.sr", *(w for at in which for w in ("--share", files[at]))
        )

    wrong = opened(0, 1, 3)
    words = " ".join(wrong.err.split())
    assert wrong.failed_with(ShareForeign), wrong
    assert "2 of the 3 shares of the quorum `board` are there. " in words
    assert "1 belongs to the quorum `heirs`." in words
    assert opened(0, 1).failed_with(SharesTooFew)
    assert opened(0, 1, 2, 3).code == 0, "a share for another quorum does no harm"
