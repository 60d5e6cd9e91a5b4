"""backup: secrets sealed into a file, by a policy, or by the cluster."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from strongroom.cli.commands.backup.arguments import named_file
from strongroom.cli.parameters import record_of
from strongroom.cli.shared import access_log, options, recipients, sources
from strongroom.cli.shared.options import LOCAL
from strongroom.cli.shared.runs import answer_submission, end_abandoned, finish, known_policy
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.config import load_settings
from strongroom.errors import ConfigError, UsageError
from strongroom.keys import Recipient
from strongroom.model import ApprovalAction, Selection
from strongroom.operations.backup.capture import sealed_ahead
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.backup.plan import listed_ahead
from strongroom.system.files import refuse_existing
from strongroom.system.lazy import resolve
from strongroom.system.process import loading
from strongroom.words import nearest

# -- backup with values: secrets sealed into a file ---------------------------------------------
#
# Child processes list the source, and a thread derives the passphrase's key, while this process imports the
# run store and what drives runs (:mod:`strongroom.cli.shared.runs`): that is a third of the time that a
# backup of many small secrets takes.


def back_up_to_file(arguments: Namespace, output: Output) -> None:
    _seal(named_file(arguments), arguments, output, values=arguments.include_values)


def _require_approved(
    path: Path,
    source: str,
    selection: Selection,
    sealed_for: Sequence[Recipient],
    installation: InstallationPlace,
) -> None:
    """Ask for approvals where the configuration wants them: values leave for keys that somebody chose."""
    access_log.require_approved(
        installation,
        ApprovalAction.EXPORT,
        {
            "file": str(path.absolute()),
            "source": source,
            "selection": selection,
            "for": sorted(recipient.fingerprint for recipient in sealed_for),
        },
        lines=(
            f"{access_log.how_much(selection)} of '{source}' into {path.absolute()}",
            *(f"for {recipient.describe()}" for recipient in sealed_for),
        ),
    )


def _seal(path: Path, arguments: Namespace, output: Output, *, values: bool) -> None:
    installation = place.find()
    selection = options.selection_of(arguments.filter_tag, arguments.include, arguments.exclude)
    source = sources.source_of(arguments.source, installation)
    refuse_existing(path, replace=arguments.force)
    if values:
        prompts.confirm(
            f"This puts every value that is selected from '{source.name}', sealed, into {path}",
            force=arguments.force,
        )
    sealed_for = recipients.recipients_of(
        record_of(options.RecipientOptions, arguments), output, installation, source=arguments.source
    )
    recipients.warn_of_no_spare(sealed_for, output)
    if values:
        _require_approved(path, source.name, selection, sealed_for, installation)
    with listed_ahead(source, selection) as listing, sealed_ahead(sealed_for) as derived:
        with loading():
            seal_file = resolve("strongroom.cli.shared.runs:seal_file")
        seal_file(
            path,
            output,
            source=source,
            recipients=sealed_for,
            selection=selection,
            values=values,
            replace_existing=arguments.force,
            ahead=listing,
            sealed=derived,
        )


# -- backup --policy: the same steps as on the cluster, driven in this process ------------------


_NOT_BESIDE = (
    "file",
    "output",
    "include_values",
    "metadata_only",
    "encrypt_backup",
    "recipient",
    "filter_tag",
    "include",
    "exclude",
    "passphrase_file",
)


def back_up(arguments: Namespace, output: Output) -> Answer:
    """Run a policy's backup to its end and say what came of it."""
    refuse_beside_policy(arguments)
    settings = load_settings()
    policy = settings.policies.get(arguments.policy)
    if policy is None:
        known = nearest(arguments.policy, settings.policies)
        raise ConfigError(f"There is no policy '{arguments.policy}'.", hint=known)
    if policy.kind == "full":
        where = ", ".join(policy.targets)
        prompts.confirm(
            f"This puts every value that '{arguments.policy}' selects, sealed, on {where}",
            force=arguments.force,
        )
    services = open_services(settings, output=output)
    if policy.kind == "full" and policy.offline:
        access_log.require_medium_approved(place.find(), arguments.policy, policy.targets, services)
    end_abandoned(arguments.policy, services, output)
    run, tickets = submit_backup(services, policy=arguments.policy)
    return finish(run, tickets, services, output)


def refuse_beside_policy(arguments: Namespace) -> None:
    """Refuse what a policy says itself. Raises UsageError."""
    beside = [name for name in _NOT_BESIDE if getattr(arguments, name)]
    beside += ["source"] if arguments.source != LOCAL else []
    if beside:
        said = ", ".join("FILE" if name == "file" else f"--{name.replace('_', '-')}" for name in beside)
        raise UsageError(f"A policy says that itself: --policy does not go with {said}.")


# -- backup --policy --cluster: the workers do what a backup in this process does ---------------


def back_up_there(arguments: Namespace, output: Output) -> Answer:
    refuse_beside_policy(arguments)
    policy = known_policy(arguments.policy, load_settings())
    from tasks.backup import full_backup, metadata_backup

    task = full_backup if policy.kind == "full" else metadata_backup
    return answer_submission(task.delay(policy=arguments.policy), output, wait=arguments.follow)
