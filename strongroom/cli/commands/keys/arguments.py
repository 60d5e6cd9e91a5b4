"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from pathlib import Path

from strongroom.cli.parser import Parser
from strongroom.cli.shared import options
from strongroom.cli.terminal.command import Command
from strongroom.keys import roles


def _generate_backup_key_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--output", metavar="FILE", type=Path, required=True, help="where to write the key, mode 0600"
    )
    parser.add_argument("--algorithm", default="AES256", metavar="NAME", help="AES256, the only one there is")


def _keygen_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--output", metavar="FILE", type=Path, required=True, help="the private half; the public: FILE.pub"
    )
    parser.add_argument(
        "--algorithm",
        metavar="NAME",
        default="mlkem768-x25519",
        help="mlkem768-x25519 (default; holds against quantum computers too) or x25519",
    )


def _keys_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--policy", metavar="NAME", help="only what opens the backups of this policy")
    parser.add_argument(
        "--retire", metavar="KEY", help="record that a configured key is no longer used, if nothing needs it"
    )
    parser.add_argument(
        "--gone",
        metavar="BACKUP",
        action="append",
        default=[],
        help="record that the file of this backup, no longer where a command wrote it, is gone for good; or "
        "a file's path: of all that were written there before; repeatable",
    )


def _key_health_arguments(parser: ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    check = commands.add_parser(
        "check", help="try every key at hand on a backup of each class, and say what is overdue"
    )
    check.set_defaults(run="health:check_keys")
    options.add_further_opening_arguments(check)
    ask = commands.add_parser("challenge", help="seal a question for a key that lies elsewhere")
    ask.set_defaults(run="health:challenge_key")
    ask.add_argument("key", metavar="KEY", help="a configured key")
    ask.add_argument("--output", metavar="FILE", type=Path, required=True, help="the file for its keeper")
    answer = commands.add_parser("answer", help="open a challenge, where the key is, and show the code")
    answer.set_defaults(run="health:show_answer")
    answer.add_argument("file", metavar="FILE", type=Path, help="the challenge")
    options.add_opening_arguments(answer)
    confirm = commands.add_parser("confirm", help="take the code that the keeper read out")
    confirm.set_defaults(run="health:confirm_answer")
    confirm.add_argument("key", metavar="KEY", help="the configured key")
    confirm.add_argument("code", metavar="CODE", help="the code; it is no secret any more")


def _diagnose_backup_encryption_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--key", metavar="NAME", action="append", default=[], help="only this configured key; repeatable"
    )


_ROLES = f"one of {', '.join(roles.ROLES)}"


