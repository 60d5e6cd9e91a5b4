"""What is rare in recovering, for recover.py, which loads this file from beside itself when it is needed.

It needs what recover.py needs, and for an HSM python-pkcs11. In order: choosing a backup, quarantine
marks, backup files, lone and old files, X25519 keys and keys that are needed together, keys in HSMs, keys in
Vault and AWS KMS and what to ask these, the shares of a quorum.

    python3 recover.py weekly.strongroom --private-key recovery.key --list
    python3 recover.py region-a --policy weekly --private-key recovery.key --jsonl > secrets.jsonl
    python3 recover.py emergency.strongroom --shares --hsm MODULE.so --token backup --out DIRECTORY
    python3 recover.py region-a --ask bao --transit transit/backup > ask.sh     # what Vault has to decrypt
    sh ask.sh > answers                                                         # where Vault can be reached
    python3 recover.py region-a --answers answers --list
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import functools
import getpass
import hashlib
import hmac
import itertools
import json
import re
import struct
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Any

import recover
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from recover import (
    MIB,
    OPENERS,
    Backup,
    Container,
    Failure,
    Keys,
    Losses,
    Part,
    Record,
    Secret,
    Store,
    fits,
    integers,
    matching,
    need,
    note,
    sha256,
    strict,
    unhex,
    unwrap,
)


def usable(condition: object, message: str) -> None:
    """Raise CannotOpen unless the condition holds; no message quotes a key."""
    need(condition, message, "CannotOpen")


# -- the command line ----------------------------------------------------------------------------


def add_options(parser: argparse.ArgumentParser, what: Any) -> None:
    add = parser.add_argument
    paths: Record = {"type": Path, "action": "append", "default": []}
    add("--policy", metavar="NAME", help="the newest backup of this policy, also of a part")
    add("--use-quarantined", action="store_true", help="take a backup also if it is in quarantine")
    add("--shares", action="store_true", help="ask for a quorum's shares")
    add("--share-file", **paths, help="shares, a line each")
    add("--hsm", metavar="MODULE", help="an HSM's PKCS#11 library (needs python-pkcs11)")
    add("--token", metavar="LABEL", help="which of its tokens")
    add("--pin-file", type=Path, help="its PIN; asked for otherwise")
    add("--hsm-private-key", **paths, help="a copy of its key, PEM")
    add("--answer", action="append", default=[], help="what Vault or KMS printed")
    add("--answers", **paths, help="the same, a line each")
    add("--transit", action="append", default=[], metavar="MOUNT/KEY", help="a key of Vault's, for --ask")
    envelopes = "envelopes from elsewhere: for a lone container, or a copy that lacks its newest"
    add("--newer", type=Path, nargs="+", action="extend", default=[], help=envelopes)
    add("--legacy", action="store_true", help="the file is an old one")
    what.add_argument("--ask", action="append", metavar="NAME",
        help="for the key of that name: the commands that Vault or KMS has to answer")  # fmt: skip
    what.add_argument("--jsonl", action="store_const", dest="show", const=as_json,
        help="everything, to standard output")  # fmt: skip


def run(given: argparse.Namespace) -> int:
    if given.legacy:
        passphrases = recover.gather(given).held["passphrase"]
        for path in given.file:
            sys.stdout.buffer.write(open_legacy(path.read_bytes(), passphrases))
        return 0
    keys = gather(given)
    given.envelopes = tuple(read_newer(given.newer, keys))
    given.whole = functools.partial(WithNewer, envelopes=given.envelopes)
    return ask(given, keys) if given.ask else recover.recover(given, keys)


def as_json(secret: Secret) -> str:
    """Return a secret as JSON: UTF-8 values as text, others as base64, metadata in the bytes that it had."""
    row, values = dict(secret.row), iter(secret.values)
    versions = []
    for stored in row["versions"]:
        version = {key: value for key, value in stored.items() if key != "length"}
        versions.append(version | (as_text(next(values)) if "length" in stored else {}))
    metadata = row.pop("metadata", None)
    text = json.dumps({**row, "versions": versions})
    return text if metadata is None else f'{text[:-1]}, "metadata": {metadata.decode()}}}'


def as_text(value: bytes) -> dict[str, str]:
    try:
        return {"value": value.decode()}
    except UnicodeDecodeError:
        return {"value_base64": base64.b64encode(value).decode()}


def gather(given: argparse.Namespace) -> Keys:
    """Read every key that the command line names."""
    quorums, hsms = tuple(gather_quorums(given)), tuple(gather_hsms(given))
    answers = tuple(map(answer_of, (*given.answer, *lines_of(given.answers))))
    held = {"quorum": quorums, "pkcs11-ec": hsms, "pkcs11-aes": (*answers, *hsms)}
    held |= {"transit": answers, "kms": answers, "--transit": tuple(given.transit)}
    held["--ask"] = (Questions(given.ask, {}),) if given.ask else ()
    keys = recover.gather(given)
    return replace(keys, held=keys.held | held)


def text_of(path: Path) -> str:
    return path.read_text("utf-8", "replace")


def lines_of(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        lines = [line for line in text_of(path).splitlines() if line.strip()]
        usable(lines, f"'{path}' holds no answer.")
        yield from lines


def answer_of(text: str) -> bytes:
    try:
        answer = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        answer = b""
    usable(len(answer) == 32, "--answer takes what Vault or KMS printed: 32 bytes in base64.")
    return answer


def unseal(path: Path, kind: str, content: bytes, passphrases: Iterable[str]) -> bytes:
    """Open a key file that a passphrase seals: one that was given, or one that is asked for."""
    log_n, own, salt = content[0], content[1:-112], content[-112:-80]
    args = {"salt": content[-80:-48].hex(), "wrapped": content[-48:].hex()}
    need(recover.LOG_N(log_n), f"'{path}' is not as it must be.", "CannotOpen")
    for words in (*passphrases, *([None] if sys.stdin.isatty() else [])):
        typed = getpass.getpass(f"Passphrase of '{path}': ") if words is None else words
        key = recover.scrypt(unicodedata.normalize("NFC", typed).encode(), salt, log_n)
        opened = unwrap(key, args, b"strongroom/v1/sealed-key/" + kind.encode() + own)
        if opened is not None:
            return opened
    raise Failure("CannotOpen", f"No passphrase that was given opens '{path}'. Give --passphrase.")


def gather_quorums(given: argparse.Namespace) -> Iterator[bytes]:
    """Read shares from files, a line each, or ask for them one by one; a slip loses no other."""
    for path in given.share_file:
        yield join_shares([line for line in text_of(path).splitlines() if line.strip()])
    shares: list[str] = []
    while given.shares:
        try:
            shares.append(getpass.getpass(f"Share {len(shares) + 1}: "))
            (_, _, threshold), _, _ = read_share(shares[-1])
        except Failure as failure:
            note(f"{failure.args[1]} Type it again.")
            shares.pop()
            continue
        if len(shares) == threshold:
            yield join_shares(shares)
            return


def gather_hsms(given: argparse.Namespace) -> Iterator[Hsm]:
    for path in given.hsm_private_key:
        try:
            key = load_pem_private_key(path.read_bytes(), None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise Failure("CannotOpen", f"'{path}' is no EC private key in PEM, or it is encrypted.")
        yield software(key)
    if given.hsm:
        path = given.pin_file
        pin = text_of(path).rstrip("\r\n") if path else getpass.getpass("PIN: ")
        usable(pin.strip(), "There is no PIN; none was tried.")
        yield pkcs11_token(given.hsm, given.token, pin)


# -- choosing a backup (section 13, step 1) ------------------------------------------------------

Passed = list[tuple[Record, str]]
Refused = list[tuple[str, Failure]]


def secrets_of_chosen(backup: Backup, given: argparse.Namespace) -> Iterator[Secret]:
    """Yield the secrets of the newest backup of everything that counts, or of the one that is named.

    One secret is looked for in older ones, too.
    """
    choice, for_values = Choice(backup, given), bool(given.out) or given.get is not None
    for manifest in choice.manifests():
        there, own = False, backup.secrets(manifest, given.get, for_values=for_values)
        for secret in itertools.chain(own, secrets_before(backup, manifest, given)):
            there = there or secret.row["name"] == given.get
            yield secret
        if given.get is None or there:
            break
        note(f"'{given.get}' is not in backup {manifest['backup_id']}")
    backup.losses.first = backup.losses.first or choice.missed or choice.part


def secrets_before(backup: Backup, manifest: Record, given: argparse.Namespace) -> Iterator[Secret]:
    """Yield what could have lain in the lost parts of a backup, out of those before it (section 13).

    Of each name the backup before tells, unless its part of that one is lost too: then the one before that.
    """
    losses = backup.losses
    shut = any(failure.args[0] == "CannotOpen" for _, _, failure in losses.parts)
    if not losses.parts or (shut and not losses.name_key):  # a key that fits nothing is no damage
        return
    newer = [could_have_held(manifest, losses, names_out(backup, manifest, losses))]
    for earlier in Choice(backup, given).before(manifest):
        note("looking for what is lost in the backup before:")
        own, taken = Losses(), 0
        for secret in replace(backup, losses=own).secrets(earlier, given.get):
            if all(held(secret.row["name"]) for held in newer):
                taken += 1
                losses.taken += 1
                yield secret
        place = f"backup {earlier['backup_id']}, made {earlier['created_at']}"
        note(f"{recover.counted(taken)} in place of what is lost, as in {place}")
        if not own.parts:
            return
        newer.append(could_have_held(earlier, own, names_out(backup, earlier, own)))


def names_out(backup: Backup, manifest: Record, losses: Losses) -> set[str]:
    """Return the names that came out of a backup that is not sealed: no hash tells where one could lie."""
    lost = {piece for _, piece, _ in losses.parts}
    sound = (
        [] if manifest["sealed"] else [each for each in manifest["containers"] if each["piece"] not in lost]
    )
    read = (secrets_of_names(*backup.piece(manifest, each), manifest, each) for each in sound)
    return {secret.row["name"] for secrets in read for secret in secrets}


def could_have_held(manifest: Record, losses: Losses, came: set[str]) -> Callable[[str], bool]:
    """Return what tells whether a name could have lain in a part of a backup that is lost."""
    key = unhex(losses.name_key)
    parts = []
    for container, number, _ in losses.parts:
        piece = container.index["piece"] if container else number
        entry = manifest["containers"][piece]
        parts.append((entry["first"], entry["last"], names_of(container, number) if container else always))

    def held(name: str) -> bool:  # if no container opened, any name could have lain anywhere
        hashed = hmac.digest(key, name.encode(), "sha256")[:16].hex() if key else ""
        within = any(not key or (first <= hashed <= last and own(name)) for first, last, own in parts)
        return within and name not in came

    return held


def always(name: str) -> bool:
    return True


def names_of(container: Container, number: int) -> Callable[[str], bool]:
    """Return what tells whether a lost segment could have held a name: its rows, if they are sound."""
    try:
        at, values, rows, _, digest = container.entries[number]
        sealed = container.part.read(at + values, rows)
        need(sha256(sealed) == digest, "It was changed.")
        found, _ = recover.read_rows(container.message("rows", number, sealed), Losses())
    except (Failure, struct.error, OSError):
        return lambda name: container.place(name) == number
    return {row["name"] for row, _ in found}.__contains__


class Choice:
    """Which backup of a copy is read."""

    def __init__(self, backup: Backup, given: argparse.Namespace) -> None:
        self.backup, self.store, self.losses = backup, backup.store, backup.losses
        self.wanted, self.name = given.backup, given.get
        self.policy = getattr(given, "policy", None)
        self.use_quarantined = getattr(given, "use_quarantined", False)
        self.part: Failure | None = None  # all of a part came out, and nobody had asked for a part
        self.missed: Failure | None = None  # all of it came out, and there was a newer one
        self.heads: dict[frozenset[str], tuple[dict[str, str], dict[str, int]]] = {}

    def manifests(self) -> Iterator[Record]:
        """Yield the manifest of the backup to read; for one secret, those of older ones after it."""
        if self.wanted:
            manifest = self.backup.manifest(self.wanted)
            why = self.quarantined(manifest)
            need(not why, f"Backup {self.wanted}: {why}. {MEANT}", "Refused")
            yield manifest
            return
        if not self.ids():
            raise self.miss(None) or Failure("Damaged", "There is no manifest here.")
        passed: Passed = []
        refused: Refused = []
        came = False
        for manifest in self.believed(refused):
            if why := self.lacks(manifest) or self.quarantined(manifest):
                passed.append((manifest, why))
                continue
            self.tell([] if came else passed, refused)
            if not came:
                self.miss(manifest)
            came = True
            yield manifest
        if not came:
            yield self.lesser(passed, refused)

    def believed(self, refused: Refused) -> Iterator[Record]:
        """Yield the manifests that count, of the policy that is asked for, newest first."""
        for backup in self.ids():
            try:
                manifest = self.backup.manifest(backup)
            except Failure as failure:
                refused.append((f"manifests/{backup}.json", failure))
                continue
            if self.policy in (None, manifest["policy"]):
                yield manifest

    def before(self, manifest: Record) -> Iterator[Record]:
        """Yield the backups that tell of the lost parts of one, newest first."""
        keys = self.pinned(manifest)
        alike = ("source", "selection", "values")
        for backup in self.ids():
            if backup >= manifest["backup_id"]:
                continue
            try:
                earlier = replace(self.backup, keys=keys).manifest(backup)
                same = all(earlier[member] == manifest[member] for member in alike)
                if not same or self.quarantined(earlier):
                    continue
            except Failure:
                continue  # what does not count is of no use here
            yield earlier

    def ids(self) -> list[str]:
        """Return the backups' ids, the newest first."""
        return recover.backup_ids(self.store)

    def lacks(self, manifest: Record) -> str:
        """Say what a backup lacks to bring everything back, or one secret; nothing if it lacks nothing."""
        if self.policy and manifest["values"]:
            return ""
        if manifest["source"] == "escrow":
            return "it is an escrow of an installation's keys"
        if not manifest["values"]:
            return "it holds no values"
        limits = manifest["selection"]
        tags = ", ".join(f"{key}={value}" for key, value in limits["tags"].items())
        pairs = [("tagged", tags), ("named", ", ".join(limits["include"]))]
        pairs += [("not named", ", ".join(limits["exclude"]))]
        said = "; ".join(f"{word} {which}" for word, which in pairs if which)
        return f"it holds only secrets {said}" if said and self.name is None and not self.part else ""

    def lesser(self, passed: Passed, refused: Refused) -> Record:
        """Return the best backup of those that lack something; raise what keeps from all."""
        if not passed:
            none = Failure("Missing", f"There is no backup of policy '{self.policy}' here.")
            failures = [failure for _, failure in refused]
            strangers = [failure for failure in failures if failure.args[0] == "Untrusted"]
            raise self.miss(None) or (*strangers, *failures, none)[0]
        fair = [each for each in passed if not each[1].startswith("it is ")]
        for manifest, why in sorted(fair, key=lambda each: not each[0]["values"]):
            if not (said := self.quarantined(manifest)):
                break
            passed[passed.index((manifest, why))] = manifest, said
        else:
            family = "Missing" if all("escrow" in why for _, why in passed) else "Refused"
            said = f"No backup here is to be restored from: {passed[0][1]}."
            raise self.miss(None) or Failure(family, said)
        self.tell([each for each in passed if each[0] is not manifest], refused)
        if manifest["values"]:
            self.part = Failure("Missing", f"There is no backup of everything here: {why}.")
        self.miss(manifest)
        return manifest

    def tell(self, passed: Passed, refused: Refused) -> None:
        """Say which newer backups are not read."""
        for why in dict.fromkeys(why for _, why in passed):
            same = [other for other, said in passed if said == why]
            more = f" and {len(same) - 1} more like it" if same[1:] else ""
            note(f"passed over: {same[0]['backup_id']} of policy '{same[0]['policy']}'{more}: {why}")
        set_aside = [(f"backup {one['backup_id']}", Failure("Refused", why)) for one, why in passed
                     if why.startswith(ASIDE)]  # fmt: skip
        self.losses.aside |= dict([*refused, *set_aside])
        refused.clear()

    def miss(self, taken: Record | None) -> Failure | None:
        """Notice a newer backup that the signed heads know of, and that is not there (section 13)."""
        keys = self.pinned(taken) if taken else self.backup.keys
        for policy, backup in self.known(keys)[0].items() if keys.signers else ():
            newer = not taken or backup > taken["backup_id"]
            if newer and self.policy in (None, policy) and self.is_missed(backup, policy, keys):
                said = f"A newer backup is known, and not here: {backup} of policy '{policy}'."
                note(f"CAREFUL: {said}")
                self.missed = self.missed or Failure("Missing", said)
        return self.missed

    def is_missed(self, backup: str, policy: str, keys: Keys) -> bool:
        """Tell whether a backup that is known is not here, and nothing says why."""
        try:
            self.backup.manifest(backup)
            return False
        except Failure as failure:
            if failure.args[0] == "Untrusted":
                return False
        mark, _, whole = mark_of(self.store, "quarantine", backup, keys)
        due = self.known(keys)[1].get(backup, 0)
        if mark and whole and mark["number"] >= due and mark["state"] == "quarantined":
            return False
        deletion = mark_of(self.store, "deletion", backup, keys)[0]
        if deletion and (deletion["state"] == "deleted" or is_past(deletion["after"])):
            return False
        return not self.is_less(policy)

    def is_less(self, policy: str) -> bool:
        """Tell whether the newest backup of a policy that is here does not hold what is asked for."""
        for backup in self.ids():
            with contextlib.suppress(Failure):
                if (manifest := self.backup.manifest(backup))["policy"] == policy:
                    return bool(self.lacks(manifest))
        return False

    def known(self, keys: Keys) -> tuple[dict[str, str], dict[str, int]]:
        """Return what the heads here know, by whoever is pinned."""
        if keys.signers not in self.heads:
            self.heads[keys.signers] = known_by_heads(self.store, keys, pinned=bool(self.backup.keys.signers))
        return self.heads[keys.signers]

    def pinned(self, manifest: Record) -> Keys:
        """Where nobody is pinned, marks and heads have to be of the installation that made the backup."""
        keys = self.backup.keys
        return replace(keys, signers=keys.signers or frozenset({manifest["by"]}))

    def quarantined(self, manifest: Record) -> str:
        """Say that a backup is in quarantine by the newest mark that counts; nothing if it is in none.

        Where nobody can tell, that is refused: an older one would be what somebody wants who put junk there.
        """
        backup, keys = manifest["backup_id"], self.pinned(manifest)
        mark, ignored, whole = mark_of(self.store, "quarantine", backup, keys)
        if ignored:
            self.losses.ignore(*ignored[0])
            many = f"{len(ignored)} objects pose as marks there; the first: {ignored[0][1].args[1]}"
            self.losses.aside[f"quarantine/{backup}/"] = Failure(ignored[0][1].args[0], many)
        due = self.known(keys)[1].get(backup, 0)
        gone = "" if (mark["number"] if mark else 0) >= due else f"mark {due} of it is known, and gone"
        gone = gone if whole else f"{len(ignored)} objects or more pose as its marks"
        said = f"nobody can tell whether it is in quarantine, since {gone}" if gone else ""
        need(not said or self.use_quarantined, f"Backup {backup}: {said}. {MEANT}", "Refused")
        if mark and mark["state"] == "quarantined" and not said:
            by = f" by {mark['by']}" if mark["by"] else ""
            said = f"{ASIDE} since {mark['at']}{by}: {mark['reason']}"
        if said and self.use_quarantined:
            note(f"CAREFUL: backup {backup} is used, and {said}")
        return "" if self.use_quarantined else said


