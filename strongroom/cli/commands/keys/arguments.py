"""What the commands of this room take."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from msgspec import Struct

from strongroom.cli.parameters import (
    Command,
    Nothing,
    UnreadableWord,
    Word,
    argument,
    beginning,
    group,
    one_of,
    option,
    rate,
)
from strongroom.cli.shared import options
from strongroom.keys import roles

KeyName = Annotated[str, argument("a configured key", metavar="KEY")]
TokenKeyName = Annotated[str, argument("a configured key of kind pkcs11", metavar="KEY")]
RoleName = Annotated[str, argument(f"one of {', '.join(roles.ROLES)}", metavar="ROLE", choices=roles.ROLES)]
QuorumFile = Annotated[Path, argument("the quorum's file", metavar="FILE")]
Custodians = Annotated[tuple[str, ...], option("who gets a share; repeat it", metavar="NAME")]
Rate = Annotated[float | None, option("at most N wrapping keys a second", metavar="N", read=rate)]
Force = Annotated[bool, option("do not ask first")]


# -- keys that open


@one_of()
class KeySealing(Struct, frozen=True, kw_only=True):
    """What seals a new key's file; without either, nothing does."""

    passphrase: Annotated[bool, option("ask twice for a passphrase that seals the file")] = False
    passphrase_file: Annotated[
        Path | None, option("file with the passphrase that seals it", metavar="FILE")
    ] = None


class NewKey(Struct, frozen=True, kw_only=True):
    """Which key is made, and where it goes."""

    output: Annotated[Path, option("the private half, mode 0600; the public half: FILE.pub", metavar="FILE")]
    algorithm: Annotated[
        str,
        option(
            "mlkem768-x25519 (default; holds against quantum computers too), x25519, or AES256: no pair, "
            "but one key that seals and opens",
            metavar="NAME",
        ),
    ] = "mlkem768-x25519"
    sealing: KeySealing = KeySealing()
    again: Annotated[
        Path | None,
        option(
            "make no new pair: write this private key again, with another passphrase or without one",
            name="--from",
            metavar="FILE",
        ),
    ] = None


def _new_work(given: NewKey) -> str:
    """Choose what is made; an algorithm that nobody knows is refused where pairs are made."""
    single = given.algorithm.upper().startswith("AES")
    return "generate:generate_file" if single else "generate:generate_pair"


class ListKeys(Struct, frozen=True, kw_only=True):
    """Which keys are shown."""

    policy: Annotated[str | None, option("only what opens the backups of this policy", metavar="NAME")] = None


class RetireKey(Struct, frozen=True, kw_only=True):
    """Which key is no longer used."""

    key: KeyName


class LostBackups(Struct, frozen=True, kw_only=True):
    """Which backups' files are gone for good."""

    backup: Annotated[
        tuple[str, ...],
        argument(
            "its id; or a file's path: all files that were written there before are gone", metavar="BACKUP"
        ),
    ]


class ChallengeKey(Struct, frozen=True, kw_only=True):
    """Which key its holder is to prove, and where the challenge goes."""

    key: KeyName
    output: Annotated[Path, option("the file for its custodian", metavar="FILE")]


class AnswerChallenge(Struct, frozen=True, kw_only=True):
    """Which challenge is opened, and with what."""

    file: Annotated[Path, argument("the challenge", metavar="FILE")]
    opening: options.OpeningOptions = options.OpeningOptions()


class ConfirmAnswer(Struct, frozen=True, kw_only=True):
    """Which key is proven, by what its holder read out."""

    key: Annotated[str, argument("the configured key", metavar="KEY")]
    code: Annotated[str, argument("the code, which is not secret any more", metavar="CODE")]


class CheckKeys(Struct, frozen=True, kw_only=True):
    """Which keys are tried, and on what."""

    key: Annotated[
        tuple[str, ...], option("only this configured key, by itself; repeatable", metavar="NAME")
    ] = ()
    no_backups: Annotated[bool, option("try each key by itself alone; no backup is read")] = False
    opening: options.FurtherOpeningOptions = options.FurtherOpeningOptions()

    def __post_init__(self) -> None:
        if (self.key or self.no_backups) and (self.opening.identity or self.opening.passphrase_file):
            alone = "--key" if self.key else "--no-backups"
            raise UnreadableWord(f"{alone} opens no backup: leave --identity and --passphrase-file out")


