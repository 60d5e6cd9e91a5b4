"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from strongroom.cli.shared import options
from strongroom.cli.terminal.command import Command
from strongroom.cli.terminal.numbers import rate


def _rotate_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("policy", metavar="POLICY", nargs="*", help="which (default: all that seal)")
    parser.add_argument(
        "--backup", metavar="ID", action="append", default=[], help="only this one; repeatable"
    )
    parser.add_argument(
        "--re-encrypt",
        action="store_true",
        help="re-encrypt under new keys (after a leak) instead of re-wrapping",
    )
    parser.add_argument(
        "--renew",
        action="store_true",
        help="also backups that have these recipients: a key service has a new key version",
    )
    parser.add_argument(
        "--remove-replaced",
        action="store_true",
        help="with --re-encrypt: delete the old backups if the new ones are good and no lock forbids it",
    )
    parser.add_argument("--rate", metavar="N", type=rate, help="at most N wrapping keys a second")
    parser.add_argument("--cluster", action="store_true", help="hand it to the cluster's recover workers")
    options.add_further_opening_arguments(parser)


def _rotate_backup_key_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", type=Path, nargs="*", help="further backup files, made elsewhere or moved"
    )
    keys = parser.add_argument_group("the keys")
    keys.add_argument(
        "--current-key",
        metavar="FILE",
        type=Path,
        required=True,
        help="key file or private key that opens now",
    )
    keys.add_argument(
        "--new-key",
        metavar="FILE",
        type=Path,
        required=True,
        help="what opens from now on: key file (made if it does not exist), private or public key",
    )
    options.add_recipient_argument(keys)
    keys.add_argument(
        "--passphrase-file",
        metavar="FILE",
        type=Path,
        help="file with a passphrase that opens files too, and still opens them afterwards",
    )
    options.add_signer_argument(parser)
    how = parser.add_argument_group("how")
    how.add_argument(
        "--re-encrypt-backups",
        action="store_true",
        help="re-encrypt everything under new keys (after a leak) instead of re-wrapping",
    )
    how.add_argument(
        "--policy", metavar="NAME", action="append", default=[], help="only this policy; repeatable"
    )
    how.add_argument("--rate", metavar="N", type=rate, help="at most N wrapping keys a second")
    how.add_argument(
        "--remove-old-files", action="store_true", help="with --re-encrypt-backups: do not keep the old files"
    )


COMMANDS = {
    "keys rotate": Command(
        _rotate_arguments,
        "rotate_policy:rotate_policies",
        "First put the new key into the policy's recipients, and leave the old one configured until the\n"
        "rotation has ended. It needs a key that opens the backups. You may stop and repeat it at any\n"
        "time.",
    ),
    "keys replace": Command(
        _rotate_backup_key_arguments,
        "rotate_key:rotate_key",
        "Rotates all backups of the policies that name the current key, and all backup files that are\n"
        "still where this installation wrote them. You may repeat it at any time.",
    ),
}