ASIDE, MEANT = "it is in quarantine", "If it is really meant: --use-quarantined."

# -- marks and heads (section 11) ----------------------------------------------------------------

READ_ON = 100_000
recover.ROLES |= {"head": ("control", "recover"), "deletion": ("prune", "control", "recover")}


def mark_of(
    store: Store, kind: str, backup: str, keys: Keys
) -> tuple[Record | None, list[tuple[str, Failure]], bool]:
    """Return a backup's mark that counts, what lies above it, and whether all could be looked through."""
    ignored: list[tuple[str, Failure]] = []
    names = [name for name in store.names(f"{kind}/{backup}") if re.fullmatch(r"\d{8}\.json", name[-13:])]
    names = [name for name in names if len(name) == len(f"{kind}/{backup}/") + 13]
    for name in names[: -READ_ON - 1 : -1]:
        try:
            return read_mark(store, kind, name, keys), ignored, True
        except Failure as failure:
            ignored.append((name, failure))
    return None, ignored, len(names) <= READ_ON


def read_mark(store: Store, kind: str, name: str, keys: Keys) -> Record:
    """Read a quarantine or deletion mark that has its own name."""
    part = store.get(name)
    data = part.whole(16_384) if part else b""
    mark: Record = strict(recover.signed_body(data, kind, keys)[0], MARKS[kind], "A mark")
    own = f"{kind}/{mark['backup_id']}/{mark['number']:08}.json"
    need(name == own, "It is another one's.")
    if kind == "deletion":
        need((mark["state"] == "marked") == bool(mark["after"]), "It says no time, or one too many.")
        by_prune = mark["state"] == "undeleted" or b',"role":"prune",' in data
        need(by_prune, "That role does not say this of a deletion.", "Untrusted")
    return mark


