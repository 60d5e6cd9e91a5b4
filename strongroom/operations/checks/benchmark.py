"""measure: how fast this machine seals, and how fast each target takes and gives back."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

from msgspec import Struct

from strongroom.container.about import ContainerHeader
from strongroom.container.cobblestone import name_hashes
from strongroom.container.signing import CertifiedSigner, Receipt, Signer
from strongroom.container.wrapping import WrappingKey
from strongroom.errors import StrongroomError, TargetError, UsageError
from strongroom.keys.hpke import HpkeIdentity
from strongroom.model import COMMAND, Role, Secret
from strongroom.operations.backup.capture import seal_into
from strongroom.operations.backup.commit import place
from strongroom.operations.backup.plan import PIECE_SECRETS
from strongroom.operations.checks.probe import own_name, sweep
from strongroom.system.process import uncollected
from strongroom.targets import Target
from strongroom.targets.errors import TargetLocked
from strongroom.times import rfc3339

# -- carry: put what is measured on one target, read it back, and see to it that nothing of it stays
#
# One object at a time lies there, at the names of probes: no catalog, restore or repair looks there, the
# rights that a probe has are enough, and what a killed process leaves the next probe or measurement
# removes, an hour later.


TRIAL = 1024
"""Bytes of the first object: what cannot be removed again is found out with something small."""
CHUNK = 1024 * 1024


class TransferSpeed(Struct, frozen=True, kw_only=True):
    """What was done, and in how many seconds. ``size`` in sealed bytes."""

    seconds: float = 0.0
    secrets: int = 0
    size: int = 0

    def plus(self, seconds: float, receipt: Receipt) -> TransferSpeed:
        """Return it with one more container."""
        return TransferSpeed(
            seconds=self.seconds + seconds,
            secrets=self.secrets + receipt.secrets,
            size=self.size + receipt.size,
        )

    @property
    def secrets_per_second(self) -> float:
        return self.secrets / self.seconds if self.seconds else 0.0

    @property
    def megabytes_per_second(self) -> float:
        """In millions of bytes."""
        return self.size / self.seconds / 1e6 if self.seconds else 0.0


class Carried(Struct, frozen=True, kw_only=True):
    """How a target did. ``hidden`` is how many deleted objects it keeps; ``None`` if it does not tell."""

    target: str
    pace: TransferSpeed
    hidden: int | None = 0
    error: StrongroomError | None = None


def require_removable(targets: Iterable[Target]) -> None:
    """Refuse targets that would keep what is put there to measure.

    Raises:
        UsageError: names them, and those that would do.
    """
    locking = {target.name: target.locks for target in targets}
    kept = ", ".join(f"'{name}'" for name, does in locking.items() if does)
    if not kept:
        return
    others = " ".join(f"--target {name}" for name, does in locking.items() if not does)
    instead = f"Name the others: {others}. " if others else ""
    raise UsageError(
        f"What is put on {kept} is locked there, so a measurement could not remove it again.",
        hint=f"Nothing was put anywhere. {instead}Sealing alone needs no target: --measure-encryption-time.",
    )


def _chunks(content: bytearray) -> Iterator[bytes]:
    view = memoryview(content)
    return (bytes(view[at : at + CHUNK]) for at in range(0, len(view), CHUNK))


class Carrier:
    """Puts containers on one target, reads them back and deletes them, until it fails."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._pace = TransferSpeed()
        self._hidden: int | None = 0
        self._error: StrongroomError | None = None
        self._tried = False

    def carry(self, receipt: Receipt, content: bytearray) -> None:
        if self._error is not None:
            return
        try:
            self._try_once()
            with self._own() as name:
                began = time.perf_counter()
                chunks = partial(_chunks, content)
                place(self._target, name, chunks, size=receipt.size, sha256=receipt.sha256)
                self._pace = self._pace.plus(time.perf_counter() - began, receipt)
        except StrongroomError as error:
            self._error = error

    def result(self) -> Carried:
        return Carried(target=self._target.name, pace=self._pace, hidden=self._hidden, error=self._error)

    def _try_once(self) -> None:
        """Remove what dead processes left; then put and delete something small.

        Raises:
            TargetLocked: it is not gone then.
        """
        if self._tried:
            return
        self._tried = True
        sweep(self._target, datetime.now(UTC))
        content = os.urandom(TRIAL)
        with self._own() as name:
            sha256 = hashlib.sha256(content).hexdigest()
            place(self._target, name, lambda: [content], size=TRIAL, sha256=sha256)
        if self._hidden:
            raise TargetLocked(
                f"target '{self._target.name}' keeps what is deleted there, and this credential may not "
                "remove that for good, so it was not measured",
                hint=f"An object of {TRIAL:,} bytes under 'probes/' stays hidden there.",
            )

    @contextmanager
    def _own(self) -> Iterator[str]:
        """Give a name, and see to it that nothing lies there in the end, whatever comes between."""
        name = own_name(datetime.now(UTC))
        try:
            yield name
        except BaseException as error:
            self._remove_after(error, name)
            raise
        self._remove(name)

    def _remove_after(self, error: BaseException, name: str) -> None:
        """Remove it after a failure, which counts for more than what may be left: that is noted on it."""
        try:
            self._remove(name)
        except StrongroomError as left:
            error.add_note(left.message)

    def _remove(self, name: str) -> None:
        try:
            self._target.delete(name)
        except StrongroomError as error:
            left = f"{error.message}; '{name}', which was put there to measure, may be left"
            raise type(error)(left, hint=error.hint) from None
        self._add_hidden(name)

    def _add_hidden(self, name: str) -> None:
        """Remove for good what a deletion only hides, where that is allowed."""
        try:
            hidden = self._target.purge(name)
        except TargetError:
            hidden = None
        self._hidden = None if hidden is None or self._hidden is None else self._hidden + hidden


