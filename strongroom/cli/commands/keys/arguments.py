"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.cli.parameters import Command, rate
from strongroom.cli.parser import Parser
from strongroom.cli.shared import options
from strongroom.keys import roles

if TYPE_CHECKING:
    from argparse import _SubParsersAction


# -- arguments


def _new_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        required=True,
        help="the private half, mode 0600; the public half: FILE.pub",
    )
    parser.add_argument(
        "--algorithm",
        metavar="NAME",
        default="mlkem768-x25519",
        help="mlkem768-x25519 (default; holds against quantum computers too), x25519, or AES256: no pair, "
        "but one key that seals and opens",
    )
    _add_sealing(parser)
    parser.add_argument(
        "--from",
        dest="again",
        metavar="FILE",
        type=Path,
        help="make no new pair: write this private key again, with another passphrase or without one",
    )


def _new_work(arguments: Namespace) -> str:
    """Choose what is made; an algorithm that nobody knows is refused where pairs are made."""
    single = arguments.algorithm.upper().startswith("AES")
    return "generate:generate_file" if single else "generate:generate_pair"


def _add_sealing(parser: ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--passphrase", action="store_true", help="ask twice for a passphrase that seals the file"
    )
    group.add_argument(
        "--passphrase-file", metavar="FILE", type=Path, help="file with the passphrase that seals it"
    )


def _list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--policy", metavar="NAME", help="only what opens the backups of this policy")


def _retire_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("key", metavar="KEY", help="a configured key")


def _gone_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "backup",
        metavar="BACKUP",
        nargs="+",
        help="its id; or a file's path: all files that were written there before are gone",
    )


def _prove_arguments(parser: ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    ask = commands.add_parser("challenge", help="seal a question to a key that is kept elsewhere")
    ask.set_defaults(run="keys:challenge_key")
    ask.add_argument("key", metavar="KEY", help="a configured key")
    ask.add_argument("--output", metavar="FILE", type=Path, required=True, help="the file for its custodian")
    answer = commands.add_parser("answer", help="open a challenge, where the key is, and show the code")
    answer.set_defaults(run="keys:show_answer")
    answer.add_argument("file", metavar="FILE", type=Path, help="the challenge")
    options.add_opening_arguments(answer)
    confirm = commands.add_parser("confirm", help="enter the code that the custodian read out")
    confirm.set_defaults(run="keys:confirm_answer")
    confirm.add_argument("key", metavar="KEY", help="the configured key")
    confirm.add_argument("code", metavar="CODE", help="the code, which is not secret any more")


def _check_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--key",
        metavar="NAME",
        action="append",
        default=[],
        help="only this configured key, by itself; repeatable",
    )
    parser.add_argument(
        "--no-backups", action="store_true", help="try each key by itself alone; no backup is read"
    )
    options.add_further_opening_arguments(parser)


_ROLES = f"one of {', '.join(roles.ROLES)}"