def known_by_heads(store: Store, keys: Keys, *, pinned: bool) -> tuple[dict[str, str], dict[str, int]]:
    """Return what the newest head of each ledger knows: each policy's newest backup, each backup's marks.

    Where an installation is pinned, no trust list that a head states may be missing.
    """
    backups: dict[str, str] = {}
    marks: dict[str, int] = {}
    for head in filter(None, (newest_head(store, ledger, keys) for ledger in folders(store, "ledger"))):
        if pinned:
            recover.require_list(head, keys)
        for policy, backup in head["backups"].items():
            backups[policy] = max(backup, backups.get(policy, ""))
        for backup, number in head["marks"].items():
            marks[backup] = max(number, marks.get(backup, 0))
    return backups, marks


def folders(store: Store, folder: str) -> list[str]:
    """Return the names of the folders right in a folder, sorted."""
    return [name for name, is_folder in store.list(folder).items() if is_folder]


def newest_head(store: Store, ledger: str, keys: Keys) -> Record | None:
    """Return the head of a ledger that counts."""
    names = (name for month in reversed(folders(store, ledger)) for name in reversed(store.names(month)))
    shape = re.compile(r"ledger/[0-9a-f]{16}/\d{4}-\d{2}/\d{12}-[0-9a-f]{16}\.json")
    for tried, name in enumerate(filter(shape.fullmatch, names)):
        usable(tried < READ_ON, f"{READ_ON} objects in {ledger}/ pose as heads, and none of them counts.")
        with contextlib.suppress(Failure):
            part = store.get(name)
            data = part.whole(1 << 18) if part else b""
            body, by = recover.signed_body(data, "head", keys)
            head: Record = strict(body, HEAD, "A head")
            own = f"{head['ledger'][:16]}/{head['made_at'][:7]}/{head['event']:012}-{head['sha256'][:16]}"
            need(name == f"ledger/{own}.json", "It is another one's.")
            return head | {"by": by}
    return None


def is_past(value: str) -> bool:
    return value != "" and datetime.fromisoformat(value) <= datetime.now(UTC)


