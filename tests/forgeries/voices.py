"""The readers, each asked as its user asks it, and what each of them answers."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from msgspec.structs import replace

from strongroom.cli.main import main
from strongroom.errors import StrongroomError
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.model import Depth, Secret
from strongroom.operations.archive.open import manifest_bytes, open_backup
from strongroom.operations.backup.repair import submit_repair
from strongroom.operations.backup.verify_job import submit_verify
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.integrity import pin_recipient, pin_target
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.submit import Submitted
from strongroom.operations.restore.job import submit_restore
from strongroom.operations.restore.staged import RestoreOptions
from strongroom.sources.local import LocalStore
from strongroom.sources.memory import MemoryStore
from strongroom.state.records import CatalogEntry, Run, RunKind, RunState, Spec
from strongroom.state.store import RunStore
from strongroom.targets import Target
from strongroom.targets.directory import MARKER, DirectoryTarget
from strongroom.targets.reading import repair_names
from tests.forgeries.forgery import Forgery
from tests.forgeries.genuine import BACKUP, OLDER, OURS, PINS, Made, Objects, genuine, older
from tests.operations.world import POLICY, World
from tests.reader import reader
from tests.recover.families import FAMILIES, family
from tests.recover.test_recover import recover
from tests.vectors import material as m
from tests.vectors.bundling import bundle

IDENTITIES: dict[str, Any] = {"old": KeyFileIdentity(m.KEY_FILE), "new": m.X25519}
MOST = 65 << 20
"""As much of a sparse object as a reader of bytes in memory is given."""

ASIDE = {"MissingPiece", "Malformed", "NotABackup", "Stale", "Tampered", "Truncated", "UntrustedSigner"}
ASIDE |= {"UnsupportedVersion"}
Values = dict[str, bytes]


ONE = genuine().contents[7].name
"""The secret that is asked for where one is."""


class Answer(NamedTuple):
    """``kind`` is ``ok`` or the class of the refusal; ``aside`` the class of what was left aside."""

    kind: str
    aside: str
    came: Values | None
    """What came out; ``None`` where nothing is handed out."""


def values_of(secrets: Iterable[Secret]) -> Values:
    return {
        secret.name: secret.versions[-1].value.reveal() for secret in secrets if secret.versions[-1].value
    }


def expected(forgery: Forgery, *, named: bool = False) -> tuple[str, str]:
    """Return the answer that everybody must give.

    Args:
        named: the reader names the backup, and so meets nothing of what plays on the choice.
    """
    if named and forgery.marks:
        return "ok", ""
    if named and forgery.chooses:
        return ((forgery.aside or "MissingPiece") if forgery.comes == "older" else "ok"), ""
    return forgery.expect, forgery.aside


def _restored(forgery: Forgery) -> tuple[str, str]:
    return (forgery.restored, "") if forgery.restored else expected(forgery)


def comes(forgery: Forgery, *, named: bool = False) -> Values:
    if forgery.comes == "nothing":
        return {}
    return values_of((older() if forgery.comes == "older" and not named else genuine()).contents)


class Place:
    """A forged backup as a directory and as a file, and a folder to work in."""

    def __init__(self, folder: Path, forgery: Forgery) -> None:
        self.forgery = forgery
        self.folder = folder
        self.objects: Objects = dict(genuine().objects)
        forgery.forge(self.objects, genuine())
        self.sparse = {_sparse(name, genuine()): size for name, size in (forgery.sparse or {}).items()}
        self.directory = folder / "eu"
        write_directory(self.directory, self.objects, self.sparse)
        if forgery.disk:
            forgery.disk(self.directory)
        self.file = folder / "backup.strongroom-file"
        if not self.sparse and not forgery.disk:
            self.file.write_bytes(bundle(sorted(self.objects.items())))

    @property
    def forms(self) -> list[Path]:
        return [self.directory, self.file] if self.file.exists() else [self.directory]

    @property
    def shows_manifest(self) -> bool:
        names = (genuine().name, *repair_names(genuine().name))
        there = reader.directory(self.directory) if self.forgery.disk else self.objects
        return any(name in there for name in names)

    @property
    def key(self) -> Path:
        return self.folder.parent / f"{self.forgery.key}.key"


def _sparse(name: str, made: Made) -> str:
    return {"container": made.pieces[0], "envelope": made.envelope(3)}.get(name, name)


def write_directory(folder: Path, objects: Objects, sparse: dict[str, int]) -> None:
    folder.mkdir()
    (folder / MARKER).touch()
    for name, content in objects.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name, size in sparse.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(size)


def write_keys(folder: Path) -> None:
    for name, kind, seed in (
        ("old", "strongroom-key-1 AES256", m.KEY_FILE),
        ("new", "strongroom-private-key-1 x25519", m.fixed("x25519 scalar")),
    ):
        body = f"{kind} {seed.hex()}"
        path = folder / f"{name}.key"
        path.write_text(f"{body} {hashlib.sha256(body.encode()).hexdigest()[:8]}\n")
        path.chmod(0o600)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Yield a folder, in memory where there is such, with the keys that readers are given."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        write_keys(Path(folder))
        yield Path(folder)


def empty_database(folder: Path) -> Path:
    """Make a state database that each forgery's workers get a copy of."""
    database = folder / "empty.db"
    store = RunStore(f"sqlite:///{database}")
    store.check()
    store.close()
    return database


