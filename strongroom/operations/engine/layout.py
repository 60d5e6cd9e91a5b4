"""Names on targets and the stage, and the records that a sealed container gets."""

from __future__ import annotations

import re

from msgspec import structs

from strongroom.container.about import ContainerHeader
from strongroom.container.manifest import ContainerEntry
from strongroom.container.receipt import Receipt
from strongroom.container.writer import SealedContainer
from strongroom.targets.manifest_listing import MANIFESTS

EMERGENCY = "emergency/"
"""What the names of an emergency backup's folder begin with."""
_SUCCESSOR = re.compile(r"(.+)-r([0-9]+)")


def manifest_name(backup: str) -> str:
    """Return a manifest's name on every target."""
    return f"{MANIFESTS}{backup}.json"


def containers_prefix(backup: str) -> str:
    """Return what the names of a backup's containers begin with."""
    return f"containers/{backup}/"


def container_name(backup: str, sha256: str) -> str:
    """Return a container's name on every target: by digest, so a repeated put is harmless."""
    return f"{containers_prefix(backup)}{sha256}"


def staged_prefix(run: str) -> str:
    """Return what the names of all that a run stages begin with."""
    return f"runs/{run}/"


def staged_name(run: str, piece: int, sha256: str) -> str:
    """Return where a piece lies on the stage: by digest, so two attempts never collide."""
    return f"{staged_prefix(run)}sealed/{piece}/{sha256}"


def names_chunk(run: str, sha256: str) -> str:
    """Return where a chunk of the plan's list lies on the stage."""
    return f"{staged_prefix(run)}names/{sha256}"


def index_rows_chunk(run: str, piece: int, sha256: str) -> str:
    """Return where a chunk of the rows lies on the stage that a piece has for the index of names."""
    return f"{staged_prefix(run)}index/{piece}/{sha256}"


INDEXES = "index/"
"""What the names of indexes of names begin with on targets, and on the stage of what makes the next."""


def index_name(chain: str, backup: str, sha256: str) -> str:
    """Return the name of an index on every target. A *chain* is called as the first backup in it."""
    return f"{INDEXES}{chain}/{backup}/{sha256}"


def receipt_name(index: str) -> str:
    """Return the name of the receipt of an index that has this name."""
    return f"{index}.json"


def kept_prefix(policy: str, run: str = "") -> str:
    """Return what the names begin with of what the stage keeps of a policy's indexes, or of one of them."""
    return f"{INDEXES}{policy}/{run}/" if run else f"{INDEXES}{policy}/"


def kept_head(policy: str, run: str) -> str:
    """Return where the stage keeps what says which of it counts."""
    return f"{kept_prefix(policy, run)}head"


def staged_plan(run: str, sha256: str) -> str:
    """Return where a part of a restore plan lies on the stage."""
    return f"{staged_prefix(run)}plan/{sha256}"


def sealed_receipt(about: ContainerHeader, sealed: SealedContainer) -> Receipt:
    """Return the receipt of a container that was just sealed."""
    return Receipt(
        run=about.backup_id,
        piece=about.piece,
        sha256=sealed.hexdigest,
        size=sealed.size,
        secrets=sealed.secrets,
        versions=sealed.versions,
        first=sealed.first_hash.hex(),
        last=sealed.last_hash.hex(),
        wrapping_key=sealed.wrapping_key_id,
        container_signature=sealed.signature.hex(),
    )


def container_entry(receipt: Receipt, signature: str, signer: bytes) -> ContainerEntry:
    """Return a container's line in the manifest: its receipt, and who signed that."""
    fields = structs.asdict(receipt)
    del fields["run"]
    return ContainerEntry(**fields, signer=signer.hex(), signature=signature)


def base_of(backup: str) -> str:
    """Return the id of what a backup was first, however often it was sealed anew since."""
    match = _SUCCESSOR.fullmatch(backup)
    return match[1] if match else backup


def successor_of(backup: str) -> str:
    """Return the id of what replaces a backup when it is sealed anew."""
    match = _SUCCESSOR.fullmatch(backup)
    return f"{match[1]}-r{int(match[2]) + 1}" if match else f"{backup}-r1"