def a_time(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (ValueError, TypeError):
        return False


def by_name(value: Any, right: Callable[[Any], bool], most: int) -> bool:
    there = isinstance(value, dict) and list(value) == sorted(value, key=str.encode) and len(value) <= most
    return there and all(right(each) for each in value.values())


TEXT = matching(recover.PRINTABLE + "{0,1000}")
NUMBER = integers(1, 99_999_999)
TIME = {"at": lambda value: TEXT(value) and a_time(value)}
MARKS = {
    "quarantine": {
        "backup_id": TEXT, "number": NUMBER, "state": matching("quarantined|released"),
        "reason": TEXT, "incident": TEXT, "by": TEXT, **TIME,
    },
    "deletion": {
        "backup_id": TEXT, "number": NUMBER, "state": matching("marked|undeleted|deleted"),
        "after": lambda value: value == "" or TIME["at"](value), "reason": TEXT, "run": TEXT, "by": TEXT,
        **TIME,
    },
}  # fmt: skip
HEAD = {
    "ledger": 32, "event": integers(1, (1 << 64) - 1), "at": a_time, "sha256": 32, "made_at": a_time,
    "trust": integers(0, 99_999_999),
    "backups": lambda value: by_name(value, lambda each: type(each) is str and each != "", 1_000),
    "marks": lambda value: by_name(value, NUMBER, 4_000),
}  # fmt: skip


# -- trust lists (section 12) ----------------------------------------------------------------------

TRUST = {
    "number": integers(1, 99_999_999),
    "distrusted": [{"key": 32, "since": lambda value: TEXT(value) and a_time(value), "reason": TEXT}],
    "successor": (32, None), "made_at": lambda value: TEXT(value) and a_time(value),
}  # fmt: skip
Listed = dict[str, tuple[int, dict[str, str]]]


def read_lists(store: Store, pins: Iterable[str]) -> Listed:
    """Return the number of each pinned installation's highest trust list, and the keys that it distrusts.

    The installation that follows one is pinned too. If none is pinned, each counts for what it made.
    """
    signed: dict[str, list[Record]] = {}
    for name in store.names("trust"):
        with suppress(Failure):
            made, by = read_list(store, name)
            signed.setdefault(by, []).append(made)
    found: Listed = {}
    everybody: dict[str, str] = {}
    for pin in pins or signed:
        chain = followed(pin, signed)
        number = max((each["number"] for own in chain.values() for each in own), default=0)
        counting = [each for own in chain.values() for each in own if each["number"] == number]
        leaked = {o["key"]: f"{o['since']}: {o['reason']}" for each in counting for o in each["distrusted"]}
        if pins:
            everybody |= leaked
            found |= {one: (max(number, found.get(one, (0,))[0]), everybody) for one in chain}
        else:
            found[pin] = (number, leaked)
    return found


def read_list(store: Store, name: str) -> tuple[Record, str]:
    """Return a list under its own name, and which installation signed it; anybody can put others there."""
    match, part = re.fullmatch(r"trust/([0-9]{8})\.json(\.r[1-9])?", name), store.get(name)
    need(match and part, "It is no trust list.")
    body, by = recover.signed_body(part.whole(MIB) if part else b"", "trust", Keys({}))
    made: Record = strict(body, TRUST, "A trust list")
    keys = [each["key"] for each in made["distrusted"]]
    need(match and made["number"] == int(match[1]) and recover.ascending(keys), "It is another list.")
    return made, by


def followed(pin: str, signed: dict[str, list[Record]]) -> dict[str, list[Record]]:
    """Return the highest lists of an installation and of each that follows it."""
    chain: dict[str, list[Record]] = {}
    following = [pin]
    while following:
        one = following.pop()
        if one not in chain:
            highest = max((each["number"] for each in signed.get(one, [])), default=0)
            chain[one] = [each for each in signed.get(one, []) if each["number"] == highest]
            keys = [unhex(each["successor"]) for each in chain[one] if each["successor"]]
            following += ["sr1:" + sha256(key).hex() for key in keys]
    return chain


# -- backup files (section 9), and other files ---------------------------------------------------

FILE = b"SRBF\r\n\x1a\n"
NAME = "[A-Za-z0-9_-][A-Za-z0-9._-]*"
OBJECT = {"name": matching(f"{NAME}(/{NAME})*"), "offset": int, "size": int, "sha256": 32}


@dataclass(frozen=True)
class Object(Part):
    """An object of a backup file, with its digest in hex."""

    sha256: str

    def whole(self, most: int = 64 * MIB) -> bytes:
        content = super().whole(most)
        need(sha256(content).hex() == self.sha256, "It was changed.")
        return content


def open_file(part: Part) -> dict[str, Object]:
    """Return a backup file's objects by their names."""
    tail = recover.check_ends(part, FILE, b"\0\1", b"\nSRBFEND", 62)
    length = int.from_bytes(tail[-52:-48], "big")
    end, at, objects = part.size - 52 - length, 10, dict[str, Object]()
    need(length <= 64 * MIB and end >= at, "There is no room for the index.")
    index = part.read(end, length)
    need(sha256(index) == tail[-48:-16], "The index was changed.")
    for each in strict(index, {"objects": [OBJECT]}, "The index")["objects"]:
        need(each["offset"] == at and each["name"] not in objects, "An object is misplaced.")
        objects[each["name"]] = Object(part.path, part.start + at, each["size"], each["sha256"])
        at += each["size"]
    need(at == end, "The objects do not fill the file.")
    return objects


class FileStore(Store):
    """The objects of a backup by their names, in a backup file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.objects = open_file(Part.of(path))

        for name in sorted(self.objects):
            parts = name.split("/")
            for depth in range(1, len(parts)):
                folder, below = "/".join(parts[:depth]), "/".join(parts[: depth + 1])
                self.listed.setdefault(folder, {})[below] = depth + 1 < len(parts)

    def list(self, folder: str) -> dict[str, bool]:
        return self.listed.get(folder, {})

    def get(self, name: str) -> Part | None:
        return self.objects.get(name)


def store_of(path: Path) -> Store:
    return Store(path) if path.is_dir() else FileStore(path)


def secrets_in_files(given: argparse.Namespace, keys: Keys, losses: Losses) -> Iterator[Secret]:
    """Yield the secrets of copies of targets, backup files, manifests, names and lone containers."""
    whole, envelopes = given.whole, getattr(given, "envelopes", ())
    pieces: dict[tuple[str, int], set[int]] = {}
    for path in without_twins(given.file):
        head = b"" if path.is_dir() else Part.of(path).read(0, 64)
        if path.is_dir() or head.startswith(FILE):
            yield from recover.secrets_of(whole(store_of(path), keys, losses), given)
        elif head.startswith(b'{"format":"strongroom-manifest'):
            named = argparse.Namespace(
                **vars(given) | {"backup": re.sub(r"\.json(\.r[1-9])?$", "", path.name)}
            )
            yield from recover.secrets_of(whole(Store(beside(path)), keys, losses), named)
        elif head.startswith(b'{"format":"strongroom-metadata'):
            said = f"'{path}' holds no values: --list shows the names in it."
            need(not given.out and given.get is None, said, "Missing")
            about, rows = read_names(path.read_bytes())
            note(
                f"piece {about['piece'] + 1} of {about['pieces']} of backup {about['backup_id']}, not signed"
            )
            yield from rows
        else:
            with losses.within(str(path)):
                container = open_lone(Part.of(path), keys, envelopes)
                sure = "" if keys.signers else " (not checked: no --signer)"
                note(f"sealed by installation {container.signer}{sure}")
                there = container.index["backup_id"], container.index["pieces"]
                pieces.setdefault(there, set()).add(container.index["piece"])
                yield from container.secrets(losses, given.get)
    for (backup, count), came in pieces.items() if given.get is None else ():
        if len(came) < count:
            said = f"{len(came)} of the {count} pieces of backup {backup} were given."
            losses.add(Failure("Missing", said), "the rest")


def without_twins(paths: list[Path]) -> list[Path]:
    """Leave out containers that lie in the copy of a target whose manifest was given, too: it reads them."""
    homes = {beside(path) for path in paths if path.parent.resolve().name == "manifests"}
    folders = [home / "containers" for home in homes]
    return [path for path in paths if not any(path.resolve().is_relative_to(each) for each in folders)]


def beside(manifest: Path) -> Path:
    """Return the copy of a target that a manifest lies in."""
    home = manifest.resolve().parent
    said = "A manifest alone holds no secret. Give the directory that has manifests/ and containers/ in it."
    need(home.name == "manifests", said, "Missing")
    return home.parent


def open_lone(part: Part, keys: Keys, newer: Sequence[Record] = ()) -> Container:
    """Open a container without a manifest, with the newest envelope of its wrapping key that is given."""

    def newest(own: Record) -> Record | None:
        same = [record for record in newer if record["id"] == own["id"]]
        return newest_of(same, own) if same else None

    return recover.open_container(part, keys, newer=newest)


def newest_of(records: Sequence[Record], own: Record) -> Record:
    newest = max(records, key=lambda record: record["generation"])
    right = newest["id"] == own["id"] and newest["generation"] > own["generation"]
    need(right, "The given envelope is not newer, or it belongs to another wrapping key.")
    return newest


@dataclass(frozen=True)
class WithNewer(Backup):
    """A backup to which envelopes were given."""

    envelopes: tuple[Record, ...] = ()

    def newest(self, own: Record, keys: Keys) -> Record | None:
        given = [record for record in self.envelopes if record["id"] == own["id"]]
        return newest_of(given, own) if given else super().newest(own, keys)


def read_newer(paths: Sequence[Path], keys: Keys) -> Iterator[Record]:
    """Yield the envelopes that were given; one among many may be a stranger's, and must not block."""
    refused = []
    for path in paths:
        try:
            yield recover.read_envelope(path.read_bytes(), keys)
        except Failure as failure:
            note(f"left aside: {path}: {failure}")
            refused.append(failure)
    if refused and len(refused) == len(paths):
        raise refused[0]


def unzstd(frame: bytes, length: int) -> bytes:
    """Decompress one frame of exactly the stated size with what Python 3.14 brings."""
    usable(sys.version_info >= (3, 14), "zstandard is not installed: pip install zstandard, or Python 3.14.")
    from compression import zstd  # type: ignore[import-not-found]

    opened = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: 25})
    data: bytes = opened.decompress(frame, max_length=length + 1)
    need(opened.eof and not opened.unused_data and len(data) == length, "A frame is damaged.")
    return data


