"""What a restore into a server would refuse, and what it could not reproduce, as far as is known before."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from strongroom.errors import SourceError
from strongroom.model import Secret, VersionState
from strongroom.sources import Foreseen
from strongroom.sources.history import check_writable
from strongroom.sources.vault import wrapping
from strongroom.sources.vault.kv_form import fitting
from strongroom.sources.vault.losses import spans
from strongroom.sources.vault.scope import Scope
from strongroom.sources.vault.secrets import custom_of, facts_of
from strongroom.sources.vault.system import LAYERS, MOUNTS
from strongroom.sources.vault.system_writing import fields_of, gaps_of
from strongroom.sources.vault.writing import is_plain


def foresee(secret: Secret, scope: Scope, made: Collection[str]) -> Foreseen:
    """Say it of one secret. ``made`` are the entries that will be there before it is written."""
    try:
        check_writable(secret)
        if secret.type in LAYERS:
            return Foreseen(loss="; ".join(gaps_of(secret.type, fields_of(secret))))
    except SourceError as error:
        return Foreseen(refusal=error.message)
    place = scope.find(secret.name)
    if (place is None or place.mount is None) and not any(folder in made for folder in _mounts_of(secret)):
        return Foreseen(refusal="there is no KV mount for it: make one, or restore its 'sys/mounts/…' too")
    if place is not None and place.mount is not None and place.mount.version == 1 and not is_plain(secret):
        return Foreseen(refusal="KV version 1 keeps one JSON object and nothing else")
    return Foreseen(loss="; ".join(_losses(secret)))


def _mounts_of(secret: Secret) -> Iterator[str]:
    """Yield the names of all entries that would be the mount that a secret lies in."""
    parts = secret.name.split("/")
    for namespace in range(len(parts)):
        for end in range(namespace + 1, len(parts)):
            before = "".join(f"{part}/" for part in parts[:namespace])
            yield before + MOUNTS + "/".join(parts[namespace:end])


def _losses(secret: Secret) -> Iterator[str]:
    custom = custom_of(secret) or {}
    if dropped := sorted(custom.keys() - fitting(custom).keys()):
        yield f"custom metadata {', '.join(map(repr, dropped))} breaks the server's limits"
    if facts_of(secret) is None and wrapping.needs_wrapping(secret.versions):
        yield "values that are no JSON object are written as a member of one"
    deleted = [version.number for version in secret.versions if version.state is VersionState.DELETED]
    if deleted:
        yield f"version {spans(deleted)} is deleted, and no backup can read its data"
