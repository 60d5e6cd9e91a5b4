"""Indexes of names that leave out, or are no index inside, rightly sealed, signed and with a receipt.

So a seal worker in the wrong hands makes one while a backup is made, or a fault of the product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

from strongroom.container.manifest import Manifest
from strongroom.container.name_index import (
    INDEX,
    Block,
    IndexHead,
    IndexReceipt,
    IndexRow,
    digest_of,
    encode_row,
    write_name_index,
)
from strongroom.container.signing import CertifiedSigner
from strongroom.container.wrapping import Recipient, WrappingKey
from strongroom.operations.engine.layout import INDEXES, index_name, receipt_name
from strongroom.targets import Target


def plant(
    targets: Sequence[Target],
    manifest: Manifest,
    recipient: Recipient,
    signers: Callable[[str], CertifiedSigner],
    *,
    names: Sequence[str],
    frame: Callable[[bytes], bytes] = bytes,
) -> None:
    """Put an index of a backup, that says it has these names alone, in the place of the true one.

    Args:
        frame: changes the block.
    """
    block = Block.of([encode_row(IndexRow(name, 1)) for name in sorted(names)])
    head = IndexHead(
        source=manifest.source,
        containers=digest_of(entry.sha256 for entry in manifest.containers),
        previous=None,
        blocks=((block.first, block.rows),),
    )
    content = bytearray()
    backup = manifest.backup_id
    sealed = write_name_index(
        content.extend,
        head,
        lambda _: frame(block.content),
        backup_id=backup,
        policy=manifest.policy,
        created_at=manifest.created_at,
        wrapping_key=WrappingKey.create([recipient]),
        signer=signers("seal"),
    )
    receipt = IndexReceipt(
        backup_id=backup,
        sha256=sealed.hexdigest,
        container_signature=sealed.signature.hex(),
        containers=head.containers,
        chain=backup,
        previous=None,
        made_at=manifest.created_at,
    )
    signed = INDEX.sign(receipt, signers("control"))
    name = index_name(backup, backup, sealed.hexdigest)
    for target in targets:
        for info in [one for one in target.list(INDEXES) if f"/{backup}/" in one.name]:
            target.delete(info.name)
        for called, data in ((name, bytes(content)), (receipt_name(name), signed)):
            target.put(called, [data], size=len(data), sha256=sha256(data).digest())