# -- keys that sign


@one_of()
class RoleKeyNeed(Struct, frozen=True, kw_only=True):
    """Why a role's key is made; without either, it is the first."""

    request: Annotated[bool, option("for the host that has the installation key to certify")] = False
    lost: Annotated[bool, option("in place of the present one, whose private key is lost")] = False


class CreateRoleKey(Struct, frozen=True, kw_only=True):
    """Which role's key is made, and who certifies it."""

    role: RoleName
    need: RoleKeyNeed = RoleKeyNeed()
    certifier: options.InstallationKeyOptions = options.InstallationKeyOptions()

    def __post_init__(self) -> None:
        if self.need.request and self.certifier != options.InstallationKeyOptions():
            raise UnreadableWord("--request is for another host to certify: leave the installation key out")


class CertifyRoleKey(Struct, frozen=True, kw_only=True):
    """Which key of which role is certified."""

    role: RoleName
    key: Annotated[
        str, argument("the public key that 'signers create ROLE --request' printed there", metavar="KEY")
    ]
    host: Annotated[
        str | None, option("the host that made it, if there are several (default: this one)", metavar="NAME")
    ] = None
    certifier: options.InstallationKeyOptions = options.InstallationKeyOptions()


class RotateRoleKeys(Struct, frozen=True, kw_only=True):
    """Which roles get new keys, and for how long the old ones still count."""

    role: Annotated[
        tuple[str, ...], argument("which (default: all whose keys lie here)", metavar="ROLE")
    ] = ()
    announce: Annotated[bool, option("only make and list the next keys, for the other hosts' lists")] = False
    grace: Annotated[
        float,
        option(
            "how long the old key's signatures still count as new, for running runs (default: "
            f"{roles.GRACE / timedelta(hours=1):g})",
            metavar="HOURS",
        ),
    ] = roles.GRACE / timedelta(hours=1)
    certifier: options.InstallationKeyOptions = options.InstallationKeyOptions()

    def __post_init__(self) -> None:
        if self.grace < 0:
            raise UnreadableWord("--grace is a number of hours, not below zero")


class DistrustSigner(Struct, frozen=True, kw_only=True):
    """Which signer is not believed any more, and why."""

    fingerprint: Annotated[str, argument(metavar="FINGERPRINT")]
    reason: Annotated[str | None, option("what is known; it goes on record", metavar="TEXT")] = None
    dry_run: Annotated[bool, option("show which backups bear its signature, and change nothing")] = False
    force: Force = False
    certifier: options.InstallationKeyOptions = options.InstallationKeyOptions()

    def __post_init__(self) -> None:
        if self.reason is None and not self.dry_run:
            raise UnreadableWord(
                "--reason is needed: it goes on record; --dry-run shows which backups bear its signature"
            )


class SignAgain(Struct, frozen=True, kw_only=True):
    """Which backups are signed again."""

    backup: Annotated[tuple[str, ...], option("only this; repeatable", metavar="ID")] = ()
    before: Annotated[
        float | None,
        option("only what was made before this time, RFC 3339", metavar="TIME", read=beginning),
    ] = None
    force: Force = False


class TakeOffline(Struct, frozen=True, kw_only=True):
    """Which installation key is kept elsewhere, and where."""

    spare: Annotated[bool, option("instead, make a second installation key there, to be pinned too")] = False
    paper: options.PaperOptions = options.PaperOptions()
    certifier: options.InstallationKeyOptions = options.InstallationKeyOptions()

    def __post_init__(self) -> None:
        if self.spare and self.certifier != options.InstallationKeyOptions():
            raise UnreadableWord("--spare makes a new key: leave the installation key out")