# -- backups of names only (section 8) -----------------------------------------------------------

ABOUT = {"backup_id": str, "piece": int, "pieces": int, "source": str, "policy": str, "created_at": str}
NAMED_VERSION = {"number": int, "state?": matching("deleted|destroyed"), "created_at?": str}
NAMED = {name: shape for name, shape in recover.ROW.items() if name != "metadata?"} | {
    "versions": lambda value: (
        value and fits(value, [NAMED_VERSION]) and recover.ascending([each["number"] for each in value])
    ),
    "tags?": lambda value: recover.texts(value) and value and list(value) == sorted(value),
}


def read_names(data: bytes) -> tuple[Record, list[Secret]]:
    """Read a metadata document: what it says of itself, and each secret's names and dates."""
    recover.check_document(data, "metadata")
    end = re.search(rb',\n"digest":"sha256:([0-9a-f]{64})",\n"length":"\d{12}"\}\n\Z', data)
    if end is None or sha256(data[: end.start()]).hex().encode() != end[1]:
        raise Failure("Damaged", "The document was changed.")
    lines = data[: end.start()].split(b"\n")
    right = len(lines) >= 4 and lines[2] == b'"secrets":[' and lines[-1] == b"]"
    need(right and lines[1].startswith(b'"about":') and lines[1].endswith(b","), "The document is misshapen.")
    about: Record = strict(lines[1][8:-1], ABOUT, "The document")
    need(0 <= about["piece"] < about["pieces"], "The piece is out of bounds.")
    rows = lines[3:-1]
    need(all(row.endswith(b",") for row in rows[:-1]), "The lines are not separated as they must be.")
    need(max(map(len, rows), default=0) <= 16 * MIB, "A line is too long.")
    return about, [read_name(row) for row in (*(row[:-1] for row in rows[:-1]), *rows[-1:])]


def read_name(line: bytes) -> Secret:
    return Secret(strict(line, NAMED, "A line"), line + b"\n", ())


def secrets_of_names(part: Part, whole: bool, manifest: Record, entry: Record) -> list[Secret]:  # noqa: FBT001
    """Return the secrets of a document, which is joined with its manifest: its digest alone ties it there."""
    need(whole, "It is not what the manifest names.")
    about, secrets = read_names(part.whole(1 << 40))
    here = [about[name] for name in ("backup_id", "policy", "source", "piece", "pieces")]
    there = [manifest["backup_id"], manifest["policy"], manifest["source"], entry["piece"]]
    there += [len(manifest["containers"]), entry["secrets"]]
    need([*here, len(secrets)] == there, "The document and its manifest differ.")
    return secrets


# -- old files (section 10) ----------------------------------------------------------------------


def open_legacy(data: bytes, passphrases: Sequence[str]) -> bytes:
    """Open an old Fernet file."""
    need(data[16:21] == b"gAAAA", "This is not an old file.")
    token = data[16:]
    need(re.fullmatch(rb"[A-Za-z0-9_-]+={0,2}", token), "The old file's token is not base64.")
    raw = len(token.rstrip(b"=")) * 3 // 4
    whole = len(token) % 4 == 0 and raw >= 73 and (raw - 57) % 16 == 0
    need(whole, "The old file ends too early.")
    for words in passphrases:
        key = hashlib.pbkdf2_hmac("sha256", words.encode(), data[:16], 100_000, 32)
        try:
            return Fernet(base64.urlsafe_b64encode(key)).decrypt(token)
        except (InvalidToken, ValueError):
            continue
    raise Failure("CannotOpen", "The passphrase is wrong, or the file is damaged: this format cannot tell.")


# -- X25519 keys, a quorum's key, and keys that are needed together (section 2) ------------------


def dhkem(kem: int, dh: bytes, enc: bytes, public: bytes) -> bytes:
    """Finish the Decap of a DHKEM (RFC 9180, 4.1) from what Diffie-Hellman gave."""
    name, size = ("sha384", 48) if kem == 0x11 else ("sha256", 32)
    suite = b"KEM" + kem.to_bytes(2, "big")
    prk = recover.labeled(name, suite, b"", b"eae_prk", dh)
    return recover.labeled(name, suite, prk, b"shared_secret", enc + public, size)


def open_with_x25519(scalar: bytes, args: Record, context: bytes) -> bytes | None:
    key = X25519PrivateKey.from_private_bytes(scalar)
    public = key.public_key().public_bytes_raw()
    if args["kem"] != 0x20:
        return None
    need(fits(args["sealed"], 80), "A stanza is not as it must be.")
    if sha256(public).hex() != args["key"]:
        return None
    enc, sealed = unhex(args["sealed"])[:32], unhex(args["sealed"])[32:]
    try:
        dh = key.exchange(X25519PublicKey.from_public_bytes(enc))
    except ValueError:  # a point of small order: RFC 9180 has it refused
        return None
    return recover.open_hpke(
        0x20, dhkem(0x20, dh, enc, public), b"strongroom/v1/wrap/hpke/" + context, sealed
    )


def open_with_quorum(seed: bytes, args: Record, context: bytes) -> bytes | None:
    return recover.open_with_xwing(seed, args, b"strongroom/v1/wrap/quorum/" + context)


def open_all_of(args: Record, context: bytes, keys: Keys) -> Iterator[bytes]:
    """Yield what the keys at hand make of a stanza that needs a key of every leg."""
    need(fits(args, ALL_OF), "A stanza is not as it must be.")
    legs, data = legs_of(args)
    info = b"strongroom/v1/wrap/all-of/" + sha256(data) + context
    shares = []
    for place, leg in enumerate(legs):
        bound = leg_context(place, legs, context)
        shares.append(list(of_leg(leg, bound, keys)))
    for chosen in itertools.product(*shares):
        opened = unwrap(b"".join(chosen), args, info)
        if opened is not None:
            yield opened


