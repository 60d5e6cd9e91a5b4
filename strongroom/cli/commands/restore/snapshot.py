"""restore-snapshot: put a whole Vault server back from a backup of a raft source.

Works without a configuration: a server, a token and a backup are enough.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from shutil import rmtree

from strongroom.cli.commands.restore.arguments import ReplaceServer, ServerOptions, SnapshotPlace
from strongroom.cli.parameters import command_line
from strongroom.cli.shared import access_log, admission, backup_selection, identities, opening, options
from strongroom.cli.shared.restore_source import undo_sealer
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, size
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.config import load_settings
from strongroom.container.errors import NotABackup, WrongKey
from strongroom.errors import UsageError
from strongroom.keys import Opener
from strongroom.model import ApprovalAction
from strongroom.operations.archive.coverage import BackupChoice, describe_skipped
from strongroom.operations.archive.open import Backup
from strongroom.operations.archive.reading import Replicated, maker_of_backup
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.errors import ConfirmationRequired
from strongroom.operations.restore.batch import SNAPSHOT
from strongroom.operations.restore.restore import Undo
from strongroom.operations.restore.undo import UndoSealer, undo_into
from strongroom.operations.restore.vault_snapshot import (
    SnapshotRestoreResult,
    assembled,
    confirmation,
    keep,
    look,
    restore_snapshot,
)
from strongroom.sheet import Lines, Pairs, Part, Sheet
from strongroom.sources import Source
from strongroom.sources.raft.snapshot import SnapshotHeader
from strongroom.sources.raft.source import WholeSnapshot
from strongroom.times import unique
from strongroom.vault.client import Vault
from strongroom.vault.tokens import TokenFile
from strongroom.vault.transport import VaultConnection
from strongroom.wiring.vault_adapters import vault

LOOK_BACK = 20
"""Backups that are opened to find a snapshot."""


def replace_server(given: ReplaceServer, output: Output) -> Answer:
    installation = place.find()
    vault = None if given.server.check else _vault(given.server)
    openers = identities.identities_of(given.opening, output, installation)
    with _backups(given, output, openers, installation) as backups:
        try:
            secrets = chain.from_iterable(backup.secrets() for backup in backups)
            with assembled(secrets, installation.state_dir / "tmp") as whole:
                if vault is None:
                    about = {"snapshot": whole.about, "restored": False}
                    return Answer(record=about, sheet=Sheet(parts=[*_looked_at(whole.about)]))
                way_back = None
                if not given.server.no_way_back:
                    sealer = undo_sealer(openers, backups[0].manifest, output, installation)
                    way_back = _WayBack(installation, sealer)
                return _put_back(whole, vault, given, output, way_back)
        except WrongKey as error:
            raise opening.explain_wrong_key(error) from None


def _vault(server: ServerOptions) -> Vault:
    if (server.vault is None) == (server.address is None):
        raise UsageError("Which server?", hint="Give --vault NAME, or --address URL with --token-file FILE.")
    if server.address is None:
        return _configured(server.vault or "")
    if server.token_file is None:
        raise UsageError("--address needs --token-file.", hint="The file holds the token and nothing else.")
    login = TokenFile(path=server.token_file)
    return Vault(VaultConnection(address=server.address, login=login, ca_file=server.ca_file))


def _configured(name: str) -> Vault:
    settings = load_settings()
    if name not in settings.vaults:
        raise UsageError(f"There is no server '{name}' under [vaults].", hint="Or give --address.")
    return vault(name, settings)


@contextmanager
def _backups(
    given: ReplaceServer, output: Output, openers: list[Opener], installation: InstallationPlace
) -> Iterator[Sequence[Backup | Replicated]]:
    """Open everything that is named; each has to be of a trusted signer."""
    with ExitStack() as stack:
        if given.where.from_target:
            where = options.FileOrTargets(from_target=given.where.from_target)
            source = options.BackupSource(where=where, choice=given.choice, trust=given.trust)
            chooser = backup_selection.chooser_of(source, installation)
            with backup_selection.reporting_damage(chooser, output, installation):
                yield [_chosen(chooser, source, output, openers, installation)]
            return
        yield [
            opening.open_trusted(
                stack.enter_context(opening.open_objects(file)),
                options.BackupSource(
                    where=options.FileOrTargets(backup_file=file), choice=given.choice, trust=given.trust
                ),
                output,
                lambda: openers,
                installation,
            )
            for file in given.where.backup_file
        ]


def _chosen(
    chooser: Chooser,
    source: options.BackupSource,
    output: Output,
    openers: list[Opener],
    installation: InstallationPlace,
) -> Replicated:
    """Open the newest snapshot on targets by the rule of every other command, or the backup that is named.

    Only who opens a backup sees whether it is a snapshot: a manifest says which source it is of, and not of
    which kind.
    """

    def opened(choice: BackupChoice) -> Replicated:
        backup = choice.manifest.backup_id
        known = chooser.trusted
        admission.admit_maker(maker_of_backup(choice.signed, known), source.trust, output)
        access_log.record_opening(
            output, installation, backup, where=source.where, quarantine=choice.quarantine
        )
        pins = backup_selection.report_unlisted(choice, known, output, installation)
        return Replicated(choice, openers, trusted=pins, told=chooser.note)

    asked = backup_selection.requested(source.choice, values=True)
    choices = chooser.choices(asked)
    first = next(choices, None) or chooser.choose(asked)
    for choice in islice(chain([first], choices), LOOK_BACK):
        backup = opened(choice)
        row = next(backup.rows(), None)
        if source.choice.backup or (row is not None and row.type == SNAPSHOT):
            backup_selection.report_choice(choice, chooser, asked, output)
            return backup
        chooser.pass_over(choice.manifest, "it is no snapshot of a server")
    passed = "; ".join(describe_skipped(chooser.passed))
    raise NotABackup(f"none of the newest {LOOK_BACK} backups there is a snapshot of a server: {passed}")


def _put_back(
    whole: WholeSnapshot, vault: Vault, given: ReplaceServer, output: Output, way_back: _WayBack | None
) -> Answer:
    server = look(vault)
    where = given.server.vault or given.server.address
    access_log.require_approved(
        place.find(),
        ApprovalAction.RESTORE,
        {"snapshot": whole.about.snapshot, "sha256": whole.about.sha256, "server": where},
        lines=(f"replace all of the Vault server {where} by snapshot {whole.about.snapshot}",),
    )
    try:
        outcome = restore_snapshot(
            whole,
            vault,
            confirmed=given.server.confirm or _ask(confirmation(server, whole.about), whole.about),
            foreign=given.server.foreign_keys,
            undo=None if way_back is None else lambda: way_back.keep(vault),
            forget=None if way_back is None else way_back.forget,
        )
    except BaseException:
        if way_back is not None and (command := way_back.command(given)):
            output.note(f"What the server held before is sealed in {way_back.folder}. This brings it back:")
            output.note(f"  {command}")
        raise
    return _answer(whole.about, outcome, way_back, given)


class _WayBack:
    """What the server holds now, sealed to the recipients of the backup that replaces it."""

    def __init__(self, installation: InstallationPlace, sealer: UndoSealer) -> None:
        self.folder = installation.state_dir / "undo" / unique(time.time())
        self._here = installation
        self._sealer = sealer

    def keep(self, vault: Vault) -> None:
        """Take a snapshot of the server and seal it into files."""
        keep(vault, self._here.state_dir / "tmp", self._undo_of)

    def forget(self) -> None:
        """Remove it: the server was left as it was."""
        rmtree(self.folder, ignore_errors=True)

    def command(self, given: ReplaceServer) -> str:
        """Return what to type to put it back; nothing, if nothing was kept. What to confirm is asked anew."""
        files = tuple(sorted(self.folder.glob("*.strongroom")))
        if not files:
            return ""
        server = ServerOptions(
            vault=given.server.vault,
            address=given.server.address,
            token_file=given.server.token_file,
            ca_file=given.server.ca_file,
        )
        back = ReplaceServer(where=SnapshotPlace(backup_file=files), server=server, opening=given.opening)
        return command_line("restore snapshot", back)

    def _undo_of(self, source: Source) -> Undo:
        return undo_into(self.folder, source, self._sealer)


def _ask(wanted: str, about: SnapshotHeader) -> str:
    """Have a person type which server is overwritten with which moment."""
    if not prompts.somebody_there():
        raise ConfirmationRequired(
            "Everything in the server would be replaced, and there is no terminal to ask on.",
            hint="Nothing was changed. Look at the cluster's name and the index. If they are meant, "
            f"repeat with:\n--confirm {wanted}",
        )
    print(Sheet(parts=[*_looked_at(about)]).text(), end="", file=sys.stderr)
    print(f"Everything in the server will be replaced. To go on, type {wanted}: ", end="", file=sys.stderr)
    sys.stderr.flush()
    return sys.stdin.readline().strip()


def _answer(
    about: SnapshotHeader, outcome: SnapshotRestoreResult, way_back: _WayBack | None, given: ReplaceServer
) -> Answer:
    command = "" if way_back is None else way_back.command(given)
    record = {
        "snapshot": about,
        "restored": True,
        "sealed": outcome.sealed,
        "matches": outcome.matches,
        "way_back": str(way_back.folder) if way_back is not None else None,
        "undo_by": [command] if command else [],
    }
    heading = "What was there before is sealed to the recipients of this backup. This brings it back"
    after = Lines(list(_after(about, outcome)))
    parts = [*_looked_at(about), after, Lines([command] if command else [], heading, style="code")]
    parts.append(Lines(["It needs a token of the server as it is now."] if command else []))
    return Answer(record=record, sheet=Sheet(parts=parts))


def _after(about: SnapshotHeader, outcome: SnapshotRestoreResult) -> Iterator[str]:
    if outcome.sealed:
        yield f"The server has taken the snapshot and is SEALED. It needs {about.keys_in_words()}."
        yield "If it refuses them, restart its process: it may still expect the keys that it had before."
        yield "Nothing could be compared while it is sealed: look at it once it is unsealed."
    elif outcome.matches:
        yield f"The server has taken the snapshot and says that it is cluster '{about.cluster_name}'."
        yield f"The next time it is unsealed, it needs {about.keys_in_words()}."


def _looked_at(about: SnapshotHeader) -> Iterator[Part]:
    yield Lines(["The snapshot is whole: its sums, its seal record and its entries were checked."])
    yield Pairs(
        [
            ("cluster", f"{about.cluster_name} ({about.cluster_id})"),
            ("taken", about.taken_at),
            ("index", f"{about.index} (term {about.term})"),
            ("entries", f"{about.entries:,}, {about.logical:,} of them in mounts"),
            ("size", size(about.size)),
            ("version", about.server_version),
            ("will need", about.keys_in_words()),
        ]
    )