# -- the command line ----------------------------------------------------------------------------


class Said(NamedTuple):
    code: int
    out: str
    err: str


@contextlib.contextmanager
def _streams() -> Iterator[tuple[io.TextIOWrapper, io.StringIO]]:
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield out, err


def command(folder: Path, *words: str | Path) -> Said:
    """Run a command line in this process, in a folder and a state of its own."""
    with patch.dict(os.environ, STRONGROOM_STATE_DIR=str(folder / "state")), contextlib.chdir(folder):
        with _streams() as (out, err):
            code = main([str(word) for word in words])
        assert isinstance(out.buffer, io.BytesIO)
        return Said(code, out.buffer.getvalue().decode(), " ".join(err.getvalue().split()))


def _answer(said: Said, came: Values | None) -> Answer:
    if said.code == 0:
        return Answer("ok", "", came)
    named = re.search(r"strongroom: (\w+)", said.err)
    if named and named[1] in {"LeftAside", "TargetUnsound"}:
        found = set(re.findall(r"[(:] ?(\w+): ", said.err.partition(named[1])[2])) or {f"? {said.err}"}
        return Answer("ok", "/".join(sorted(found & ASIDE)), came)
    return Answer(named[1] if named else str(said), "", came)


TRUST = ("--signer", m.INSTALLATION.fingerprint)


def verify_backup(place: Place, form: Path) -> Answer:
    said = command(place.folder, "backups", "verify", form, "--identity", place.key, *TRUST)
    return _answer(said, None)


def restore(place: Place, form: Path) -> Answer:
    """Restore into a local store of its own: a directory as a target, and a file as a file."""
    state = place.folder / "state"
    shutil.rmtree(state, ignore_errors=True)
    source = "--from-target" if form.is_dir() else "--backup-file"
    said = command(place.folder, "restore", source, form, "--full-restore", "--identity", place.key, *TRUST)
    store = LocalStore(state)
    came = values_of(one for one in store.read(list(store.list())) if one) if store.made else {}
    return _answer(said, came)


def dry_run(place: Place, form: Path) -> Answer:
    words = ("restore", "--backup-file", form, "--full-restore", "--dry-run")
    return _answer(command(place.folder, *words, "--identity", place.key, *TRUST), None)


def _as(form: Path) -> tuple[str | Path, ...]:
    return ("--from-target" if form.is_dir() else "--backup-file", form)