def cost_of_legs(args: Record) -> int:
    """Return what passphrases in an all-of stanza cost; one that is malformed is never tried."""
    try:
        need(fits(args.get("legs"), ALL_OF["legs"]), "The legs are no hex.")
        return recover.cost([stanza for leg in legs_of(args)[0] for stanza in leg])
    except Failure:
        return 0


def of_leg(leg: list[Record], context: bytes, keys: Keys) -> Iterator[bytes]:
    """Yield what the keys at hand make of a leg; a stanza that is odd hides none of its spares."""
    odd, some = list[Failure](), False
    for stanza in leg:
        try:
            for share in recover.candidates(stanza, context, keys):
                some = True
                yield share
        except Failure as failure:
            odd.append(failure)
    if odd and not some:
        raise next((failure for failure in odd if failure.args[0] == "Damaged"), odd[0])


def any_hex(least: int, most: int) -> Callable[[Any], bool]:
    return matching(f"([0-9a-f]{{2}}){{{least},{most}}}")


ALL_OF = {"legs": any_hex(1, 131_072), **recover.WRAPPED}


def legs_of(args: Record) -> tuple[list[list[Record]], bytes]:
    """Return the stanzas of an all-of stanza by leg, and their encoding."""
    data = unhex(args["legs"])
    legs: list[list[Record]] = strict(data, [[recover.STANZA]], "A list of legs")
    need(2 <= len(legs) <= 8 and all(1 <= len(leg) <= 8 for leg in legs), "The legs are out of bounds.")
    need(all(stanza["type"] != "all-of" for leg in legs for stanza in leg), "An all-of is inside another.")
    return legs, data


def leg_context(place: int, legs: Sequence[object], context: bytes) -> bytes:
    return b"strongroom/v1/wrap/all-of/leg/" + bytes([place, len(legs)]) + context


# -- keys in an HSM, or its copy in a safe -------------------------------------------------------


@dataclass(frozen=True)
class Hsm:
    """Something that does a Diffie-Hellman, and maybe unwraps, with keys that it keeps.

    ``agree`` takes the SHA-256 of a public point, a version and the other side's point; it returns the
    shared x-coordinate and our public point, or None if it has no such key.
    """

    agree: Callable[[bytes, int, bytes], tuple[bytes, bytes] | None]
    unwrap: Callable[[int, bytes], bytes | None] = lambda version, wrapped: None


def software(private: ec.EllipticCurvePrivateKey) -> Hsm:
    """Use a copy of the private key in the HSM's place."""
    public = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def agree(name: bytes, version: int, enc: bytes) -> tuple[bytes, bytes] | None:
        if sha256(public) != name or len(enc) != len(public):
            return None
        try:
            other = ec.EllipticCurvePublicKey.from_encoded_point(private.curve, enc)
        except ValueError:
            return None
        return private.exchange(ec.ECDH(), other), public

    return Hsm(agree)


def pkcs11_session(module: str, label: str, pin: str) -> Any:
    """Log in to a token, once: a wrong PIN is not tried again."""
    try:
        import pkcs11
    except ImportError:
        raise Failure("CannotOpen", "An HSM needs the package python-pkcs11: see README.md.") from None
    try:
        return pkcs11.lib(module).get_token(token_label=label).open(user_pin=pin)
    except pkcs11.PKCS11Error as error:
        kinds = f"{type(error).__name__} {error}".strip()
        raise Failure(
            "CannotOpen", f"The HSM does not let us in ({kinds}). Nothing was tried twice."
        ) from None


def told(use: Callable[..., Any]) -> Callable[..., Any]:
    """Name what an HSM does not do, or not any more."""
    import pkcs11

    def used(*words: Any) -> Any:
        try:
            return use(*words)
        except pkcs11.PKCS11Error as error:
            raise Failure("CannotOpen", f"The HSM does not do it ({type(error).__name__} {error}).") from None
        except AttributeError:  # what the token does not allow its key, the binding does not offer
            raise Failure("CannotOpen", "The HSM does not allow its key this use.") from None

    return used


