"""A private installation key goes into a file or onto paper, and is read back before it is gone."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

from strongroom.cli.errors import KeyNotOnPaper
from strongroom.cli.shared import ceremony
from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.output import Output
from strongroom.container.signing import Signer
from strongroom.errors import UsageError
from strongroom.keys import roles
from strongroom.keys.quorum.ceremony import Papers
from strongroom.keys.quorum.errors import CeremonyBroken
from strongroom.keys.quorum.shares import combine, parse, split

PAPER = "the custodian of the installation key"
_NEEDS = "Give --to FILE, on a medium for a safe. On a terminal the key is shown as words for paper."


def paper(file: Path | None) -> Namespace:
    """Return the options of one paper, or of a file."""
    return Namespace(to=file, custodian=[], threshold=None)


def keep(key: Signer, arguments: Namespace, output: Output) -> str:
    """Put a private installation key into a file, or onto paper, and read it back; return where it is.

    Raises:
        UsageError: there is no terminal to show words on, and no file was named.
        KeyNotOnPaper: somebody left, or what was typed back is not the key.
    """
    if arguments.to is not None:
        roles.write_installation_key(arguments.to, key)
        return f"in {arguments.to}"
    if not prompts.somebody_there():
        raise UsageError("There is no terminal to show the installation key on.", hint=_NEEDS)
    custodians = arguments.custodian or [PAPER]
    threshold = arguments.threshold or len(custodians)
    _on_paper(key, custodians, threshold, output)
    if len(custodians) == 1:
        return "on paper"
    return f"on {len(custodians)} papers, any {threshold} of which are enough"


def _on_paper(key: Signer, custodians: Sequence[str], threshold: int, output: Output) -> None:
    if not 1 <= threshold <= len(custodians) <= 16 or (threshold == 1 and len(custodians) > 1):
        raise UsageError("A threshold is from 2 to the number of custodians, of whom there are at most 16.")
    ceremony.warn_of_swapping(output)
    shares = split(key.private_bytes(), threshold=threshold, count=len(custodians))
    papers = Papers(custodians, shares)
    try:
        ceremony.hold(papers)
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
