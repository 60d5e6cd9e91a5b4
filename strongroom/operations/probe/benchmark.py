"""measure: how fast this machine seals, and how fast each target takes and gives back.

What is sealed is made up, and sealed by the code that seals a backup. Nobody has the keys that it is
sealed for and signed with.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from strongroom.container.about import ContainerHeader
from strongroom.container.certificate import CertifiedSigner
from strongroom.container.digests import name_hashes
from strongroom.container.receipt import Receipt
from strongroom.container.signing import Signer
from strongroom.container.wrapping import WrappingKey
from strongroom.keys.hpke import HpkeIdentity
from strongroom.model import COMMAND, Secret
from strongroom.operations.backup.capture import seal_into
from strongroom.operations.backup.plan import PIECE_SECRETS
from strongroom.operations.probe.transfer import Carried, Carrier, TransferSpeed
from strongroom.system.gc_pause import uncollected
from strongroom.targets import Target
from strongroom.timestamps import rfc3339

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
        targets: what :func:`~strongroom.operations.probe.transfer.require_removable` let through.
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
            Signer.generate(), installation=Signer.generate(), role="seal", issued_at=datetime.now(UTC)
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