def _signers_arguments(parser: ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    commands.add_parser(
        "list", help="show the installation's fingerprint and every version of every role's key"
    ).set_defaults(run="signers:list_signers")
    _add_signer_making(commands)
    _add_signer_rotation(commands)
    _add_signer_leaks(commands)
    _add_installation(commands)
    for action in _CERTIFYING:
        commands.choices[action].add_argument(
            "--installation-key",
            metavar="FILE",
            type=Path,
            help="where the installation's private key lies, if it is kept offline",
        )
        commands.choices[action].add_argument(
            "--installation-share",
            metavar="FILE",
            type=Path,
            action="append",
            default=[],
            help="a file with its words, or those of one of its shares, instead of typing them; repeatable",
        )


def _add_installation(commands: _SubParsersAction[Parser]) -> None:
    offline = commands.add_parser(
        "offline", help="move the installation key to paper or a medium, off this machine"
    )
    offline.set_defaults(run="signers:take_offline")
    offline.add_argument(
        "--spare", action="store_true", help="instead, make a second installation key there, to be pinned too"
    )
    add_paper_arguments(offline)
    hand = commands.add_parser("hand-over", help="have another installation key certify from now on")
    hand.set_defaults(run="signers:hand_over")
    hand.add_argument("--successor", metavar="FILE", type=Path, help="the spare's file (default: a new key)")
    hand.add_argument(
        "--successor-share",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="a file with the spare's words, or those of one of its shares; repeatable",
    )
    hand.add_argument("--spare", action="store_true", help="ask for the words of the spare")
    hand.add_argument("--force", action="store_true", help="do not ask first")


def add_paper_arguments(parser: ArgumentParser) -> None:
    """Let a command be told where a private installation key goes; on a terminal, onto paper."""
    parser.add_argument("--to", metavar="FILE", type=Path, help="a file on a medium, instead of paper")
    parser.add_argument(
        "--custodian",
        metavar="NAME",
        action="append",
        default=[],
        help="split the words among these people; repeatable",
    )
    parser.add_argument(
        "--threshold", metavar="K", type=int, help="how many of them are needed (default: all)"
    )


_CERTIFYING = ("create", "certify", "rotate", "distrust", "offline", "hand-over")
"""Actions that sign with the installation's key."""


def _add_signer_making(commands: _SubParsersAction[Parser]) -> None:
    create = commands.add_parser(
        "create", help="make the first key of a role, or another for one that is lost"
    )
    create.set_defaults(run="signers:create_key")
    create.add_argument("role", metavar="ROLE", choices=roles.ROLES, help=_ROLES)
    how = create.add_mutually_exclusive_group()
    how.add_argument(
        "--request", action="store_true", help="for the host that has the installation key to certify"
    )
    how.add_argument(
        "--lost", action="store_true", help="in place of the present one, whose private key is lost"
    )
    certify = commands.add_parser("certify", help="certify a key that another host requested")
    certify.set_defaults(run="signers:certify_key")
    certify.add_argument("role", metavar="ROLE", choices=roles.ROLES, help=_ROLES)
    certify.add_argument(
        "key", metavar="KEY", help="the public key that 'signers create ROLE --request' printed there"
    )


def _add_signer_rotation(commands: _SubParsersAction[Parser]) -> None:
    rotate = commands.add_parser("rotate", help="have roles sign with new keys from now on; once a year")
    rotate.set_defaults(run="signers:rotate_keys")
    rotate.add_argument("role", metavar="ROLE", nargs="*", help="which (default: all whose keys lie here)")
    rotate.add_argument(
        "--announce", action="store_true", help="only make and list the next keys, for the other hosts' lists"
    )
    rotate.add_argument(
        "--grace",
        metavar="HOURS",
        type=float,
        default=roles.GRACE / timedelta(hours=1),
        help="how long the old key's signatures still count as new, for running runs (default: %(default)g)",
    )


def _add_signer_leaks(commands: _SubParsersAction[Parser]) -> None:
    distrust = commands.add_parser("distrust", help="trust nothing any more that a leaked key signed")
    distrust.set_defaults(run="signers:distrust_key")
    distrust.add_argument("fingerprint", metavar="FINGERPRINT")
    distrust.add_argument("--reason", metavar="TEXT", help="what is known; it goes on record")
    distrust.add_argument(
        "--dry-run", action="store_true", help="show which backups bear its signature, and change nothing"
    )
    again = commands.add_parser(
        "re-sign", help="sign again what a distrusted key signed and the catalog knows"
    )
    again.set_defaults(run="signers:re_sign")
    again.add_argument("--backup", metavar="ID", action="append", default=[], help="only this; repeatable")
    again.add_argument("--before", metavar="TIME", help="only what was made before this time, RFC 3339")
    for asking in (distrust, again):
        asking.add_argument("--force", action="store_true", help="do not ask first")


def _hsm_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    create = actions.add_parser("create", help="make a configured key in its token, which it never leaves")
    create.set_defaults(run="making:create_key")
    show = actions.add_parser("list", help="list the keys in a configured key's token")
    show.set_defaults(run="making:list_keys")
    show.add_argument(
        "--ask-pin", action="store_true", help="with a PIN that you type, which resets the token's counter"
    )
    for action in (create, show):
        action.add_argument("key", metavar="KEY", help="a configured key of kind pkcs11")


def _quorum_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    create = actions.add_parser("create", help="hold the ceremony: split a new key among custodians")
    create.set_defaults(run="making:create_quorum")
    create.add_argument("file", metavar="FILE", type=Path, help="where to write the quorum's public file")
    create.add_argument("--name", metavar="NAME", help="what it is called (default: the file's name)")
    create.add_argument(
        "--custodian", metavar="NAME", action="append", default=[], help="who gets a share; repeat it"
    )
    create.add_argument(
        "--threshold", metavar="K", type=int, help="how many of them are needed to open (default: as before)"
    )
    create.add_argument(
        "--replaces", metavar="OLD", type=Path, help="the file of the quorum whose custodians change"
    )
    create.add_argument(
        "--without",
        metavar="NAME",
        action="append",
        default=[],
        help="with --replaces: a custodian who leaves; repeatable",
    )
    combine = actions.add_parser("combine", help="combine shares, and say whether they open")
    combine.set_defaults(run="making:combine_shares")
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
    show.set_defaults(run="making:show_quorum")
    show.add_argument("file", metavar="FILE", type=Path, help="the quorum's file")


# -- arguments


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


# -- arguments


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
    "keys new": Command(
        _new_arguments,
        _new_work,
        "The private half opens and never has to be on the host that makes backups. No file is ever\n"
        "overwritten.",
    ),
    "keys list": Command(
        _list_arguments,
        "keys:show_keys",
        "Reads the newest envelopes on the targets, and uses no key. OPENS: by the newest envelope.\n"
        "TOGETHER: with others, as a leg of a composition. NEEDED BY: backups that nothing else opens. BY\n"
        "COPY: rotated away, but the key still opens the containers' own envelope.",
    ),
    "keys retire": Command(
        _retire_arguments,
        "keys:retire_key",
        "It is refused as long as a backup that is kept opens with nothing else.",
    ),
    "backups gone": Command(
        _gone_arguments,
        "keys:record_gone",
        "What is gone needs no key any more, so that its key may be retired.",
    ),
    "keys prove": Command(
        _prove_arguments,
        details=(
            "Custodians, and keys that are kept offline, answer a challenge: once a quarter, after\n"
            "'strongroom check keys', which uses every key that this host has."
        ),
    ),
    "check keys": Command(
        _check_arguments,
        "keys:check_keys",
        "Wraps a random key with every configured key, and unwraps it where this host may. Searches the\n"
        "targets for private keys. Then opens a backup of each class with every available key, and says\n"
        "what is overdue. If a key fails, the exit code is that of its error. If a key is stored with the\n"
        "backups, or a key or policy is set up wrong, it is 4. If a key failed on backups, or was not\n"
        "proven for 92 days, it is 80. Run it once a quarter.",
    ),
    "keys signers": Command(
        _signers_arguments,
        details=(
            "Pin the installation's fingerprint once: it certifies the old and new keys of the roles. Its\n"
            "private key (installation.key) is needed only to certify, and may be kept offline. A retired\n"
            "key's signatures stay good for what was made in its time. If a key leaked, distrust it: what\n"
            "it signed is refused until it is signed again."
        ),
    ),
    "keys hsm": Command(
        _hsm_arguments,
        details="Module, token, label, version and PIN are those of [keys.KEY].",
    ),
    "keys quorum": Command(
        _quorum_arguments,
        details=(
            "The ceremony shows each custodian a share once, to be written on paper. Each share has to be\n"
            "typed back before anything can be sealed to the quorum. Strongroom writes no share anywhere."
        ),
    ),
    "keys rotate": Command(
        _rotate_arguments,
        "rotate:rotate_policies",
        "First put the new key into the policy's recipients, and leave the old one configured until the\n"
        "rotation has ended. It needs a key that opens the backups. You may stop and repeat it at any\n"
        "time.",
    ),
    "keys replace": Command(
        _rotate_backup_key_arguments,
        "rotate:rotate_key",
        "Rotates all backups of the policies that name the current key, and all backup files that are\n"
        "still where this installation wrote them. You may repeat it at any time.",
    ),
    "keys shred": Command(
        _shred_arguments,
        "shred:shred_backups",
        "Destroys the key versions of the backups in their key services, tries that nothing opens them any\n"
        "more, and removes the objects on the targets. It is refused for immutable policies, under a legal\n"
        "hold, and if another backup needs the same key. Put the next key into the policy first.",
    ),
}
