"""backup: secrets sealed into a file, by a policy, or by the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from strongroom.cli.commands.backup.arguments import MakeBackup
from strongroom.cli.shared import access_log, recipients, sources
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.config import load_settings
from strongroom.errors import ConfigError
from strongroom.keys import Recipient
from strongroom.model import ApprovalAction, Selection
from strongroom.operations.backup.capture import sealed_ahead
from strongroom.operations.backup.plan import listed_ahead
from strongroom.system.files import refuse_existing
from strongroom.system.lazy import resolve
from strongroom.system.process import loading
from strongroom.words import nearest

# -- backup with values: secrets sealed into a file ---------------------------------------------
#
# Child processes list the source, and a thread derives the passphrase's key, while this process imports the
# run store and what drives runs (:mod:`strongroom.cli.shared.runs`): that is a third of the time that a
# backup of many small secrets takes. So nothing on top of this module may import them (the bar: a backup of
# 100,000 lines in at most the time of restic).


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


def back_up_to_file(given: MakeBackup, output: Output) -> None:
    path, values, installation = given.where.path, given.what.kind.include_values, place.find()
    selection = given.selection.selection()
    source = sources.source_of(given.what.source, installation)
    refuse_existing(path, replace=given.force)
    if values:
        prompts.confirm(
            f"This puts every value that is selected from '{source.name}', sealed, into {path}",
            force=given.force,
        )
    sealed_for = recipients.recipients_of(given.recipients, output, installation, source=given.what.source)
    recipients.warn_of_no_spare(sealed_for, output)
    if values:
        _require_approved(path, source.name, selection, sealed_for, installation)
    with (
        sources.naming_others(given.what.source, installation),
        listed_ahead(source, selection) as listing,
        sealed_ahead(sealed_for) as derived,
    ):
        with loading():
            seal_file = resolve("strongroom.cli.shared.runs:seal_file")
        seal_file(
            path,
            output,
            source=source,
            recipients=sealed_for,
            selection=selection,
            values=values,
            replace_existing=given.force,
            ahead=listing,
            sealed=derived,
        )


# -- backup --policy: the same steps as on the cluster, driven in this process ------------------


def back_up(given: MakeBackup, output: Output) -> Answer:
    """Run a policy's backup to its end and say what came of it."""
    from strongroom.cli.shared.runs import end_abandoned, finish
    from strongroom.cli.shared.services import open_services
    from strongroom.operations.backup.job import submit_backup

    settings, name = load_settings(), given.where.policy or ""
    policy = settings.policies.get(name)
    if policy is None:
        raise ConfigError(f"There is no policy '{name}'.", hint=nearest(name, settings.policies))
    if policy.kind == "full":
        where = ", ".join(policy.targets)
        prompts.confirm(
            f"This puts every value that '{name}' selects, sealed, on {where}",
            force=given.force,
        )
    services = open_services(settings, output=output)
    if policy.kind == "full" and policy.offline:
        access_log.require_medium_approved(place.find(), name, policy.targets, services)
    end_abandoned(name, services, output)
    return finish(partial(submit_backup, services, policy=name), services, output)


# -- backup --policy --cluster: the workers do what a backup in this process does ---------------


def back_up_there(given: MakeBackup, output: Output) -> Answer:
    from strongroom.cli.shared.runs import answer_submission, known_policy

    name = given.where.policy or ""
    policy = known_policy(name, load_settings())
    from tasks.backup import full_backup, metadata_backup

    task = full_backup if policy.kind == "full" else metadata_backup
    return answer_submission(task.delay(policy=name), output, wait=given.where.by.follow)