class HandOver(Struct, frozen=True, kw_only=True):
    """Which installation key certifies from now on."""

    successor: Annotated[Path | None, option("the spare's file (default: a new key)", metavar="FILE")] = None
    successor_share: Annotated[
        tuple[Path, ...],
        option("a file with the spare's words, or those of one of its shares; repeatable", metavar="FILE"),
    ] = ()
    spare: Annotated[bool, option("ask for the words of the spare")] = False
    force: Force = False
    certifier: options.InstallationKeyOptions = options.InstallationKeyOptions()


# -- keys of a token, and of custodians


class CreateTokenKey(Struct, frozen=True, kw_only=True):
    """Which configured key is made in its token."""

    key: TokenKeyName


class ListTokenKeys(Struct, frozen=True, kw_only=True):
    """Whose token's keys are listed, and with which PIN."""

    key: TokenKeyName
    ask_pin: Annotated[bool, option("with a PIN that you type, which resets the token's counter")] = False


class CreateQuorum(Struct, frozen=True, kw_only=True):
    """Who the custodians of a new quorum are, and how many of them are needed."""

    file: Annotated[Path, argument("where to write the quorum's public file", metavar="FILE")]
    name: Annotated[str | None, option("what it is called (default: the file's name)", metavar="NAME")] = None
    custodian: Custodians = ()
    threshold: Annotated[
        int | None, option("how many of them are needed to open (default: as before)", metavar="K")
    ] = None
    replaces: Annotated[
        Path | None, option("the file of the quorum whose custodians change", metavar="OLD")
    ] = None
    without: Annotated[
        tuple[str, ...], option("with --replaces: a custodian who leaves; repeatable", metavar="NAME")
    ] = ()

    def __post_init__(self) -> None:
        if self.replaces is None and (not self.custodian or self.threshold is None):
            raise UnreadableWord("a quorum needs --custodian for each of its people, and --threshold")
        if self.replaces is None and self.without:
            raise UnreadableWord("--without goes with --replaces: nobody leaves a quorum that is new")
        if self.replaces is not None and self.name is not None:
            raise UnreadableWord("--name does not go with --replaces: the quorum keeps its name")


class CombineShares(Struct, frozen=True, kw_only=True):
    """Which quorum's shares are tried."""

    file: QuorumFile
    share: Annotated[tuple[Path, ...], option("a file with one share's words", metavar="FILE")] = ()


class ShowQuorum(Struct, frozen=True, kw_only=True):
    """Which quorum is shown."""

    file: QuorumFile


# -- backups brought to other keys, and keys destroyed


class RotatePolicies(Struct, frozen=True, kw_only=True):
    """Which backups are brought to the recipients of their policies, how and by whom."""

    policy: Annotated[tuple[str, ...], argument("which (default: all that seal)", metavar="POLICY")] = ()
    backup: Annotated[tuple[str, ...], option("only this one; repeatable", metavar="ID")] = ()
    re_encrypt: Annotated[bool, option("re-encrypt under new keys (after a leak) instead of re-wrapping")] = (
        False
    )
    renew: Annotated[
        bool, option("also backups that have these recipients: a key service has a new key version")
    ] = False
    remove_replaced: Annotated[
        bool,
        option("with --re-encrypt: delete the old backups if the new ones are good and no lock forbids it"),
    ] = False
    rate: Rate = None
    cluster: Annotated[bool, option("hand it to the cluster's recover workers")] = False
    opening: options.FurtherOpeningOptions = options.FurtherOpeningOptions()


@group("the keys")
class ReplacedKeys(Struct, frozen=True, kw_only=True):
    """Which key opens now, and what opens from now on."""

    current_key: Annotated[Path, option("key file or private key that opens now", metavar="FILE")]
    new_key: Annotated[
        Path,
        option(
            "what opens from now on: key file (made if it does not exist), private or public key",
            metavar="FILE",
        ),
    ]
    recipient: options.Recipient = ()
    passphrase_file: Annotated[
        Path | None,
        option(
            "file with a passphrase that opens files too, and still opens them afterwards", metavar="FILE"
        ),
    ] = None