def pkcs11_token(module: str, label: str, pin: str) -> Hsm:
    """Return what an HSM does with the keys of a token that never leave it."""
    session = pkcs11_session(module, label, pin)
    import pkcs11

    attribute, kind = pkcs11.Attribute, pkcs11.ObjectClass

    def find(**wanted: Any) -> list[Any]:
        return list(session.get_objects({attribute[name]: value for name, value in wanted.items()}))

    def agree(name: bytes, version: int, enc: bytes) -> tuple[bytes, bytes] | None:
        for public in find(CLASS=kind.PUBLIC_KEY, ID=version.to_bytes(2, "big")):
            point = bytes(public[attribute.EC_POINT])[-len(enc) :]  # after the DER octet string's head
            if sha256(point) != name:
                continue
            private = find(CLASS=kind.PRIVATE_KEY, ID=version.to_bytes(2, "big"), LABEL=public.label)
            usable(private, f"The HSM has the public half of '{public.label}' alone.")
            secret = private[0].derive_key(
                pkcs11.KeyType.GENERIC_SECRET,
                8 * (len(enc) // 2),
                mechanism=pkcs11.Mechanism.ECDH1_DERIVE,
                mechanism_param=(pkcs11.KDF.NULL, None, enc),
                template={attribute.SENSITIVE: False, attribute.EXTRACTABLE: True},
            )
            return bytes(secret[attribute.VALUE]), point
        return None

    def unwrap_(version: int, wrapped: bytes) -> bytes | None:
        for key in find(CLASS=kind.SECRET_KEY, ID=version.to_bytes(2, "big")):
            try:
                made = key.unwrap_key(
                    kind.SECRET_KEY,
                    pkcs11.KeyType.GENERIC_SECRET,
                    wrapped,
                    mechanism=pkcs11.Mechanism.AES_KEY_WRAP,
                    template={
                        attribute.TOKEN: False,
                        attribute.SENSITIVE: False,
                        attribute.EXTRACTABLE: True,
                    },
                )
            except pkcs11.PKCS11Error:
                continue
            return bytes(made[attribute.VALUE])
        return None

    return Hsm(told(agree), told(unwrap_))


def open_with_hsm(hsm: Hsm, args: Record, context: bytes) -> bytes | None:
    """Open a stanza for an EC key in an HSM."""
    kem, sealed, version = args["kem"], unhex(args["sealed"]), args["version"]
    need(len(sealed) == {16: 113, 17: 145}[kem], "A stanza is not as it must be.")
    enc, rest = sealed[:-48], sealed[-48:]
    need(len(enc) == {16: 65, 17: 97}[kem], "A stanza is not as it must be.")
    agreed = hsm.agree(unhex(args["key"]), version, enc)
    if agreed is None:
        return None
    info = b"strongroom/v1/wrap/pkcs11-ec/" + struct.pack(">H", version) + context
    return recover.open_hpke(kem, dhkem(kem, agreed[0], enc, agreed[1]), info, rest)


def open_with_unwrapped(key: Hsm | bytes, args: Record, context: bytes) -> bytes | None:
    """Open a stanza for an AES key in an HSM, which unwraps; or whose answer is at hand."""
    if isinstance(key, Hsm):
        key = key.unwrap(args["version"], unhex(args["data_key"])) or b""
    info = b"strongroom/v1/wrap/pkcs11-aes/" + struct.pack(">H", args["version"]) + context
    return unwrap(key, args, info) if key else None


# -- keys in Vault or AWS KMS, and what to do for any key that is not at hand --------------------


def open_with_answer(answer: bytes, args: Record, context: bytes) -> bytes | None:
    return unwrap(answer, args, b"strongroom/v1/wrap/transit/" + context)


def take_answer(answer: bytes, args: Record, context: bytes) -> bytes:
    """Take an answer of KMS's for the wrapping key: the record's MAC tells whether it is this one's."""
    return answer


VERSIONED, PUBLIC = integers(1, 65_535), OPENERS["hpke"][0]
SHAPES: dict[str, Record] = {
    "pkcs11-ec": {"kem": integers(16, 17), "key": 32,
        "sealed": lambda value: fits(value, 113) or fits(value, 145), "version": VERSIONED},
    "pkcs11-aes": {"data_key": 40, "key": 16, "salt": 32, "version": VERSIONED, "wrapped": 48},
    "transit": {"data_key": 60, "key": 16, "salt": 32, "version": integers(1, 1 << 31), "wrapped": 48},
    "kms": {"arn": any_hex(1, 2048), "blob": any_hex(1, 6144)},
}  # fmt: skip
OPENERS.update(
    {
        "quorum": (PUBLIC, open_with_quorum),
        "pkcs11-ec": (SHAPES["pkcs11-ec"], open_with_hsm),
        "pkcs11-aes": (SHAPES["pkcs11-aes"], open_with_unwrapped),
        "transit": (SHAPES["transit"], open_with_answer),
        "kms": (SHAPES["kms"], take_answer),
    }
)


@dataclass(frozen=True)
class Questions:
    """The names of the keys whose services are to be asked, and the commands for that."""

    names: Sequence[str]
    commands: dict[str, None]


class Unopened(Losses):
    """Losses of a reading for the sake of what to ask: that nothing opens yet is none to tell."""

    def add(self, failure: Failure, what: str, secrets: int = 0, verb: str = "LOST") -> None:
        if failure.args[0] == "CannotOpen":
            self.first = self.first or failure
        else:
            super().add(failure, what, secrets, verb)


def ask(given: argparse.Namespace, keys: Keys) -> int:
    """Print what a service has to be asked, as commands."""
    losses, [questions] = Unopened(), keys.held["--ask"]
    for _ in recover.secrets_in(given, keys, losses):
        pass
    if losses.first and (losses.first.args[0] != "CannotOpen" or not questions.commands):
        raise losses.first
    usable(questions.commands, "No key of that name in Vault or KMS opens it: see --list.")
    for command in questions.commands:
        recover.say(command, "echo")  # each answer on its line
    note("Run these where the service can be reached, logged in; give what they print with --answers.")
    return 0


def instructions(stanzas: list[Record], context: bytes, keys: Keys) -> list[str]:
    """Say who or what opens each stanza, and what to do for it; note what --ask asks for."""
    for questions in keys.held.get("--ask", ()):
        asked = commands(stanzas, context, questions.names, keys.held["--transit"])
        questions.commands.update(dict.fromkeys(asked))
    return [line for each in stanzas for line in todo(each, context, keys.held.get("--transit", ()))]


def commands(
    stanzas: list[Record], context: bytes, names: Sequence[str], transit: Sequence[str]
) -> Iterator[str]:
    """Yield the commands whose answers open the stanzas of the keys with these names."""
    for stanza in stanzas:
        kind, args = stanza["type"], stanza["args"]
        if kind == "all-of":
            legs = legs_of(args)[0]
            for place, leg in enumerate(legs):
                yield from commands(leg, leg_context(place, legs, context), names, transit)
        elif stanza["label"] in names and kind in ("transit", "kms"):
            need(fits(args, SHAPES[kind]), "A stanza is not as it must be.")
            asked = _kms(args, context) if kind == "kms" else _transit(args, transit)
            lacking = "--transit MOUNT/KEY has to name its key, and does not."
            usable(asked, _NO_KMS if kind == "kms" else lacking)
            yield asked


def todo(stanza: Record, context: bytes, transit: Sequence[str] = ()) -> list[str]:
    """Say who or what opens a stanza, and what to do for it."""
    kind, args = stanza["type"], stanza["args"]
    name = f"{'passphrase' if kind == 'scrypt' else kind} {stanza['label']}".strip()
    try:
        if kind == "all-of":
            legs = legs_of(args)[0]
            lines = [f"{name}, all of these together:"]
            for place, leg in enumerate(legs):
                bound = leg_context(place, legs, context)
                lines += [f"    {place + 1}. {line}" for each in leg for line in todo(each, bound, transit)]
            return lines
        return [f"{name}: {instruction(kind, args, context, transit)}"]
    except (KeyError, ValueError, TypeError, Failure):  # nobody has checked this stanza yet
        return [f"{name}: it is malformed"]


def instruction(kind: str, args: Record, context: bytes, transit: Sequence[str]) -> str:
    if kind not in ("transit", "kms"):
        return HELP.get(kind, lambda _: "use a newer recover.py")(args)
    asked = _kms(args, context) if kind == "kms" else _transit(args, transit) or _transit(args, (), "KEY")
    where = " (KEY: see the recovery kit)" if "/KEY " in asked else ""
    return f"run '{asked}'{where}, and give what it prints with --answer" if asked else _NO_KMS


_NO_KMS = "it names no key of AWS KMS"


def _transit(args: Record, transit: Sequence[str], unknown: str = "") -> str:
    path = next(
        (name for name in transit if transit_id(name) == args["key"]), unknown and f"transit/{unknown}"
    )
    if not path:
        return ""
    mount, _, key = path.strip("/").rpartition("/")
    ciphertext = base64.b64encode(unhex(args["data_key"])).decode()
    asked = f"write -field=plaintext {quote(f'{mount}/decrypt/{key}')} ciphertext=vault:v"
    return f"{'vault' if unknown else _VAULT} {asked}{int(args['version'])}:{ciphertext}"


_VAULT = '"$(command -v bao || command -v vault)"'


def transit_id(name: str) -> str:
    """Return what a stanza calls a key of the transit engine, by its mount and name."""
    return sha256(b"strongroom/v1/transit-id/" + name.strip("/").encode())[:16].hex()


def _kms(args: Record, context: bytes) -> str:
    arn = re.fullmatch(rb"arn:[a-z-]+:kms:([a-z0-9-]+):[0-9]+:key/[A-Za-z0-9-]+", unhex(args["arn"]))
    if arn is None:  # whoever wrote it may want a command of theirs to be typed
        return ""
    blob = base64.b64encode(unhex(args["blob"])).decode()
    return (
        f"echo {blob} | base64 -d | aws kms decrypt --region {arn[1].decode()} --key-id {arn[0].decode()} "
        f"--encryption-context strongroom={context.hex()} --ciphertext-blob fileb:///dev/stdin "
        "--output text --query Plaintext"
    )


def _in_hsm(args: Record) -> str:
    return f"plug in the HSM (its key has the id {args['version']:04x}); give --hsm MODULE --token LABEL"


HELP: dict[str, Callable[[Record], str]] = {
    "passphrase": lambda _: "give --passphrase",
    "scrypt": lambda _: "give --passphrase",
    "keyfile": lambda _: "give --key-file FILE",
    "hpke": lambda _: "give --private-key FILE",
    "quorum": lambda args: "bring custodians together; give --shares",
    "pkcs11-ec": _in_hsm,
    "pkcs11-aes": _in_hsm,
}


# -- shares of a quorum (SLIP-39) ----------------------------------------------------------------

# Every word of SLIP-39's list begins with four letters of its own; these are they, in order.
WORDS = """
acadacidacneacquacroactiactradapadeqadjuadmiadoraduladvaadvoafraagaiagenagreaideaircairlairpajar
alaralbualcoaliealivalphalrealtoalumalwaamazambiamouamusanalanatanceanciangeangranimanswanteanxi
aparaquaarcaarenarguarmeartiartwaspeauctauguauntaveraviaavoiawarawayaxisaxlebeambearbeavbecobedr
behabeinbelibelobenebestbeyobikebiolbirtbishblacblanblesblimblinbluebodyboltboribornbothbounbrac
branbravbreabriebrokbrotbrowbuckbudgbuilbulbbulgbumpbundburdburnbusybuyecagecalccamecampcanycapa
capicaptcarbcardcarecargcarpcarvcatecausceilcentcerachamchancharchecchemcheschewchubcineciviclas
claycleaclieclimclinclocclogclosclotclubcluscoalcoascodicolucompcorncostcouncourcovecowbcradcraf
crazcredcriccrimcriscritcrowcruccruncruscryscubicultcuricurlcustcylidaisdamadancdarkdatadaugdead
dealdebrdebudecedecidecldecodecrdelidemadensdenydepadepedepidepldescdesedesideskdestdetadetedevi
devodiagdictdietdiledimidinidipldisadiscdisedishdismdispdistdivedivodocudomadomedomidougdowndrag
dramdreadresdrifdrindrovdrugdryeduckdukeduradwardynaearlearteaseeasyechoecliecoledgeediteduceith
elboeldeelecelegelemelepelevelitelseemaiemeremisempeemphemplemptendiendlendoenemenerenfoengaenjo
enlaentrenveenvyepidepisequaequieraserodescaestaestievalevenevidevilevokexacexamexceexchexclexcu
execexerexhaexotexpaexpeexplexprexteextreyebfacifactfailfainfakefalsfamifamofancfangfantfatafati
favofawnfibefictfiltfinafindfingfirefirmfiscfishfitnflamflasflavfleaflexflipfloaflorfluffocuforb
forcforeforgformfortforwfounfracfragfreqfresfriafridfriefrosfrotfrozfumefundfurlfusegalagamegarb
gardgarlgasogathgenegenigenrgenugeolgestgladglanglasglenglimgoatgoldgradgrangrasgravgraygreagrie
grilgringrocgrosgrougrowgrumguarguesguilguitgumshairhamshandhangharvhavehavohawkhazaheadhealhear
heathelpheraherdhesihoboholiholyhomehormhosphourhugehumahumihunthusbhushhuskhybrideaidenidleimag
impaimplimprimpuinclincoincrindeindiinduinfainfoinheinjuinmainseinsiinstinteintiinvainvoirisisla
isolitemivorjackjerkjewejoinjudijuicjumpjuncjunijunkjuryjustkernkeybkidnkindkitcknifknitladeladl
ladylairlamplanglarglaselaunlawsleadleaflearleavlectlegalegelegslendlenglevelibelibrliceliftlike
lilalilylipsliqulistlitelivilizaloanlobelocalosiloudloyalucklunalunclungluxulyinlyrimachmagamaid
mailmainmakemakimamamanamandmansmanumaramarcmarkmarvmasomatemathmaximayomeanmedamedimembmemoment
mercmerimethmetrmidsmildmilimineminimiramixemixtmobimodemodimoismomemornmortmothmounmousmovemuch
mulemultmuscmusemusimustnailnatineckneganervnetwnewsnuclnumbnumenylooasiobesobjeobseobtaoceaofte
olymomitoraloranorbiordeordiorgaouncovenoverownepacepacipackpaidpainpajapancpantpapapapeparcpark
partpatepatrpaympayrpeacpeanpeaspecapenapencpercperfpermpetiphanpharphotphraphyspickpictpiecpile
pinkpipepistpitcplaiplanplasplatplaypleaplotplunpracpraypreapredpregprempreppresprevprieprimprio
prisprivprizprobprocprofprogpromprosprovprunpublpulspumppunipunypupapurcpurppythquanquarquicquie
raceraciradarailrainraisrandrankrapiraspreacrealreboreburecarecerecoregrregurejerelaremeremiremo
rendreparepereplrequrescreseresirespresuretaretrreunreverevirewarhymrhytrichrivariverobirockroma
romprostrounroyaruinrulerumosacksafasalasalosaltsatisatosavesaysscanscarscatscenschosciescouscra
screscriscroseafseassecrsecusegmsenishadshafshamshapsharshelshershorshoushrisidesilesilvsimisimp
singsistskinskunslapslavsledslicslimslowslussmarsmeasmelsmirsmitsmoksmugsnaksnapsnifsocisoftsold
solusoulsourspacsparspeaspecspelspenspewspidspilspinspirspitsprasprisquasquestadstafstanstarstat
staysteastepsticstilstorstrastristylsubjsubmsugasuitsunlsupesurfsurpsurvsweaswimswinswitsymbsymp
syndsysttacktacttadptaletasktasttaugtaxiteacteamteastemptenatendtenstermtesttextthanthattheatheo
therthorthrethumthunticktidytimbtimetingtofutogetoletotatoxitractraftraitrantrastravtreatrentria
trictriptriutroutruetrustwictwintypetypiuglyultiumbruncoundeunfaunfounhauniounivunkiunknunusunwr
upgrupstuserusheusuavalivaluvampvanivarivegavelvventverdveriveryvetevexevictvideviewvintviolvira
visivisuvitavocavoicvoluvotevotiwalnwarmwarnwatcwavywealweapwebcwelcwelfwestwidtwildwindwinewire
wisdwithwitswolfwomaworkwortwrapwriswritwrotyearyelpyielyogazero
""".replace("\n", "")
PLACES = {WORDS[at : at + 4]: at // 4 for at in range(0, len(WORDS), 4)}


def read_share(text: str) -> tuple[tuple[int, int, int], int, bytes]:
    """Return what all shares of a set have in common (id, exponent, threshold), the number and the value."""
    typed = text.lower().split()
    wrong = [str(at) for at, word in enumerate(typed, 1) if word[:4] not in PLACES]
    usable(not wrong, f"Word {', '.join(wrong)} of a share is no word of a share.")
    usable(len(typed) == 33, f"A share has 33 words, and {len(typed)} were given.")
    places = [PLACES[word[:4]] for word in typed]
    usable(rs1024([*b"shamir_extendable", *places]) == 1, "A word of a share is wrong: look again.")
    bits = 0
    for place in places[:30]:
        bits = bits << 10 | place
    value, head = bits & ((1 << 256) - 1), bits >> 260
    # The head: id 15, extendable 1, exponent 4; group's index, threshold and count, index, threshold: 4 each.
    usable(
        head >> 24 & 1 and not head >> 8 & 0xFFF and not bits >> 256 & 15,
        "It is another kind of share.",
    )
    return (head >> 25, head >> 20 & 15, (head & 15) + 1), head >> 4 & 15, value.to_bytes(32, "big")


def rs1024(values: Sequence[int]) -> int:
    """The checksum of SLIP-39, which is 1 if all is right."""
    generator = (
        0xE0E040, 0x1C1C080, 0x3838100, 0x7070200, 0xE0E0009,
        0x1C0C2412, 0x38086C24, 0x3090FC48, 0x21B1F890, 0x3F3F120,
    )  # fmt: skip
    check = 1
    for value in values:
        top, check = check >> 20, (check & 0xFFFFF) << 10 ^ value
        for bit, factor in enumerate(generator):
            check ^= factor if top >> bit & 1 else 0
    return check


def join_shares(texts: Sequence[str], passphrase: bytes = b"") -> bytes:
    """Put the shares of a quorum together; return the private key's seed. Ours have no passphrase."""
    read = [read_share(text) for text in texts]
    usable(len({common for common, _, _ in read}) == 1, "The shares are of different quorums.")
    _, exponent, threshold = read[0][0]
    points = {place: value for _, place, value in read}
    usable(len(points) == len(texts), "A share was given twice.")
    usable(len(points) == threshold, f"{threshold} shares are needed, {len(points)} were given.")
    secret, check = interpolate(points, 255), interpolate(points, 254)
    right = hmac.digest(check[4:], secret, "sha256")[:4]
    usable(right == check[:4], "The shares are whole, and do not belong together.")
    left, other = secret[:16], secret[16:]
    for step in (3, 2, 1, 0):
        mask = hashlib.pbkdf2_hmac("sha256", bytes([step]) + passphrase, other, (10_000 << exponent) // 4, 16)
        left, other = other, bytes(a ^ b for a, b in zip(left, mask, strict=True))
    return other + left


def interpolate(points: dict[int, bytes], at: int) -> bytes:
    """Lagrange's interpolation over GF(256), byte by byte."""
    result = bytes(32)
    for place, value in points.items():
        factor = 1
        for other in points:
            if other != place:
                factor = times(factor, times(at ^ other, inverse(place ^ other)))
        result = bytes(a ^ times(factor, b) for a, b in zip(result, value, strict=True))
    return result


def times(a: int, b: int) -> int:
    """Multiply in GF(256) with the polynomial of AES."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a, b = a << 1 ^ (0x11B if a & 0x80 else 0), b >> 1
    return product


def inverse(a: int) -> int:
    power = a
    for _ in range(253):  # a to the 254th
        power = times(power, a)
    return power