def restore_secret(place: Place, form: Path) -> Answer:
    """Restore one secret, of the second container, into a local store of its own."""
    state = place.folder / "state"
    shutil.rmtree(state, ignore_errors=True)
    words = ("restore", "--secret-name", ONE, *_as(form), "--identity", place.key)
    said = command(place.folder, *words, *TRUST)
    store = LocalStore(state)
    came = values_of(one for one in store.read(list(store.list())) if one) if store.made else {}
    return _answer(said, came)


def unpinned(place: Place, form: Path) -> Answer:
    """Verify without a word of who is trusted."""
    return _answer(command(place.folder, "backups", "verify", form, "--identity", place.key), None)


def find(place: Place, form: Path) -> Answer:
    return _looked(place, "find", form)


def history(place: Place, form: Path) -> Answer:
    return _looked(place, "history", form)


def _looked(place: Place, what: str, form: Path) -> Answer:
    """Look for a name; that a backup is shown which nobody trusted signed is no answer."""
    words = ("backups", what, ONE, "--from-target", form, "--identity", place.key, *TRUST, "--json")
    said = command(place.folder, *words)
    shown = set(re.findall(r'"(2[0-9]{7}T[0-9]+Z-[0-9a-f]{8})"', said.out.partition('"error"')[0]))
    if shown - {BACKUP, OLDER}:
        return Answer(f"showed {sorted(shown)}", "", None)
    found = _answer(said, None)
    return Answer("ok", "", None) if found.kind == "NotAllRead" else found


# -- recover.py, and the reader that was written from FORMAT.md alone ------------------------------------


def recovery_program(place: Place, form: Path) -> Answer:
    key = "--key-file" if place.forgery.key == "old" else "--private-key"
    words = ["recover.py", str(form), key, str(place.key), *TRUST, "--jsonl"]
    with patch("sys.argv", words), _streams() as (out, err):
        code = recover.main()
    assert isinstance(out.buffer, io.BytesIO)
    rows = [json.loads(line) for line in out.buffer.getvalue().decode().splitlines()]
    came = {row["name"]: row["versions"][-1]["value"].encode() for row in rows}
    kind = next((name for name, number in recover.CODES.items() if number == code), str(code))
    if kind == "LeftAside":
        found = set(re.findall(r"\((\w+): ", err.getvalue().rpartition("LeftAside")[2]))
        return Answer("ok", "/".join(sorted(found)), came)
    return Answer("ok" if code == 0 else kind, "", came)


def independent_reader(place: Place, form: Path) -> Answer:
    keys = reader.Keys(
        keyfiles=[m.KEY_FILE] if place.forgery.key == "old" else [],
        private=[("x25519", m.fixed("x25519 scalar"))] if place.forgery.key == "new" else [],
        pins=PINS,
    )
    objects = dict(place.objects) | {name: bytes(min(size, MOST)) for name, size in place.sparse.items()}
    try:
        if form.is_file():
            objects = reader.bundle(form.read_bytes())
        elif not place.sparse:
            objects = reader.directory(form)
        whole = reader.whole(objects, keys)
    except reader.RefusedError as error:
        return Answer(error.kind, "", None)
    came = {one.row["name"]: one.values[-1] for one in whole.secrets}
    return Answer("ok", "/".join(sorted(set(whole.aside))), came)


# -- the workers -----------------------------------------------------------------------------------