def _signers_arguments(parser: ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    commands.add_parser(
        "list", help="show the installation's fingerprint and every version of every role's key"
    ).set_defaults(run="signers:list_signers")
    create = commands.add_parser("create", help="make and certify the first key of a role")
    create.set_defaults(run="signer_keys:create_key")
    create.add_argument("role", metavar="ROLE", choices=roles.ROLES, help=_ROLES)
    request = commands.add_parser(
        "request", help="make a role's key here, for the host that has the installation key to certify"
    )
    request.set_defaults(run="signer_keys:request_key")
    request.add_argument("role", metavar="ROLE", choices=roles.ROLES, help=_ROLES)
    certify = commands.add_parser("certify", help="certify a key that another host requested")
    certify.set_defaults(run="signer_keys:certify_key")
    certify.add_argument("role", metavar="ROLE", choices=roles.ROLES, help=_ROLES)
    certify.add_argument("key", metavar="KEY", help="the public key that 'signers request' printed there")
    replace = commands.add_parser("replace", help="give a role whose private key is lost another one")
    replace.set_defaults(run="signer_keys:replace_key")
    replace.add_argument("role", metavar="ROLE", choices=roles.ROLES, help=_ROLES)
    rotate = commands.add_parser("rotate", help="have roles sign with new keys from now on; once a year")
    rotate.set_defaults(run="signer_keys:rotate_keys")
    rotate.add_argument("role", metavar="ROLE", nargs="*", help="which (default: all whose keys lie here)")
    rotate.add_argument(
        "--announce", action="store_true", help="only make and list the next keys, for the other hosts' lists"
    )
    rotate.add_argument(
        "--grace",
        metavar="HOURS",
        type=float,
        default=roles.GRACE / timedelta(hours=1),
        help="how long what the old key signs is accepted as new: runs on their way (default: %(default)g)",
    )
    distrust = commands.add_parser("distrust", help="have nothing count any more that a leaked key signed")
    distrust.set_defaults(run="signer_leaks:distrust_key")
    distrust.add_argument("fingerprint", metavar="FINGERPRINT")
    distrust.add_argument("--reason", metavar="TEXT", required=True, help="what is known; it goes on record")
    distrust.add_argument("--force", action="store_true", help="do not ask first")
    uses = commands.add_parser("uses", help="show which backups bear a signer's signature")
    uses.set_defaults(run="signer_leaks:show_uses")
    uses.add_argument("fingerprint", metavar="FINGERPRINT")
    again = commands.add_parser("resign", help="sign anew what a distrusted key signed and the catalog knows")
    again.set_defaults(run="signer_leaks:re_sign")
    again.add_argument("--backup", metavar="ID", action="append", default=[], help="only this; repeatable")
    again.add_argument("--before", metavar="TIME", help="only what was made before this time, RFC 3339")
    again.add_argument("--force", action="store_true", help="do not ask first")
    for certifying in (create, certify, replace, rotate, distrust):
        certifying.add_argument(
            "--installation-key",
            metavar="FILE",
            type=Path,
            help="where the installation's private key lies, if it is kept offline",
        )


def _hsm_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    create = actions.add_parser("create", help="make a configured key in its token; it never leaves it")
    create.set_defaults(run="hsm:create_key")
    show = actions.add_parser("list", help="list the keys in a configured key's token")
    show.set_defaults(run="hsm:list_keys")
    login = actions.add_parser("login", help="log in with a typed PIN: that sets the token's counter back")
    login.set_defaults(run="hsm:log_in")
    for action in (create, show, login):
        action.add_argument("key", metavar="KEY", help="a configured key of kind pkcs11")


def _quorum_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    create = actions.add_parser("create", help="hold the ceremony: split a new key among custodians")
    create.set_defaults(run="quorum:create_quorum")
    create.add_argument("file", metavar="FILE", type=Path, help="where to write the quorum's public file")
    create.add_argument("--name", metavar="NAME", help="what it is called (default: the file's name)")
    create.add_argument(
        "--custodian", metavar="NAME", action="append", required=True, help="who gets a share; repeat it"
    )
    _threshold(create, required=True)
    combine = actions.add_parser("combine", help="bring shares together, and say whether they open")
    combine.set_defaults(run="quorum:combine_shares")
    combine.add_argument("file", metavar="FILE", type=Path, help="the quorum's file")
    combine.add_argument(
        "--share",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="a file with one share's words",
    )
    show = actions.add_parser("show", help="say who the custodians are, and how many are needed")
    show.set_defaults(run="quorum:show_quorum")
    show.add_argument("file", metavar="FILE", type=Path, help="the quorum's file")
    replace = actions.add_parser("replace", help="hold a ceremony for a quorum in another's place")
    replace.set_defaults(run="quorum:replace_quorum")
    _replace_arguments(replace)


def _replace_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("old", metavar="OLD", type=Path, help="the file of the quorum that is replaced")
    parser.add_argument("file", metavar="FILE", type=Path, help="where to write the new quorum's file")
    parser.add_argument(
        "--without", metavar="NAME", action="append", default=[], help="a custodian who leaves; repeatable"
    )
    parser.add_argument(
        "--custodian", metavar="NAME", action="append", default=[], help="a custodian who joins; repeatable"
    )
    _threshold(parser, required=False)


def _threshold(parser: ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--threshold", metavar="K", type=int, required=required, help="how many of them are needed to open"
    )


COMMANDS = {
    "generate-backup-key": Command(
        _generate_backup_key_arguments,
        "generate:generate_file",
        "The file is never overwritten.",
    ),
    "keygen": Command(
        _keygen_arguments,
        "generate:generate_pair",
        "The private half opens and never has to be on the host that makes backups.",
    ),
    "keys": Command(
        _keys_arguments,
        "list_keys:show_keys",
        "Read from the newest envelopes on the targets; no key is used. OPENS: by the newest envelope.\n"
        "TOGETHER: with others, as a leg of a composition. NEEDED BY: would be unreadable without it.\n"
        "BY COPY: rotated away, but the containers' own envelope still opens for whoever has the key.",
    ),
    "key-health": Command(
        _key_health_arguments,
        details=(
            "Once a quarter. 'check' uses every key this host has; custodians and keys that lie offline\n"
            "answer a challenge. A key that failed, or was not proven for 92 days, is exit code 94."
        ),
    ),
    "diagnose-backup-encryption": Command(
        _diagnose_backup_encryption_arguments,
        "diagnose:diagnose_encryption",
        "A random key is wrapped for every configured key, and unwrapped where this host may. No backup is\n"
        "touched. A key that fails gives its exit code. Targets are looked through for private keys:\n"
        "one that lies with the backups, or a key or policy that is set up wrong, gives exit code 4.",
    ),
    "signers": Command(
        _signers_arguments,
        details=(
            "People pin the installation's fingerprint, once: it certifies the keys of the roles, old and\n"
            "new. Its private key (installation.key) is needed only to certify, and may be kept offline.\n"
            "What a retired key signed stays good for what was made in its time. A key that leaked is\n"
            "distrusted: what it signed is refused until it is signed anew."
        ),
    ),
    "hsm": Command(
        _hsm_arguments,
        details="Module, token, label, version and PIN are those of [keys.KEY].",
    ),
    "quorum": Command(
        _quorum_arguments,
        details=(
            "The ceremony shows each custodian a share once, to be written on paper, and has it typed back\n"
            "before anything can be sealed for the quorum. Strongroom writes no share anywhere."
        ),
    ),
}
