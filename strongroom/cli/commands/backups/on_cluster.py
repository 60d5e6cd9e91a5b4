"""backups verify --cluster: the workers read a backup back from every target."""

from __future__ import annotations

from strongroom.cli.commands.backups.arguments import VerifyBackup
from strongroom.cli.shared.options import refuse_beside
from strongroom.cli.shared.runs import answer_submission, known_backup
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.config import load_settings
from strongroom.model import Depth

_OF_THIS_HOST = (
    *("opens", "structure", "backup", "policy", "identity", "quorum", "share", "passphrase_file"),
    *("signer", "any_signer", "use_quarantined", "legacy"),
)


def verify_there(given: VerifyBackup, output: Output) -> Answer:
    refuse_beside(given, _OF_THIS_HOST, "--cluster")
    backup = known_backup(str(given.file), load_settings())
    depth = given.how.depth or Depth.DIGEST
    from tasks.verify import verify_backup

    return answer_submission(
        verify_backup.delay(backup=backup, depth=depth.value), output, wait=given.by.follow
    )