class Workers:
    """An installation whose record knows the backup, over the forged directory."""

    def __init__(self, place: Place, database: Path, targets: dict[str, Target]) -> None:
        copy = place.folder / "state.db"
        shutil.copyfile(database, copy)
        self.place = place
        self.destination = MemoryStore(name="local")
        self.world = world_of(f"sqlite:///{copy}", place.folder / "workers", targets, self.destination)
        identity = IDENTITIES[place.forgery.key]
        self.services = self.world.services(identities=lambda: (identity,))
        self.services.store.put_backup(self._entry(targets["eu"]))

    def _entry(self, target: Target) -> CatalogEntry:
        """Return what the catalog says: of the manifest that counts, as one that was rebuilt has it."""
        try:
            content = manifest_bytes(target, BACKUP, trusted=PINS)
        except StrongroomError:
            content = genuine().objects[genuine().name]
        manifest = genuine().manifest
        return CatalogEntry(
            backup=BACKUP, policy=POLICY, source="local", created_at=manifest.created_at, values=True,
            secrets=8, size=manifest.counts.size, containers=2,
            manifest_sha256=hashlib.sha256(content).hexdigest(),
        )  # fmt: skip

    def finish(self, submitted: Submitted) -> Run:
        run, tickets = submitted
        return drive(run, tickets, self.services, processes=1)


def world_of(database: str, folder: Path, targets: dict[str, Target], source: MemoryStore) -> World:
    folder.mkdir(exist_ok=True)
    stage = DirectoryTarget(folder / "stage", name="stage", region="local")
    stage.prepare()
    spec = Spec(
        kind=RunKind.BACKUP,
        policy=POLICY,
        source="local",
        targets=tuple(pin_target(name, target) for name, target in targets.items()),
        recipients=(pin_recipient("recovery", m.X25519.recipient()),),
        quorum=1,
        regions=1,
    )
    return World(
        database=database,
        folder=folder,
        stage=stage,
        targets=targets,
        source=source,
        identity=KeyFileIdentity(m.KEY_FILE),
        installation=m.INSTALLATION,
        signers=OURS,
        spec=spec,
        work_key=m.fixed("work key"),
        digest_key=m.DIGEST_KEY,
    )


def _ended(run: Run, services: Services, came: Values | None) -> Answer:
    if run.state is RunState.DONE:
        return Answer("ok", "", came)
    said = run.error or ""
    rows = [row.error or "" for row in services.store.rows(run.id)]
    lost = re.match(r"(\w+): .* cannot be read\.", said)
    if run.state is RunState.DEGRADED and lost:
        return Answer(lost[1], "", came)
    if run.state is RunState.DEGRADED:
        found = set(re.findall(r" \((\w+)\)", said)) or {f"? {said}"}
        return Answer("ok", "/".join(sorted(found)), came)
    kinds = [text.partition(":")[0] for text in (*rows, said) if re.match(r"[A-Z]\w+: ", text)]
    return Answer(kinds[0] if kinds else f"? {said}", "", came)


def eu_of(place: Place) -> dict[str, Target]:
    return {"eu": DirectoryTarget(place.directory, name="eu", region="eu")}


def verify_run(place: Place, database: Path) -> Answer:
    workers = Workers(place, database, eu_of(place))
    run = workers.finish(submit_verify(workers.services, backup=BACKUP, depth=Depth.OPENED))
    return _ended(run, workers.services, None)


def restore_run(place: Place, database: Path) -> Answer:
    workers = Workers(place, database, eu_of(place))
    options = RestoreOptions(destination="local")
    run = workers.finish(submit_restore(workers.services, backup=BACKUP, options=options))
    held = workers.destination
    return _ended(run, workers.services, values_of(one for one in held.read(list(held.list())) if one))


def repaired(place: Place, database: Path) -> list[Values]:
    """Repair the forged target from a genuine one; return what comes out of each afterwards."""
    us = place.folder / "us"
    write_directory(us, genuine().objects, {})
    targets = eu_of(place) | {"us": DirectoryTarget(us, name="us", region="us")}
    workers = Workers(place, database, targets)
    workers.services.store.put_backup(
        with_manifest(workers._entry(targets["us"]), genuine().objects[genuine().name])
    )
    workers.finish(submit_repair(workers.services, backup=BACKUP))
    opened = (
        open_backup(target, BACKUP, identities=[IDENTITIES["new"]], trusted=PINS)
        for target in targets.values()
    )
    return [values_of(backup.secrets()) for backup in opened]


