"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from strongroom.cli.parser import Parser
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
    parser.add_argument("--on-cluster", action="store_true", help="hand it to the cluster's recover workers")


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


def _incident_arguments(parser: ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    opening = commands.add_parser(
        "open", help="quarantine and re-encrypt what a key opens, or the named backups"
    )
    opening.set_defaults(run="incident:respond_to_leak")
    what = opening.add_mutually_exclusive_group(required=True)
    what.add_argument("--key", metavar="KEY", help="a configured key, or what 'keys --json' calls its key")
    opening.add_argument(
        "--key-version", metavar="N", type=int, help="with --key: only what opens with this version of it"
    )
    what.add_argument("--backup", metavar="ID", action="append", default=[], help="a backup; repeatable")
    opening.add_argument("--reason", metavar="TEXT", required=True, help="what is known; it goes on record")
    opening.add_argument("--output", metavar="FILE", type=Path, required=True, help="the incident record")
    opening.add_argument(
        "--secrets", metavar="FILE", type=Path, help="also write which secrets to change, by name, mode 0600"
    )
    opening.add_argument("--quarantine-only", action="store_true", help="re-encrypt nothing yet")
    opening.add_argument("--force", action="store_true", help="do not ask first")
    options.add_further_opening_arguments(opening)
    commands.add_parser("list", help="show what is in quarantine").set_defaults(
        run="incident:list_quarantined"
    )
    release = commands.add_parser("release", help="allow a backup to be restored from again")
    release.set_defaults(run="incident:release_backups")
    release.add_argument("backup", metavar="BACKUP", nargs="+")
    release.add_argument("--reason", metavar="TEXT", required=True, help="why; it goes on record")


def _shred_arguments(parser: ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--policy", metavar="NAME", help="shred backups of this erasable policy")
    what.add_argument(
        "--status", action="store_true", help="show what was shredded, what is pending, and why"
    )
    what.add_argument("--lost", metavar="TARGET", help="record that a medium is destroyed; needs --reason")
    what.add_argument("--resume", action="store_true", help="resume what is pending")
    parser.add_argument("--backup", metavar="ID", action="append", default=[], help="only this; repeatable")
    parser.add_argument("--before", metavar="DATE", help="only what was made before (YYYY-MM-DD, UTC)")
    parser.add_argument("--reason", metavar="TEXT", help="how a medium was destroyed; it goes on record")
    parser.add_argument("--dry-run", action="store_true", help="show what would be destroyed, and stop")
    parser.add_argument("--confirm", metavar="NAME", help="the policy's name once more, instead of typing it")


COMMANDS = {
    "rotate": Command(
        _rotate_arguments,
        "rotate_policy:rotate_policies",
        "First put the new key into the policy's recipients, and leave the old one configured until the\n"
        "rotation has ended. It needs a key that opens the backups. You may stop and repeat it at any\n"
        "time.",
    ),
    "rotate-backup-key": Command(
        _rotate_backup_key_arguments,
        "rotate_key:rotate_key",
        "Rotates all backups of the policies that name the current key, and all backup files that are\n"
        "still where this installation wrote them. You may repeat it at any time.",
    ),
    "incident": Command(
        _incident_arguments,
        details=(
            "Take the key out of the policies first: a policy that still seals to it is refused. A backup\n"
            "in quarantine has a signed mark beside it on each target. No command on any host takes it by\n"
            "default: to use it, give --use-quarantined."
        ),
    ),
    "shred": Command(
        _shred_arguments,
        "shred:shred_backups",
        "Destroys the key versions of the backups in their key services, tries that nothing opens them any\n"
        "more, and removes the objects on the targets. It is refused for immutable policies, under a legal\n"
        "hold, and if another backup needs the same key. Put the next key into the policy first.",
    ),
}
