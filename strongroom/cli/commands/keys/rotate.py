"""rotate and rotate-backup-key: backups brought to other keys, and what the old ones still open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import to_builtins

from strongroom.cli.commands.keys.arguments import ReplaceKey, RotatePolicies
from strongroom.cli.shared import access_log, admission, passphrases, recipients
from strongroom.cli.shared.identities import load_key, with_identities
from strongroom.cli.shared.options import FurtherOpeningOptions
from strongroom.cli.shared.recipients import describe_remaining
from strongroom.cli.shared.runs import drive_here, lack_of_all
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.config import Settings, load_settings
from strongroom.errors import StrongroomError, UsageError
from strongroom.keys import Opener, Recipient
from strongroom.keys.hpke import HpkeRecipient
from strongroom.keys.keyfile import generate_key_file
from strongroom.keys.passphrase import PassphraseRecipient
from strongroom.model import ApprovalAction, Role
from strongroom.operations.engine.services import Services
from strongroom.operations.keys.replacement import Swap, swapped
from strongroom.operations.rotation.job import results, submit_rotation
from strongroom.operations.rotation.reencrypt import remove_replaced
from strongroom.operations.rotation.rewrap import RewrapOrder
from strongroom.operations.rotation.rotate import RotateOptions
from strongroom.operations.rotation.single_file import (
    FileRotated,
    file_manifest,
    reencrypt_file,
    require_same_passphrases,
    rewrap_file,
    written_files,
)
from strongroom.sheet import Lines, Part, Sheet
from strongroom.state.records import Run, RunState
from strongroom.words import nearest

# -- What a rotation did, what the old key still opens, and what is left to do ------------------


class RotationDone(NamedTuple):
    """A rotation that is over: ``backups`` are its runs' results, ``anew`` says that it re-encrypted.

    ``old`` and ``new`` are the files of a key and of what took its place, if that was asked for.
    """

    anew: bool
    runs: Sequence[Run]
    backups: Sequence[Mapping[str, Any]]
    files: Sequence[FileRotated] = ()
    failed: Sequence[tuple[Path, StrongroomError]] = ()
    old: Path | None = None
    new: Path | None = None
    made: bool = False
    installation: str = ""

    def answer(self) -> Answer:
        """Answer with all of it, and with what it lacks: a failure anywhere weighs more than that."""
        record = {
            "mode": "re-encrypt" if self.anew else "re-wrap",
            "new_key": self.new,
            "new_key_made": self.made,
            "installation": self.installation or None,
            "runs": [
                {"id": r.id, "policy": r.spec.policy, "state": r.state, "error": r.error} for r in self.runs
            ],
            "backups": self.backups,
            "files": self.files,
            "failed": [{"file": path, "code": e.code, "message": e.message} for path, e in self.failed],
            "old_key_still_opens": [*self._kept_backups(), *self._old_files()],
        }
        error = lack_of_all(self.runs, failed=[error for _, error in self.failed])
        return Answer(record=record, sheet=Sheet(parts=list(self._parts())), error=error)

    def _parts(self) -> Iterator[Part]:
        lines = []
        if self.made:
            lines.append(
                f"{self.new} was made: a new key file. Keep it away from the backups, in two places."
            )
        for run in self.runs:
            why = f": {run.error}" if run.error else ""
            lines.append(f"policy '{run.spec.policy}': rotation {run.id} {run.state}{why}")
        lines += [*map(_backup_line, self.backups), *map(_file_line, self.files)]
        lines += [f"{path}: not rotated: {error.code}: {error.message}" for path, error in self.failed]
        about = bool(self.backups or self.files or self.failed)
        if not about and all(run.state is RunState.DONE for run in self.runs):
            lines.append("Nothing to rotate: there is no backup that this is about.")
        if about and self.installation:
            same = "The fingerprint to give elsewhere (--signer) is the same as before"
            lines.append(f"{same}: {self.installation}")
        yield Lines(lines)
        if about:
            yield from self._left()

    def _kept_backups(self) -> list[Mapping[str, Any]]:
        return [copy for result in self.backups for copy in result.get("still", ())]

    def _old_files(self) -> list[dict[str, str]]:
        """Return the files that the old key opens: those kept, or by the envelope in their containers."""
        left = [file.kept if self.anew else file.file for file in self.files]
        return [{"file": name, "until": ""} for name in left if name]

    def _left(self) -> Iterator[Part]:
        opens = []
        for kept_backup in self._kept_backups():
            what = "the index of names of backup" if kept_backup.get("names") else "backup"
            opens.append(
                f"{what} {kept_backup['backup']} on {kept_backup['target']}, "
                f"{describe_remaining(kept_backup)}"
            )
        opens += [f"{old_file['file']}, until it is deleted" for old_file in self._old_files()]
        if not opens:
            return
        old = self.old or "a key that was rotated away"
        copies = "every copy that was taken of any of these: offline media, snapshots of a target"
        yield Lines([*opens, copies], f"What {old} still opens", style="list")
        to_do = ["If the old key may be in wrong hands, rotate the secrets themselves too."]
        if self.runs and self.new:
            to_do.append(f"In strongroom.toml, replace {old} by {self.new}: new backups are sealed to it.")
        yield Lines(to_do)


def _backup_line(result: Mapping[str, Any]) -> str:
    if new := result.get("new"):
        gone = f"; the old one is gone from {', '.join(result['removed'])}" if result.get("removed") else ""
        return f"  backup {result['backup']}: re-encrypted as {new} (verified: {result['verified']}){gone}"
    keys = [key for key in (*result.get("keys", ()), *result.get("indexes", ())) if key["made"]]
    why = result.get("unopened")
    left = f"; its index of names opens as before ({why})" if why else ""
    if not keys:
        return f"  backup {result['backup']}: nothing to do{left}"
    tried = "opened with the new key" if all(key["opened_by"] for key in keys) else "read back; not opened"
    of_names = sum(key["made"] for key in result.get("indexes", ()))
    names = f", {of_names} of them of an index of names" if of_names else ""
    return f"  backup {result['backup']}: {plural(len(keys), 'key')} re-wrapped{names} ({tried}){left}"


def _file_line(file: FileRotated) -> str:
    if not file.changed:
        return f"{file.file}: nothing to do; opens for {'; '.join(file.now)}"
    return f"{file.file}: now opens for {'; '.join(file.now)} (verified: {file.verified})"


# -- keys replace: from one key to another, over every backup that this installation knows ------


def rotate_key(given: ReplaceKey, output: Output) -> Answer:
    _check(given)
    installation, settings = place.find(), load_settings()
    made = _make_new(given.keys.new_key)
    swap = _swap(given, output, installation)
    services = open_services(settings)
    _require_approved(given, swap, services, installation)
    trusted = admission.trusted_signers(installation, given.trust.signer) | services.signer_fingerprints
    policies = list(_policies(given, settings, services, swap))
    how = RotateOptions(reencrypt=given.how.re_encrypt_backups, rate=given.how.rate)
    runs = [_rotated(name, how, swapped(services, swap), output) for name in policies]
    files, failed = _files(_Job(given, services, swap, trusted))
    done = RotationDone(
        old=given.keys.current_key,
        new=given.keys.new_key,
        made=made,
        anew=given.how.re_encrypt_backups,
        runs=runs,
        backups=[result for run in runs for result in results(services.store, run.id)],
        files=files,
        failed=failed,
        installation=services.signers(Role.RECOVER).certificate.fingerprint,
    )
    return done.answer()


def _check(given: ReplaceKey) -> None:
    both = (given.keys.current_key, given.keys.new_key)
    if all(path.exists() for path in both) and both[0].samefile(both[1]):
        raise UsageError("--current-key and --new-key are one file.")


def _require_approved(
    given: ReplaceKey, swap: Swap, services: Services, installation: InstallationPlace
) -> None:
    """Ask for approvals where the configuration wants them: files are given to another key. Backups on
    targets go to the recipients of their policies, and new ones of those are asked for by themselves."""
    files = {str(path.absolute()) for path in (*given.file, *written_files(services))}
    if files:
        access_log.require_approved(
            installation,
            ApprovalAction.EXPORT,
            {"files": sorted(files), "for": swap.new.fingerprint},
            lines=(*(f"rotate {file}" for file in sorted(files)), f"for {swap.new.describe()}"),
        )


def _make_new(path: Path) -> bool:
    """Make the new key if there is none; one that is there is never touched."""
    if path.exists():
        return False
    generate_key_file(path)
    return True


def _swap(given: ReplaceKey, output: Output, installation: InstallationPlace) -> Swap:
    others = [recipients.recipient_of(word, output, installation) for word in given.keys.recipient]
    for name in installation.section("keys"):
        with suppress(StrongroomError, OSError):  # one that is broken is of no use here, and no hindrance
            others.append(recipients.recipient_of(name, output, installation))
    passphrase = passphrases.read_given(given.keys.passphrase_file, output)
    if passphrase is not None:
        others.append(PassphraseRecipient(passphrase))
    current = load_key(given.keys.current_key)
    with given.keys.new_key.open("rb") as file:
        public = file.read(5) == b"srpub"
    opener = None if public else load_key(given.keys.new_key)
    path = given.keys.new_key.absolute()  # never taken for the name of a configured key
    new = _named(opener, path) or recipients.recipient_of(str(path), output, installation)
    return Swap(current=current, new=new, opener=opener, others=tuple(others))


def _named(opener: Opener | None, path: Path) -> Recipient | None:
    """Return a private key's public half under the name that sealing for ``FILE.pub`` gives it."""
    sealing = opener.recipient() if opener is not None else None
    return HpkeRecipient(sealing.public, label=path.name) if isinstance(sealing, HpkeRecipient) else None


