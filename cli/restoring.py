"""restore and restore-secret: from a file or a target into the local store, or another source.

Needs no configuration and no broker, so that it works on the day when nothing else does.
"""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from secrets import token_hex
from shlex import quote

from cli import accessed, estimate, identities, place, prompts, sources
from cli import origin as origins
from cli.command import Command
from cli.origin import Origin
from cli.output import Output, in_line, plural, verb
from cli.place import Place
from cli.progress import counting
from cli.stopping import leaving
from strongroom.errors import (
    NothingSelected,
    UsageError,
    VerificationFailed,
    WouldOverwrite,
)
from strongroom.evidence import accesses
from strongroom.model import Selection
from strongroom.operations.restore import Choose, Restored, Undo, plan_restore, restore
from strongroom.sources import Destination


def _to_argument(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--to",
        metavar="SOURCE",
        default=sources.LOCAL,
        help="where to restore into: 'local' (the default), or the name of a configured source",
    )


def _arguments(parser: ArgumentParser) -> None:
    origins.add_arguments(parser)
    sources.add_selection_arguments(parser)
    parser.add_argument("--full-restore", action="store_true", help="restore everything")
    _to_argument(parser)
    parser.add_argument(
        "--overwrite-existing", action="store_true", help="also replace what differs (a way back is kept)"
    )
    parser.add_argument(
        "--verify-after-restore", action="store_true", help="at the end, compare all of it once more"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    parser.add_argument(
        "--force",
        action="store_true",
        help="do not ask before writing into another source than the local store",
    )


def _one_arguments(parser: ArgumentParser) -> None:
    origins.add_arguments(parser)
    _to_argument(parser)
    parser.add_argument("--secret-name", metavar="NAME", required=True, help="the secret to restore")
    parser.add_argument(
        "--confirm-overwrite", action="store_true", help="replace it if it is there and differs"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")


def _restore(arguments: Namespace, output: Output) -> None:
    selection = sources.selection_of(arguments.filter_tag, arguments.include, arguments.exclude)
    _check_what(arguments, selection)
    here = place.find()
    if arguments.to != sources.LOCAL and not arguments.dry_run:
        prompts.confirm(f"Secrets will be written into '{arguments.to}'", force=arguments.force)
    with origins.chosen_from(arguments, output, here) as origin:
        job = _Job(arguments, output, here, origin, overwrite=arguments.overwrite_existing)
        done = job.do(lambda: origin.select(selection))
        if not sum((done.created, done.changed, done.unchanged, done.left)):
            raise NothingSelected(
                "The filter matches no secret of the backup; nothing was restored.", hint=_FILTER
            )
        verified = job.verify(lambda: origin.select(selection)) if arguments.verify_after_restore else None
    _answer(output, origin, done, job, verified=verified)


def _restore_one(arguments: Namespace, output: Output) -> None:
    here = place.find()
    with origins.chosen_from(arguments, output, here) as origin:
        job = _Job(arguments, output, here, origin, overwrite=arguments.confirm_overwrite)
        secret = origin.find(arguments.secret_name)
        if (
            not arguments.confirm_overwrite
            and plan_restore(lambda: [secret], job.destination, overwrite=False).left
        ):
            raise WouldOverwrite(
                f"'{arguments.to}' has another value or other metadata for '{secret.name}'.",
                hint="Nothing was changed. With --confirm-overwrite it is replaced, and kept as a version.",
            )
        done = job.do(lambda: [secret])
    _answer(output, origin, done, job, verified=None)


def _check_what(arguments: Namespace, selection: Selection) -> None:
    filtered = selection != Selection()
    if arguments.full_restore and filtered:
        raise UsageError("--full-restore and a filter contradict each other.", hint="Give one of the two.")
    if not arguments.full_restore and not filtered:
        raise UsageError(
            "What is to be restored?",
            hint="Everything: --full-restore. A part: --filter-tag, --include, --exclude.",
        )


class _Job:
    """One restore into the local store, or wherever a person said."""

    def __init__(
        self, arguments: Namespace, output: Output, here: Place, origin: Origin, *, overwrite: bool
    ) -> None:
        self.to = arguments.to
        self._arguments = arguments
        self.destination: Destination = sources.destination_of(arguments.to, here)
        self.dry = arguments.dry_run
        self._whole = getattr(arguments, "full_restore", False)
        self._output = output
        self._here = here
        self._origin = origin
        self._overwrite = overwrite
        self._undo: Undo | None = None
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self.undo_folder = here.state_dir / "undo" / f"{stamp}-{token_hex(4)}"

    def do(self, secrets: Choose) -> Restored:
        """Restore, or say what that would do."""
        if self.dry:
            return plan_restore(secrets, self.destination, overwrite=self._overwrite)
        if self._whole:
            self._warn(self._origin.total, self._origin.versions)
        with leaving(_LEFT), counting(self._output, "restoring", self._origin.total) as advance:
            return restore(
                secrets, self.destination, overwrite=self._overwrite, undo=self._keep, progress=advance
            )

    def least(self, done: Restored) -> float | None:
        """Return how long it takes at the least to write so much there."""
        written = done.created + done.changed
        return estimate.least_seconds(self.destination, secrets=written, versions=done.versions)

    def _warn(self, secrets: int, versions: int) -> None:
        """Say beforehand how long everything may take: who sees nothing move ends it half-way."""
        seconds = estimate.least_seconds(self.destination, secrets=secrets, versions=versions)
        if seconds is not None and seconds >= WORTH_SAYING:
            said = estimate.sentence(self.to, seconds, secrets=secrets, versions=versions)
            self._output.note(f"{said}. What is there already takes less.")

    def verify(self, secrets: Choose) -> int:
        """Compare everything with the backup once more; return how many are the same."""
        seen = plan_restore(secrets, self.destination, overwrite=False)
        if seen.created or (seen.left and self._overwrite):
            wrong = seen.created + seen.left
            differ = f"{plural(wrong, 'secret')} in '{self.to}' {verb(wrong, 'differ')}"
            raise VerificationFailed(f"{differ} from the backup.")
        return seen.unchanged

    def put_on_record(self, done: Restored) -> None:
        """Note what was brought back, and into what."""
        accessed.noted(
            accesses.RESTORED,
            self._arguments,
            self._output,
            self._here,
            backup=in_line(self._origin.name),
            to=self.to,
            created=done.created,
            changed=done.changed,
        )

    def way_back(self) -> Iterator[str]:
        """Yield the commands that bring back what was overwritten: one a file that keeps it."""
        options = " ".join(["--full-restore --overwrite-existing", *self._given()])
        for file in sorted(self.undo_folder.glob("*.strongroom")):
            yield f"strongroom restore --backup-file {quote(str(file))} {options}"

    def _given(self) -> Iterator[str]:
        """Yield the typed options for what opens and for where to: the way back needs them too."""
        given = self._arguments
        for option in ("identity", "quorum", "share"):
            yield from (f"--{option} {quote(str(path.absolute()))}" for path in getattr(given, option))
        if given.passphrase_file is not None:
            yield f"--passphrase-file {quote(str(given.passphrase_file.absolute()))}"
        if self.to != sources.LOCAL:
            yield f"--to {quote(self.to)}"

    def _keep(self, names: Sequence[str]) -> None:
        """Seal what is about to be overwritten; the first time, find out for whom and as whom."""
        if self._undo is None:
            from strongroom.keys.roles import load_or_create_role  # noqa: PLC0415 - only an overwrite signs
            from strongroom.operations.undo import undo_into  # noqa: PLC0415

            signer = load_or_create_role(self._here.role_keys, "recover")
            openers = identities.at_hand(self._origin.openers)
            self._undo = undo_into(
                self.undo_folder, self.destination, openers, signer, manifest=self._origin.manifest
            )
        self._undo(names)


def _answer(output: Output, origin: Origin, done: Restored, job: _Job, *, verified: int | None) -> None:
    if not job.dry:
        job.put_on_record(done)
    undo = str(job.undo_folder) if done.changed and not job.dry else None
    back = list(job.way_back()) if undo else []
    document = {
        "from": origin.name,
        "dry_run": job.dry,
        "created": done.created,
        "changed": done.changed,
        "unchanged": done.unchanged,
        "left": done.left,
        "compared": done.compared,
        "verified": verified,
        "undo": undo,
        "undo_by": back,
        "to": job.to,
        "least_seconds": job.least(done),
        "losses": list(job.destination.losses()),
    }
    output.answer(document, _lines(origin, done, job, verified, back))


def _lines(
    origin: Origin, done: Restored, job: _Job, verified: int | None, back: Sequence[str]
) -> Iterator[str]:
    would = "would be " if job.dry else ""
    yield f"{'Nothing was written. ' if job.dry else ''}From {origin.name} into {_words(job.to)}:"
    for number, words in (
        (done.created, f"{would}created"),
        (done.changed, f"{would}changed"),
        (done.unchanged, "already as in the backup"),
        (done.left, "differ and are left as they are (--overwrite-existing would replace them)"),
    ):
        if number:
            yield f"  {plural(number, 'secret')} {words}"
    if done.compared:
        yield f"  {plural(done.compared, 'secret')} read back and compared with the backup"
    if verified is not None:
        yield f"  {plural(verified, 'secret')} compared once more at the end: all equal"
    if job.dry and (seconds := job.least(done)) is not None:
        written = done.created + done.changed
        yield f"  {estimate.sentence(job.to, seconds, secrets=written, versions=done.versions)}"
    for loss in job.destination.losses():
        yield f"  not as it was: {loss}"
    if back:
        yield f"  what was there before is sealed in {job.undo_folder}, for whoever opens this backup"
        yield "  This brings it back:"
        yield from (f"    {command}" for command in back)


def _words(name: str) -> str:
    return "the local store" if name == sources.LOCAL else f"'{name}'"


WORTH_SAYING = 10.0
"""Seconds: below, nobody wonders."""

_LEFT = (
    "what was restored by then stays. Repeat it with '--overwrite-existing' ('--confirm-overwrite' for one "
    "secret): it goes on where it stopped."
)
_FILTER = "Check the filter: 'strongroom get NAME --backup-file FILE' shows a secret's tags."

COMMANDS = {
    "restore": Command(
        _arguments,
        _restore,
        "Only a backup of a trusted signer is restored: this installation's own, one under trust.signers\n"
        "in the configuration, or --signer. Every secret is read back and compared; what is overwritten\n"
        "is kept.",
    ),
    "restore-secret": Command(_one_arguments, _restore_one),
}
