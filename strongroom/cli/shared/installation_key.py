"""The installation's private key: beside the role keys, in a file, or as words on paper."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.output import Output
from strongroom.container.signing import Signer
from strongroom.errors import UsageError
from strongroom.keys import roles
from strongroom.keys.quorum.errors import ShareMistyped, SharesTooFew
from strongroom.keys.quorum.shares import QuorumShare, combine, parse
from strongroom.keys.roles import Certifier
from strongroom.system.private_file import read_private


def given_key(arguments: Namespace, folder: Path, output: Output) -> Certifier:
    """Return the installation key as the command line gives it; a person is asked for its words if it is
    nowhere else. ``None``: it lies beside the role keys, or nobody has it here."""
    if arguments.installation_share:
        return key_of_files(arguments.installation_share)
    if arguments.installation_key is not None or roles.can_certify(folder):
        return Path(arguments.installation_key) if arguments.installation_key else None
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
