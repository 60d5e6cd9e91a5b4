"""How blobs come to be, if there is none of the name, and how staged blocks go again."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobBlock, BlobClient, ContainerClient

from strongroom.targets.azure.refusals import code_of

_CHANGED = frozenset({304, 412})


def put_blocks(blob: BlobClient, blocks: Iterable[bytes], options: dict[str, Any]) -> bool:
    """Stage blocks and commit them in one request; say whether this made the blob.

    A small object goes the same way: where another writer's blocks are staged, a service may
    take a blob for one that is there when it is put whole (seen on an emulator).
    """
    # Of one length everywhere, as the service demands of one blob's blocks, and never
    # those of another writer, whose blocks of this name lie in the same place.
    writer = secrets.token_hex(8)
    staged = []
    for number, piece in enumerate(blocks):
        block_id = f"{writer}-{number:08}"
        blob.stage_block(block_id, piece, len(piece), validate_content="md5")
        staged.append(BlobBlock(block_id))
    try:
        blob.commit_block_list(
            staged, match_condition=MatchConditions.IfMissing, validate_content=True, **options
        )
    except ResourceExistsError as error:
        return _taken(error)
    return True


def staged_names(container: ContainerClient, prefix: str) -> Iterator[str]:
    """Yield the names of blobs that may be staged only: listed as empty."""
    for blob in container.list_blobs(name_starts_with=prefix, include=["uncommittedblobs"]):
        if not blob.size:
            yield blob.name


def drop_staged(blob: BlobClient) -> bool:
    """Drop a blob's staged blocks unless it was committed; say whether there were any."""
    try:
        blob.get_blob_properties()
    except ResourceNotFoundError:
        pass
    else:
        return False
    try:  # conditional: it may be committed at this very moment
        blob.delete_blob(match_condition=MatchConditions.IfMissing)
    except ResourceNotFoundError:
        return False
    except HttpResponseError as error:
        if error.status_code in _CHANGED:
            return False
        raise
    return True


def _taken(error: ResourceExistsError) -> bool:
    """Return ``False``, the answer of a put that came second, unless it is another conflict."""
    if code_of(error) != "BlobAlreadyExists":
        raise error
    return False