@group("how")
class ReplacementOptions(Struct, frozen=True, kw_only=True):
    """How backups are brought to another key, and which."""

    re_encrypt_backups: Annotated[
        bool, option("re-encrypt everything under new keys (after a leak) instead of re-wrapping")
    ] = False
    policy: Annotated[tuple[str, ...], option("only this policy; repeatable", metavar="NAME")] = ()
    rate: Rate = None
    remove_old_files: Annotated[bool, option("with --re-encrypt-backups: do not keep the old files")] = False

    def __post_init__(self) -> None:
        if self.remove_old_files and not self.re_encrypt_backups:
            raise UnreadableWord(
                "--remove-old-files goes with --re-encrypt-backups: re-wrapping keeps no old file"
            )


class ReplaceKey(Struct, frozen=True, kw_only=True):
    """Which key takes the place of which, and in what."""

    file: Annotated[
        tuple[Path, ...], argument("further backup files, made elsewhere or moved", metavar="FILE")
    ] = ()
    keys: ReplacedKeys
    trust: options.TrustOptions = options.TrustOptions()
    how: ReplacementOptions = ReplacementOptions()


@one_of(required=True)
class ShredSubject(Struct, frozen=True, kw_only=True):
    """What is shredded, or what is said of shredding."""

    policy: Annotated[str | None, option("shred backups of this erasable policy", metavar="NAME")] = None
    status: Annotated[bool, option("show what was shredded, what is pending, and why")] = False
    lost: Annotated[
        str | None, option("record that a medium is destroyed; needs --reason", metavar="TARGET")
    ] = None
    resume: Annotated[bool, option("resume what is pending")] = False


class ShredBackups(Struct, frozen=True, kw_only=True):
    """Which backups become unreadable for good."""

    subject: ShredSubject
    backup: Annotated[tuple[str, ...], option("only this; repeatable", metavar="ID")] = ()
    before: Annotated[
        float | None,
        option("only what was made before (YYYY-MM-DD, UTC)", metavar="DATE", read=beginning),
    ] = None
    reason: Annotated[str | None, option("how a medium was destroyed; it goes on record", metavar="TEXT")] = (
        None
    )
    dry_run: Annotated[bool, option("show what would be destroyed, and stop")] = False
    confirm: Annotated[
        str | None, option("the policy's name once more, instead of typing it", metavar="NAME")
    ] = None

    def __post_init__(self) -> None:
        if not self.subject.policy and (self.before is not None or self.dry_run or self.confirm):
            raise UnreadableWord("--before, --dry-run and --confirm go with --policy")
        if (self.subject.resume or self.subject.lost) and self.backup:
            raise UnreadableWord("--resume and --lost are about all that is pending: leave --backup out")
        if bool(self.subject.lost) != bool(self.reason):
            raise UnreadableWord("--lost and --reason go together")


