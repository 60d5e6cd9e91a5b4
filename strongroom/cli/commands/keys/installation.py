"""signers offline, spare and hand-over: where the installation key is kept, and which one certifies."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path

from strongroom.cli.commands.keys.signers import REPEAT_ESCROW, approve_signers, lack_of_spread
from strongroom.cli.shared.installation_key import given_key, key_of_files, key_of_words
from strongroom.cli.shared.installation_paper import keep, spare_lines
from strongroom.cli.shared.services import configured_targets, run_store
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.container.signing import Signer
from strongroom.errors import UsageError
from strongroom.keys import roles
from strongroom.operations.trust_lists.spread import learn_lists, spread
from strongroom.sheet import Lines, Sheet


def take_offline(arguments: Namespace, output: Output) -> Answer:
    folder = place.find().role_keys
    given = given_key(arguments, folder, output)
    key = roles.make_all(folder) if given is None else roles.installation_signer(folder, given)
    where = keep(key, arguments, output)
    removed = roles.remove_installation_key(folder)
    run_store().event("installation.offline", fingerprint=key.fingerprint)
    said = f"The private installation key is kept {where}, and was read back from there."
    gone = f"It is gone from {folder}." if removed else f"It was not in {folder}."
    asks = "What certifies a key asks for it: --installation-key FILE, or its words."
    return Answer(
        record={"installation": key.fingerprint, "kept": where, "removed": removed},
        sheet=Sheet(verdict=said, about=f"{gone} {asks}"),
    )


def make_spare(arguments: Namespace, output: Output) -> Answer:
    key = Signer.generate()
    where = keep(key, arguments, output)
    sheet = Sheet(parts=[Lines(list(spare_lines(key, where)))])
    return Answer(record={"spare": key.fingerprint, "kept": where}, sheet=sheet)


def hand_over(arguments: Namespace, output: Output) -> Answer:
    folder = place.find().role_keys
    approve_signers("hand-over", [], "have another installation key certify")
    targets = configured_targets()
    learn_lists(folder, targets)
    successor = _successor(arguments, folder, output)
    old = roles.installation_fingerprint(folder)
    prompts.confirm(
        f"{successor.fingerprint} certifies this installation's keys from now on", force=arguments.force
    )
    certifier = given_key(arguments, folder, output)
    number = roles.hand_over(folder, successor, installation_key=certifier, now=datetime.now(UTC))
    _settle_key(folder, successor, offline=bool(arguments.successor or arguments.successor_share))
    missed = spread(targets, roles.known_lists(folder)[1])
    run_store().event("installation.handed_over", before=old, now=successor.fingerprint, list=number)
    there = [name for name in targets if name not in missed]
    lines = [
        f"Before: {old}. That line stays good: trust list {number} leads on from it.",
        f"The list is on {', '.join(there) or 'no target: none is configured here'}.",
        *(f"  not yet on {name}: {why}" for name, why in missed.items()),
        f"Copy {folder / roles.TRUSTED} to every other host.",
        REPEAT_ESCROW,
    ]
    return Answer(
        record={"installation": successor.fingerprint, "before": old, "list": number, "missed": missed},
        sheet=Sheet(verdict=f"Installation: {successor.fingerprint}", parts=[Lines(lines)]),
        error=lack_of_spread(number, missed),
    )


def _successor(arguments: Namespace, folder: Path, output: Output) -> Signer:
    """Return the key that follows: one that was given, or a new one that lies here until it is taken off."""
    if arguments.successor_share:
        return key_of_files(arguments.successor_share)
    if arguments.successor is not None:
        return roles.read_installation_key(arguments.successor)
    if arguments.spare:
        found = key_of_words("The words of the spare key, or its first share", output)
        if found is None:
            raise UsageError("No spare key was given.", hint="Without --spare a new key is made.")
        return found
    path = folder / NEXT
    if not path.exists():
        roles.write_installation_key(path, Signer.generate())
    return roles.read_installation_key(path)


NEXT = "installation.next.key"


def _settle_key(folder: Path, successor: Signer, *, offline: bool) -> None:
    """Leave the present private key beside the role keys, or none: the one before certifies nothing more."""
    path = folder / NEXT
    if path.exists() and not offline and roles.read_installation_key(path).public == successor.public:
        path.replace(folder / roles.INSTALLATION)
        return
    if not _is(folder / roles.INSTALLATION, successor):
        roles.remove_installation_key(folder)


def _is(path: Path, key: Signer) -> bool:
    return path.exists() and roles.read_installation_key(path).public == key.public