# -- measure: how fast this machine seals, and how fast each target takes and gives back --------
#
# What is sealed is made up, and sealed by the code that seals a backup. Nobody has the keys that it is
# sealed for and signed with.


Progress = Callable[[int], object]


class Measured(Struct, frozen=True, kw_only=True):
    """What a measurement gave."""

    versions: int
    containers: int
    sealing: TransferSpeed
    targets: tuple[Carried, ...]


def measure(
    secrets: Iterable[Secret],
    targets: Sequence[Target],
    *,
    container_bytes: int,
    progress: Progress = lambda _: None,
) -> Measured:
    """Seal secrets, a container at a time, and carry each container to every target and back.

    A target that fails is left out from there on, and says so in the result; the others go on.

    Args:
        secrets: made up; memory is bounded by a container of them.
        targets: what :func:`~strongroom.operations.checks.benchmark.require_removable` let through.
        progress: is told how many secrets are done.
    """
    sealing = _Sealing()
    carriers = [Carrier(target) for target in targets]
    for receipt, content in map(sealing.seal, _pieces(secrets, container_bytes)):
        for carrier in carriers:
            carrier.carry(receipt, content)
        progress(receipt.secrets)
    return Measured(
        versions=sealing.versions,
        containers=sealing.containers,
        sealing=sealing.pace,
        targets=tuple(carrier.result() for carrier in carriers),
    )


def _pieces(secrets: Iterable[Secret], container_bytes: int) -> Iterator[list[Secret]]:
    piece: list[Secret] = []
    size = 0
    for secret in secrets:
        piece.append(secret)
        size += len(secret.name) + sum(len(v.value) for v in secret.versions if v.value is not None)
        if size >= container_bytes or len(piece) == PIECE_SECRETS:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


class _Sealing:
    """Seals to a key that is never kept, signed by nobody that anyone knows."""

    def __init__(self) -> None:
        self.pace = TransferSpeed()
        self.versions = 0
        self.containers = 0
        self._signer = CertifiedSigner.issued(
            Signer.generate(), installation=Signer.generate(), role=Role.SEAL, issued_at=datetime.now(UTC)
        )
        self._digest_key = os.urandom(32)
        self._wrapping_key = WrappingKey.create([HpkeIdentity.generate().recipient()])

    def seal(self, secrets: Sequence[Secret]) -> tuple[Receipt, bytearray]:
        about = _about()
        hashes = name_hashes(about.name_key, (secret.name for secret in secrets))
        rows = sorted(zip(hashes, secrets, strict=True), key=lambda pair: pair[1].name)
        content = bytearray()
        with uncollected():
            began = time.perf_counter()
            receipt = seal_into(
                content,
                rows,
                about,
                wrapping_key=self._wrapping_key,
                signer=self._signer,
                digest_key=self._digest_key,
            )
            self.pace = self.pace.plus(time.perf_counter() - began, receipt)
        self.versions += receipt.versions
        self.containers += 1
        return receipt, content


def _about() -> ContainerHeader:
    return ContainerHeader(
        backup_id="measured",
        piece=0,
        pieces=1,
        source="(made up)",
        policy=COMMAND,
        values=True,
        created_at=rfc3339(time.time()),
        name_key=os.urandom(32),
    )