COMMANDS = {
    "keys new": Command(
        NewKey,
        _new_work,
        "The private half opens and never has to be on the host that makes backups. No file is ever\n"
        "overwritten.",
    ),
    "keys list": Command(
        ListKeys,
        "keys:show_keys",
        "Reads the newest envelopes on the targets, and uses no key. OPENS: by the newest envelope.\n"
        "TOGETHER: with others, as a leg of a composition. NEEDED BY: backups that nothing else opens. BY\n"
        "COPY: rotated away, but the key still opens the containers' own envelope.",
    ),
    "keys retire": Command(
        RetireKey,
        "keys:retire_key",
        "It is refused as long as a backup that is kept opens with nothing else.",
    ),
    "backups gone": Command(
        LostBackups,
        "keys:record_gone",
        "What is gone needs no key any more, so that its key may be retired.",
    ),
    "keys prove": Command(
        Nothing,
        words={
            "challenge": Word(
                "seal a question to a key that is kept elsewhere", ChallengeKey, "keys:challenge_key"
            ),
            "answer": Word(
                "open a challenge, where the key is, and show the code", AnswerChallenge, "keys:show_answer"
            ),
            "confirm": Word(
                "enter the code that the custodian read out", ConfirmAnswer, "keys:confirm_answer"
            ),
        },
        details=(
            "Custodians, and keys that are kept offline, answer a challenge: once a quarter, after\n"
            "'strongroom check keys', which uses every key that this host has."
        ),
    ),
    "check keys": Command(
        CheckKeys,
        "keys:check_keys",
        "Wraps a random key with every configured key, and unwraps it where this host may. Searches the\n"
        "targets for private keys. Then opens a backup of each class with every available key, and says\n"
        "what is overdue. If a key fails, the exit code is that of its error. If a key is stored with the\n"
        "backups, or a key or policy is set up wrong, it is 4. If a key failed on backups, or was not\n"
        "proven for 92 days, it is 80. Run it once a quarter.",
    ),
    "keys signers": Command(
        Nothing,
        words={
            "list": Word(
                "show the installation's fingerprint and every version of every role's key",
                Nothing,
                "signers:list_signers",
            ),
            "create": Word(
                "make the first key of a role, or another for one that is lost",
                CreateRoleKey,
                "signers:create_key",
            ),
            "certify": Word(
                "certify a key that another host requested", CertifyRoleKey, "signers:certify_key"
            ),
            "rotate": Word(
                "have roles sign with new keys from now on; once a year",
                RotateRoleKeys,
                "signers:rotate_keys",
            ),
            "distrust": Word(
                "trust nothing any more that a leaked key signed", DistrustSigner, "signers:distrust_key"
            ),
            "re-sign": Word(
                "sign again what a distrusted key signed and the catalog knows", SignAgain, "signers:re_sign"
            ),
            "offline": Word(
                "move the installation key to paper or a medium, off this machine",
                TakeOffline,
                "signers:take_offline",
            ),
            "hand-over": Word(
                "have another installation key certify from now on", HandOver, "signers:hand_over"
            ),
        },
        details=(
            "Pin the installation's fingerprint once: it certifies the old and new keys of the roles. Its\n"
            "private key (installation.key) is needed only to certify, and may be kept offline. A retired\n"
            "key's signatures stay good for what was made in its time. If a key leaked, distrust it: what\n"
            "it signed is refused until it is signed again."
        ),
    ),
    "keys hsm": Command(
        Nothing,
        words={
            "create": Word(
                "make a configured key in its token, which it never leaves",
                CreateTokenKey,
                "making:create_key",
            ),
            "list": Word("list the keys in a configured key's token", ListTokenKeys, "making:list_keys"),
        },
        details="Module, token, label, version and PIN are those of [keys.KEY].",
    ),
    "keys quorum": Command(
        Nothing,
        words={
            "create": Word(
                "hold the ceremony: split a new key among custodians", CreateQuorum, "making:create_quorum"
            ),
            "combine": Word(
                "combine shares, and say whether they open", CombineShares, "making:combine_shares"
            ),
            "show": Word(
                "say who the custodians are, and how many are needed", ShowQuorum, "making:show_quorum"
            ),
        },
        details=(
            "The ceremony shows each custodian a share once, to be written on paper. Each share has to be\n"
            "typed back before anything can be sealed to the quorum. Strongroom writes no share anywhere."
        ),
    ),
    "keys rotate": Command(
        RotatePolicies,
        "rotate:rotate_policies",
        "First put the new key into the policy's recipients, and leave the old one configured until the\n"
        "rotation has ended. It needs a key that opens the backups. You may stop and repeat it at any\n"
        "time.",
    ),
    "keys replace": Command(
        ReplaceKey,
        "rotate:rotate_key",
        "Rotates all backups of the policies that name the current key, and all backup files that are\n"
        "still where this installation wrote them. You may repeat it at any time.",
    ),
    "keys shred": Command(
        ShredBackups,
        "shred:shred_backups",
        "Destroys the key versions of the backups in their key services, tries that nothing opens them any\n"
        "more, and removes the objects on the targets. It is refused for immutable policies, under a legal\n"
        "hold, and if another backup needs the same key. Put the next key into the policy first.",
    ),
}
