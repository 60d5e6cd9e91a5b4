"""What a rotation did, what the old key still opens, and what is left to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from strongroom.cli.shared.drive_run import lack_of_all
from strongroom.cli.shared.remaining_copies import describe_remaining
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import plural
from strongroom.errors import StrongroomError
from strongroom.operations.rotation.single_file import FileRotated
from strongroom.sheet import Lines, Part, Sheet
from strongroom.state.records import Run, RunState


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
                (
                    f"{what} {kept_backup['backup']} on {kept_backup['target']}, "
                    f"{describe_remaining(kept_backup)}"
                )
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
