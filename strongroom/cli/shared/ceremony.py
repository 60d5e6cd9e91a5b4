"""A quorum's ceremony at one terminal: each share alone on the screen, once, and gone from it after."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.output import Output, in_line
from strongroom.errors import UsageError
from strongroom.keys.quorum.ceremony import Papers
from strongroom.keys.quorum.errors import CeremonyBroken, ShareMistyped
from strongroom.system import secrecy

_IN_ROW = 4
# The terminal's second screen: what is shown there is in no scrollback once it is left. The first
# one is cleared too where a terminal has no second.
_ENTER = "\x1b[?1049h\x1b[2J\x1b[3J\x1b[H"
_LEAVE = "\x1b[2J\x1b[3J\x1b[H\x1b[?1049l"
_CLEAR = "\x1b[2J\x1b[3J\x1b[H"


def require_terminal() -> None:
    """Refuse to begin where a share would land in a file or a log. Raises UsageError."""
    if not prompts.somebody_there():
        raise UsageError(
            "A ceremony needs a terminal, with the custodians before it.",
            hint="Shares are shown to people, and never written into a file or a pipe.",
        )


def hold(ceremony: Papers) -> None:
    """Give every custodian a turn.

    Raises:
        CeremonyBroken: somebody left before everybody had a turn. Nothing was written.
    """
    with _screen():
        while (name := ceremony.next) is not None:
            _turn(ceremony, in_line(name))


def _turn(ceremony: Papers, name: str) -> None:
    count = len(ceremony.custodians)
    _say(f"{_CLEAR}{name} to the screen, please, with pen and paper; everybody else looks away.\n")
    _enter(f"Press Enter, {name}, when nobody else and no camera sees the screen. ")
    words = ceremony.show()
    of = f"There are {count} shares in all." if count > 1 else "It is the only one."
    _say(f"{_CLEAR}The share of {name}: {len(words)} words, shown only now. {of}\n")
    _say("\n".join(_rows(words)))
    _say("\nWrite them on paper, with their numbers, and what they are a share of.")
    _say("No photograph, no file, no recording of this terminal.\n")
    _enter("Press Enter when they are written; they are not shown again. ")
    _read_back(ceremony, name)


def _read_back(ceremony: Papers, name: str) -> None:
    """Have the share typed from the paper until it is right."""
    _say(f"{_CLEAR}{name}, type the words from the paper, in order; then press Enter.\n")
    while True:
        try:
            ceremony.confirm(_line("> "))
        except ShareMistyped as error:
            _say(f"{_CLEAR}Not yet right: {error.message}.\nMend the paper if need be, and type all of it.\n")
            continue
        return


def _rows(words: list[str]) -> Iterator[str]:
    """Lay the words out, numbered, so that a slip can be named by its number."""
    for start in range(0, len(words), _IN_ROW):
        row = enumerate(words[start : start + _IN_ROW], start + 1)
        yield "  ".join(f"{number:>4}  {word:<10}" for number, word in row).rstrip()


@contextmanager
def _screen() -> Iterator[None]:
    """Be on the second screen, and leave it whatever happens: stopped or killed by a key, it would stay."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTSTP, signal.SIGQUIT)}
    _say(_ENTER, end="")
    try:
        yield
    finally:
        _say(_LEAVE, end="")
        for number, handler in before.items():
            signal.signal(number, handler)


def _enter(text: str) -> None:
    _line(f"\n{text}")


def _line(prompt: str) -> str:
    _say(prompt, end="")
    line = sys.stdin.readline()
    if not line:
        raise CeremonyBroken("the ceremony was left before every custodian had a share")
    return line


def _say(text: str, *, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)


def warn_of_swapping(output: Output) -> None:
    """Warn if the key and the shares, which are made next, could reach a disk by swapping."""
    if sys.platform == "linux" and not secrecy.may_lock() and _swaps():
        output.warn(
            "This machine may write memory to its swap space, and words of shares with it. For a ceremony, "
            "turn it off (swapoff -a), or hold it as root."
        )


def _swaps() -> bool:
    try:
        return bool(secrecy.swaps())
    except OSError:
        return True
