"""restore --to-file: what was chosen of a backup, sealed anew into a file, for somebody or for elsewhere.

It is restored into a scratch store first, sealed as the local store is, and that is backed up: so no
plaintext lies on the disk, memory is bounded, and the file is a backup as any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from strongroom.cli.commands.restore.arguments import Restore
from strongroom.cli.commands.restore.attended_restore import RestoreRequest, open_source
from strongroom.cli.shared import access_log, recipients
from strongroom.cli.shared.restore_source import RestoreSource
from strongroom.cli.shared.runs import seal_file
from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.output import Output, in_line
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.cli.terminal.screen import counting
from strongroom.errors import UsageError
from strongroom.keys import Recipient
from strongroom.model import ApprovalAction
from strongroom.operations.evidence import access_log as evidence_access_log
from strongroom.operations.restore.plan import IN_PLACE, manifest_digest
from strongroom.operations.restore.restore import restore
from strongroom.operations.restore.scratch import FOLDER, scratch
from strongroom.sources.local import LocalStore
from strongroom.system.files import refuse_existing


def _sealed_for(
    given: Restore, file: Path, output: Output, installation: InstallationPlace
) -> list[Recipient]:
    """Return whom the file is for; refuse what cannot be, before a backup is opened."""
    if not given.into.recipient:
        raise UsageError(
            "Who shall be able to open the file?",
            hint="Give --recipient: a configured key, a public key or a key file. Repeat it for several.",
        )
    refuse_existing(file, replace=given.force)
    sealed_for = [recipients.recipient_of(word, output, installation) for word in given.into.recipient]
    readers = ", ".join(recipient.describe() for recipient in sealed_for)
    said = f"This puts every value that is chosen, sealed to {readers}, into {file}"
    prompts.confirm(said, force=given.force)
    return sealed_for


def _require_approved(
    origin: RestoreSource,
    request: RestoreRequest,
    file: Path,
    sealed_for: Sequence[Recipient],
    installation: InstallationPlace,
) -> None:
    """Ask for approvals where the configuration wants them, of what leaves this backup for these keys."""
    manifest = origin.manifest
    relocated = "" if request.relocation == IN_PLACE else ", under other names"
    access_log.require_approved(
        installation,
        ApprovalAction.EXPORT,
        {
            "file": str(file),
            "for": sorted(each.fingerprint for each in sealed_for),
            "selection": request.selection,
            "relocation": request.relocation,
            "from": manifest_digest(manifest) if manifest is not None else origin.name,
        },
        lines=(
            f"{access_log.how_much(request.selection)} of {origin.name}{relocated}, into {file}",
            *(f"for {each.describe()}" for each in sealed_for),
        ),
    )


def seal_chosen(
    given: Restore, output: Output, installation: InstallationPlace, request: RestoreRequest
) -> None:
    """Write the file, and say what it holds.

    Raises:
        UsageError: nobody could open it.
        WouldOverwrite: the file exists.
        ConfirmationRequired: nobody said yes.
    """
    file = given.into.to_file
    assert file is not None
    sealed_for = _sealed_for(given, file, output, installation)
    with (
        open_source(given, output, installation) as origin,
        scratch(installation.state_dir / FOLDER) as folder,
    ):
        _require_approved(origin, request, file.absolute(), sealed_for, installation)
        origin.unlock()
        store = LocalStore(folder, name=origin.source)
        with counting(output, "opening", origin.total) as advance:
            done = restore(
                lambda: request.secrets_of(origin), store, relocation=request.relocation, progress=advance
            )
        if not done.total:
            raise origin.loss() or request.nothing()
        access_log.record_access(
            evidence_access_log.RESTORED,
            output,
            installation,
            backup=in_line(origin.name),
            to=str(file.absolute()),
            created=done.created,
        )
        seal_file(
            file,
            output,
            source=store,
            recipients=sealed_for,
            replace_existing=given.force,
        )
        store.close()