def with_manifest(entry: CatalogEntry, content: bytes) -> CatalogEntry:
    return replace(entry, manifest_sha256=hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class Cell:
    """One reader's answer beside the one that everybody must give."""

    reader: str
    answer: Answer
    wanted: tuple[str, str]
    genuine: Values
    """What may come out, all of it where the answer is ok."""
    less: frozenset[str] = frozenset()
    """What else may be answered by a reader of less than all: what it does not read it need not refuse."""

    @property
    def wrong(self) -> str:
        """Say what is wrong with an answer; nothing if it is right."""
        kind, aside, came = self.answer
        if not self._as_wanted():
            told, wanted = (" aside ".join(filter(None, pair)) for pair in ((kind, aside), self.wanted))
            return f"{self.reader}: {told}, not {wanted}"
        before = values_of(older().contents)  # what the newest backup lost is taken from the one before
        if came is not None and any(
            value not in (self.genuine.get(name), before.get(name)) for name, value in came.items()
        ):
            return f"{self.reader}: FORGED values came out"
        if came is not None and kind == "ok" and came != self.genuine and not self.less:
            return f"{self.reader}: {len(came)} of {len(self.genuine)} secrets came out"
        return ""

    def _as_wanted(self) -> bool:
        kind, aside, _ = self.answer
        if not self.less:
            return (kind, aside) == self.wanted
        if self.less >= {*FAMILIES}:
            return kind in self.less
        return kind in self.less or (kind in FAMILIES and family(kind) in map(family, self.wanted))


def _asked(ask: Callable[[Place, Path], Answer], place: Place, what: Path) -> Answer:
    """Return the answer; a reader that crashes on hostile input gave one too, and the wrong one."""
    try:
        return ask(place, what)
    except Exception as error:  # noqa: BLE001 - whatever it is
        return Answer(f"crashed with {error!r}", "", None)


LESS = (unpinned, restore_secret, find, history)


def _of_less(ask: Callable[[Place, Path], Answer], place: Place, form: Path) -> Cell:
    """Ask a reader of less than all. Who is told of nobody to trust refuses whatever it is."""
    forgery = place.forgery
    also = {*FAMILIES} if ask is unpinned else {"ok", "TargetsUnsound", forgery.restored}
    also |= {"SecretNotFound"} if forgery.comes == "nothing" else set()
    what = f"{ask.__name__} {'directory' if form.is_dir() else 'file'}"
    return Cell(what, _asked(ask, place, form), expected(forgery), comes(forgery), less=frozenset(also))


def cells(forgery: Forgery, folder: Path, database: Path) -> Iterator[Cell]:
    """Ask every reader about every form of a forgery."""
    place = Place(folder, forgery)
    for form in place.forms:
        what = "directory" if form.is_dir() else "file"
        for ask in (verify_backup, dry_run, restore, recovery_program, independent_reader):
            wanted = _restored(forgery) if ask in {restore, dry_run} else expected(forgery)
            if ask is recovery_program:
                wanted = family(wanted[0]), family(wanted[1])
            yield Cell(f"{ask.__name__} {what}", _asked(ask, place, form), wanted, comes(forgery))
        for ask in LESS if form.is_dir() else LESS[:2]:
            yield _of_less(ask, place, form)
    for run in (verify_run, restore_run):
        wanted, may = expected(forgery, named=True), comes(forgery, named=True)
        if run is restore_run and forgery.restored:
            wanted = ("ok", "") if forgery.comes == "nothing" else _restored(forgery)
        if run is verify_run and wanted[0] == "NotABackup" and not place.shows_manifest:
            wanted = "MissingPiece", ""  # the record knows that there is one
        yield Cell(run.__name__, _asked(run, place, database), wanted, may)