# -- policies ------------------------------------------------------------------


def _policies(given: ReplaceKey, settings: Settings, services: Services, swap: Swap) -> Iterator[str]:
    for name, policy in settings.policies.items():
        if given.how.policy and name not in given.how.policy:
            continue
        pinned = services.pinned(name)
        readers = [recipient.fingerprint for recipient in pinned.spec.recipients]
        readers += [recipient.fingerprint for recipient in pinned.index_recipients]
        if policy.sealed and swap.concerns(readers):
            yield name
        elif name in given.how.policy:
            raise UsageError(f"Policy '{name}' is sealed to neither of the two keys.", hint="")
    if unknown := sorted(set(given.how.policy) - set(settings.policies)):
        raise UsageError(f"There is no policy '{unknown[0]}'.", hint=nearest(unknown[0], settings.policies))


def _rotated(policy: str, how: RotateOptions, services: Services, output: Output) -> Run:
    """Rotate in this process. One whose process was killed is taken over when the command is repeated."""
    begin = partial(submit_rotation, services, policy=policy, options=how, take_over=True)
    return drive_here(begin, services, output)


# -- files ---------------------------------------------------------------------


class _Job(NamedTuple):
    """What every file is rotated by."""

    given: ReplaceKey
    built: Services
    swap: Swap
    trusted: frozenset[str]


