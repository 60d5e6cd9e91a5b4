"""What a restore into a server would refuse, and what it could not reproduce, as far as is known before."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from strongroom.errors import SourceError
from strongroom.model import Secret, VersionState
from strongroom.sources import Foreseen
from strongroom.sources.history import check_writable
from strongroom.sources.vault import wrapping
from strongroom.sources.vault.kv_form import fitting
from strongroom.sources.vault.losses import spans
from strongroom.sources.vault.roles import ROLE
from strongroom.sources.vault.scope import ServerScope
from strongroom.sources.vault.secrets import custom_of, facts_of
from strongroom.sources.vault.system import AUTH_CONFIG, AUTHS, LAYERS, MOUNTS, entry_of
from strongroom.sources.vault.system_writing import fields_of, gaps_of
from strongroom.sources.vault.writing import INEXACT, PLAIN_ONLY, has_numbers_kept, is_plain


def foresee(secret: Secret, scope: ServerScope, made: Collection[str]) -> Foreseen:
    """Say it of one secret. ``made`` are the entries that will be there before it is written."""
    try:
        check_writable(secret)
        if secret.type in LAYERS:
            refusal = _why_nowhere(secret, scope, made)
            return Foreseen(refusal=refusal, loss="; ".join(gaps_of(secret.type, fields_of(secret))))
    except SourceError as error:
        return Foreseen(refusal=error.message)
    place = scope.find(secret.name)
    if (place is None or place.mount is None) and not any(folder in made for folder in _mounts_of(secret)):
        return Foreseen(refusal="there is no KV mount for it: make one, or restore its 'sys/mounts/…' too")
    version_1 = place is not None and place.mount is not None and place.mount.version == 1
    if version_1 and not is_plain(secret):
        return Foreseen(refusal=PLAIN_ONLY)
    if not version_1 and not has_numbers_kept(secret):
        return Foreseen(refusal=INEXACT)
    return Foreseen(loss="; ".join(_losses(secret)))


def _why_nowhere(secret: Secret, scope: ServerScope, made: Collection[str]) -> str:
    """Say what is missing for what others rest on: it rests on something itself."""
    start = re.search(r"(?:^|/)(?:sys|auth)/", secret.name)
    namespace = secret.name[: start.end()].rpartition("/")[0].rpartition("/")[0] if start else ""
    if namespace and scope.find(secret.name) is None and entry_of(f"{namespace}/") not in made:
        return "there is no namespace for it: make one, or restore its 'sys/namespaces/…' too"
    if secret.type not in (ROLE, AUTH_CONFIG) or scope.has_method(secret.name):
        return ""
    parts = secret.name.removeprefix(f"{namespace}/" if namespace else "").split("/")
    before = f"{namespace}/" if namespace else ""
    methods = (f"{before}{AUTHS}{'/'.join(parts[1:end])}" for end in range(2, len(parts)))
    if any(method in made for method in methods):
        return ""
    return "there is no auth method for it: enable one, or restore its 'sys/auth/…' too"


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
