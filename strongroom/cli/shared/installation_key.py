"""The installation's private key and the roles' keys: read, and put into a file, onto paper or among
custodians."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from strongroom.cli.errors import KeyNotOnPaper
from strongroom.cli.shared.options import InstallationKeyOptions, PaperOptions
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.output import Output, in_line
from strongroom.container.signing import Signer
from strongroom.errors import UsageError
from strongroom.keys import roles
from strongroom.keys.quorum.ceremony import Papers
from strongroom.keys.quorum.record import (
    CeremonyBroken,
    QuorumShare,
    ShareMistyped,
    SharesTooFew,
    combine,
    parse,
    split,
)
from strongroom.keys.rolelist import RoleKey, read
from strongroom.keys.roles import Certifier
from strongroom.system import process
from strongroom.system.files import read_private

# -- The installation's private key: beside the role keys, in a file, or as words on paper ------


def given_key(given: InstallationKeyOptions, folder: Path, output: Output) -> Certifier:
    """Return the installation key as the command line gives it; a person is asked for its words if it is
    nowhere else. ``None``: it lies beside the role keys, or nobody has it here."""
    if given.installation_share:
        return key_of_files(given.installation_share)
    if given.installation_key is not None or roles.can_certify(folder):
        return given.installation_key
    if not prompts.somebody_there() or not roles.installation_fingerprint(folder):
        return None
    return key_of_words(f"The installation key is not here. {_WORDS}", output)


_WORDS = "Its words, or the first share (Enter: without)"


def key_of_files(paths: Sequence[Path]) -> Signer:
    """Return the key whose shares lie in files."""
    return _joined([parse(read_private(path)) for path in paths])


def key_of_words(question: str, output: Output) -> Signer | None:
    """Ask for the words of a key, share after share; ``None`` if the first answer is empty."""
    shares: list[QuorumShare] = []
    while not shares or len(shares) < shares[0].threshold:
        more = f"Another share ({shares[0].threshold - len(shares)} more)" if shares else question
        text = prompts.hidden(f"{more}: ")
        if not text.strip() and not shares:
            return None
        try:
            share = parse(text)
        except ShareMistyped as error:
            output.warn(f"{error.message}. Type all of it again.")
            continue
        if share.index in [quorum_share.index for quorum_share in shares]:
            output.warn("That share was given before.")
            continue
        shares.append(share)
    return _joined(shares)


def _joined(shares: Sequence[QuorumShare]) -> Signer:
    """Put shares together. One more than needed must not stand in the way."""
    distinct = list({share.index: share for share in shares}.values())
    if not distinct:
        raise UsageError("No share was given.")
    needed = distinct[0].threshold
    if len(distinct) < needed:
        raise SharesTooFew(f"{len(distinct)} of the {needed} shares that are needed are there")
    return Signer.from_private(combine(distinct[:needed]))


# -- A quorum's ceremony at one terminal: each share alone on the screen, once, and gone from it after


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
    if sys.platform == "linux" and not process.may_lock() and _swaps():
        output.warn(
            "This machine may write memory to its swap space, and words of shares with it. For a ceremony, "
            "turn it off (swapoff -a), or hold it as root."
        )


def _swaps() -> bool:
    try:
        return bool(process.swaps())
    except OSError:
        return True


# -- A private installation key goes into a file or onto paper, and is read back before it is gone ---


PAPER = "the custodian of the installation key"
_NEEDS = "Give --to FILE, on a medium for a safe. On a terminal the key is shown as words for paper."


def keep(key: Signer, given: PaperOptions, output: Output) -> str:
    """Put a private installation key into a file, or onto paper, and read it back; return where it is.

    Raises:
        UsageError: there is no terminal to show words on, and no file was named.
        KeyNotOnPaper: somebody left, or what was typed back is not the key.
    """
    if given.to is not None:
        roles.write_installation_key(given.to, key)
        return f"in {given.to}"
    if not prompts.somebody_there():
        raise UsageError("There is no terminal to show the installation key on.", hint=_NEEDS)
    custodians = given.custodian or (PAPER,)
    threshold = given.threshold or len(custodians)
    _on_paper(key, custodians, threshold, output)
    if len(custodians) == 1:
        return "on paper"
    return f"on {len(custodians)} papers, any {threshold} of which are enough"


def _on_paper(key: Signer, custodians: Sequence[str], threshold: int, output: Output) -> None:
    if not 1 <= threshold <= len(custodians) <= 16 or (threshold == 1 and len(custodians) > 1):
        raise UsageError("A threshold is from 2 to the number of custodians, of whom there are at most 16.")
    warn_of_swapping(output)
    shares = split(key.private_bytes(), threshold=threshold, count=len(custodians))
    papers = Papers(custodians, shares)
    try:
        hold(papers)
    except CeremonyBroken as error:
        raise KeyNotOnPaper(error.message) from None
    except KeyboardInterrupt:
        output.warn(KeyNotOnPaper.default_hint)
        raise
    typed = [parse(text) for text in papers.typed()]
    for first in range(len(typed)):
        some = [typed[(first + n) % len(typed)] for n in range(threshold)]
        if Signer.from_private(combine(some)).public != key.public:
            raise KeyNotOnPaper("The words that were typed do not give the installation key.")


def spare_lines(key: Signer, where: str) -> Iterator[str]:
    """Say what a spare is good for."""
    yield f"A spare installation key is kept {where}, and nowhere else: {key.fingerprint}"
    yield "It signs nothing yet. Have everybody pin both lines, under [trust] in every strongroom.toml:"
    yield f'  signers = ["{key.fingerprint}"]'
    yield (
        "If the installation key is lost or leaks, 'strongroom keys signers hand-over' goes on with the "
        "spare."
    )


# -- The keys that sign for each role on this host, and the installation's fingerprint that certifies them


_YEAR = timedelta(days=365)


class RoleKeyStatus(NamedTuple):
    """A role's key, and how it stands."""

    role: str
    key: RoleKey
    state: str
    old: bool


def list_role_keys(now: datetime) -> list[RoleKeyStatus]:
    """Return every version of every role's key that this host knows."""
    listed = read(place.find().role_keys)
    return [
        RoleKeyStatus(role, key, _state(key), _old(key, now))
        for role, keys in sorted(listed.roles.items())
        for key in keys
    ]


def _state(key: RoleKey) -> str:
    if key.distrusted:
        return f"distrusted since {key.distrusted}: {key.reason}"
    where = f" on {key.host}" if key.host else ""
    if key.removed:
        return f"removed with host {key.host}, counts for what was made until {key.until}"
    if key.announced:
        return f"announced{where}, does not sign yet"
    return f"retired, counts for what was made until {key.until}" if key.until else f"signs{where}"


def _old(key: RoleKey, now: datetime) -> bool:
    return key.signs and bool(key.since) and now - datetime.fromisoformat(key.since) > _YEAR


def installation_fingerprints(keys: Iterable[RoleKeyStatus]) -> list[str]:
    """Return what a recovery elsewhere has to pin: this installation's fingerprint, once it has one, and
    after it those of installation keys that were handed over."""
    now_first = sorted(keys, key=lambda role_key: not role_key.key.signs)
    return list(dict.fromkeys(role_key.key.certificate.fingerprint for role_key in now_first))