def _files(job: _Job) -> tuple[list[FileRotated], list[tuple[Path, StrongroomError]]]:
    done: list[FileRotated] = []
    failed: list[tuple[Path, StrongroomError]] = []
    named = [path.absolute() for path in job.given.file]
    for path in dict.fromkeys((*named, *written_files(job.built))):
        try:
            manifest = file_manifest(path, trusted=job.trusted)
            if path in named or job.swap.concerns(recipient.fingerprint for recipient in manifest.recipients):
                done.append(_file(path, job.swap.applied(manifest.recipients), job))
        except StrongroomError as error:
            failed.append((path, error))
    return done, failed


def _file(path: Path, recipients: Sequence[Recipient], job: _Job) -> FileRotated:
    rotation = RewrapOrder(
        recipients=recipients,
        identities=job.swap.openers,
        signer=job.built.signers(Role.RECOVER),
        trusted=job.trusted,
    )
    require_same_passphrases(path, recipients, trusted=job.trusted)
    if not job.given.how.re_encrypt_backups:
        return rewrap_file(path, rotation)
    remove = job.given.how.remove_old_files
    return reencrypt_file(path, rotation, digest_key=job.built.digest_key, remove=remove)


# -- rotate: bring the backups of policies to the recipients that they name now -----------------


_KEYS = "Leave the key out, or rotate in this process, without --cluster."


def rotate_policies(given: RotatePolicies, output: Output) -> Answer:
    settings = load_settings()
    if given.remove_replaced and (given.cluster or not given.re_encrypt):
        raise UsageError("--remove-replaced goes with --re-encrypt, in this process.")
    policies = _named_policies(given, settings)
    if given.cluster:
        if given.opening != FurtherOpeningOptions():
            raise UsageError("--cluster opens with the keys of the workers' configuration.", hint=_KEYS)
        return _submit(policies, given)
    services = with_identities(open_services(settings), given.opening, output)
    how = RotateOptions(reencrypt=given.re_encrypt, renew=given.renew, backups=given.backup, rate=given.rate)
    runs = [_rotated(policy, how, services, output) for policy in policies]
    done = [result for run in runs for result in results(services.store, run.id)]
    if given.remove_replaced:
        done = [_removed(result, services) for result in done]
    return RotationDone(anew=given.re_encrypt, runs=runs, backups=done).answer()


def _removed(result: Mapping[str, Any], services: Services) -> Mapping[str, Any]:
    """Remove what a backup's new one replaces; what is gone and not hidden does not open any more."""
    if not result.get("new"):
        return result
    removed = remove_replaced(services, result["backup"])
    still = [copy for copy in result["still"] if copy["target"] not in removed.gone]
    still += [
        {**copy, "until": "", "deleted": True, "old_versions": to_builtins(removed.hidden[copy["target"]])}
        for copy in result["still"]
        if copy["target"] in removed.hidden
    ]
    return {**result, "still": still, "removed": list(removed.gone), "kept": removed.kept}


def _named_policies(given: RotatePolicies, settings: Settings) -> list[str]:
    sealing = [name for name, policy in settings.policies.items() if policy.sealed]
    if unknown := [name for name in given.policy if name not in sealing]:
        raise UsageError(f"There is no policy '{unknown[0]}' that seals.", hint=nearest(unknown[0], sealing))
    if given.backup and len(given.policy) != 1:
        raise UsageError("--backup needs the one policy that the backup belongs to.")
    if not (chosen := given.policy or sealing):
        raise UsageError("No policy seals anything, so there is nothing to rotate.", hint="")
    return list(chosen)


def _submit(policies: list[str], given: RotatePolicies) -> Answer:
    from tasks.rotate import rotate_keys

    ids = {
        policy: rotate_keys.delay(
            policy=policy,
            re_encrypt=given.re_encrypt,
            renew=given.renew,
            backup=given.backup,
            rate=given.rate,
        ).id
        for policy in policies
    }
    lines = [f"Submitted. Follow it: strongroom runs show {run_id} --follow" for run_id in ids.values()]
    lines.append("The recover workers do it; they are normally stopped.")
    return Answer(record={"ids": ids}, sheet=Sheet(parts=[Lines(lines)]))
