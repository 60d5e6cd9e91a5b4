"""escrow: the installation's own keys and configuration, sealed to a recipient, and back."""

from __future__ import annotations

from argparse import Namespace

from strongroom.cli.shared import approval, identities, recipients
from strongroom.cli.shared.backup_argument import open_objects
from strongroom.cli.shared.opening import explain_wrong_key, open_trusted, read_signer
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural
from strongroom.config import load_settings
from strongroom.container.errors import WrongKey
from strongroom.errors import UsageError
from strongroom.model import ApprovalAction
from strongroom.operations.backup.single_file import backup_to_file
from strongroom.operations.emergency.escrow import gather, put_back
from strongroom.sheet import Lines, Sheet
from strongroom.system.atomic_file import refuse_existing


def seal_or_open(arguments: Namespace, output: Output) -> Answer:
    return _open(arguments, output) if arguments.open else _seal(arguments, output)


def _seal(arguments: Namespace, output: Output) -> Answer:
    if arguments.identity:
        raise UsageError("--identity opens; to seal, give --recipient.")
    installation = place.find()
    refuse_existing(arguments.file, replace=arguments.force)
    allowed = load_settings().approvals.allowed_signers
    source = gather(installation.state_dir, installation.file, allowed_signers=allowed)
    found = recipients.recipients_of(arguments, output, installation)
    approval.require_approved(
        installation,
        ApprovalAction.EXPORT,
        {
            "escrow": str(arguments.file.absolute()),
            "for": sorted(recipient.fingerprint for recipient in found),
        },
        lines=(
            f"this installation's own keys and configuration, into {arguments.file.absolute()}",
            *(f"for {recipient.describe()}" for recipient in found),
        ),
    )
    manifest = backup_to_file(
        arguments.file,
        source=source,
        recipients=found,
        services=open_services(),
        replace_existing=arguments.force,
    )
    signer = read_signer(arguments.file)
    kept = sorted(entry.name for entry in source.list())
    opens = "; ".join(recipient.describes for recipient in manifest.recipients)
    said = f"{arguments.file} holds {plural(len(kept), 'file')} of this installation, sealed to {opens}"
    keep = "Keep it apart from this machine, with that line. It holds the keys, not the store's database."
    return Answer(
        record={"file": arguments.file, "holds": kept, "signer": signer, "opens_for": opens},
        sheet=Sheet(parts=[Lines(kept, said, style="list"), Lines([f"Installation: {signer}", keep])]),
    )


def _open(arguments: Namespace, output: Output) -> Answer:
    if arguments.recipient:
        raise UsageError("--recipient seals; to open, give --identity or --passphrase-file.")
    installation = place.find()
    with open_objects(arguments.file) as objects:
        openers = identities.identities_of(arguments, output, installation)
        backup = open_trusted(objects, arguments, output, lambda: openers, installation)
        try:
            written = put_back(backup.secrets(), installation.state_dir)
        except WrongKey as error:
            raise explain_wrong_key(error) from None
    said = f"{plural(len(written), 'file')} brought back under {installation.state_dir}"
    sheet = Sheet(parts=[Lines(written, said, style="list")])
    return Answer(record={"written": written}, sheet=sheet)
