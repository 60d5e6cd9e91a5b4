"""What a Vault mount has to refuse, what a token has too much of, and how the mount is set up.

The server tells what a token may do; nothing is tried out for that. Who may write, and who
may delete, depends on the process: that is tried by whoever probes.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import Struct

from strongroom.model import prepare
from strongroom.targets.probing import ProbeCheck, ProbeResult, must_be_refused
from strongroom.targets.vault.entries import Entries, Occupied
from strongroom.vault import paths
from strongroom.vault.failures import Denied
from strongroom.vault.rights import Need, rights

_NOTHING: frozenset[str] = frozenset()


class _Config(Struct):
    cas_required: bool = False
    delete_version_after: str = "0s"


class _MountConfigAnswer(Struct):
    data: _Config


prepare(_MountConfigAnswer)
_CONFIG = msgspec.json.Decoder(_MountConfigAnswer)


def overwriting(entries: Entries, path: str) -> ProbeCheck:
    """Write over an entry as somebody would who does not ask what is there."""
    return must_be_refused(
        "write over an object",
        lambda: entries.overwrite(path, doing="probe"),
        Occupied,
        otherwise=_OVERWRITTEN,
    )


def excess(entries: Entries, *, transit: str | None) -> Iterator[ProbeCheck]:
    """Compare what the token may do with what any process of a target needs."""
    what = "rights of the token"
    with entries.explained("ask what the token may do", writing=False):
        found = [right for right in rights(entries.vault, _needs(entries, transit)) if right.excess]
    for right in found:
        yield ProbeCheck(
            what=f"{what}: {right.path}", outcome=ProbeResult.EXCESS, detail=", ".join(right.excess)
        )
    if not found:
        yield ProbeCheck(what=what)


def settings(entries: Entries) -> Iterator[ProbeCheck]:
    """Look at the mount's own settings, if the token may."""
    what = "the mount keeps what it holds"
    try:
        answer = entries.vault.get(entries.mount, "config")
    except Denied:
        yield ProbeCheck(what=what, outcome=ProbeResult.NOT_SHOWN, detail=_CONFIG_UNSEEN)
        return
    found = answer.read(_CONFIG).data if answer.found else _Config()
    forgets = found.delete_version_after not in ("", "0s")
    yield ProbeCheck(
        what=what, outcome=ProbeResult.EXCESS if forgets else ProbeResult.FINE, detail=_FORGETS * forgets
    )
    if not found.cas_required:
        yield ProbeCheck(what="the mount demands check-and-set", outcome=ProbeResult.ADVICE, detail=_CAS)


def _needs(entries: Entries, transit: str | None) -> Iterator[Need]:
    mount, below = paths.folder(entries.mount), paths.folder(entries.folder)
    yield Need(path=f"{mount}data/{below}*", capabilities=frozenset({"create", "read"}))
    yield Need(path=f"{mount}metadata/{below}*", capabilities=frozenset({"list", "delete"}))
    for change in ("delete", "undelete", "destroy"):
        yield Need(path=f"{mount}{change}/{below}*", capabilities=_NOTHING)
    yield Need(path=f"{mount}config", capabilities=frozenset({"read"}))
    yield Need(path=f"sys/mounts/{mount.rstrip('/')}", capabilities=_NOTHING)
    if transit is not None:
        home, _, key = transit.rpartition("/")
        for use in ("encrypt", "decrypt"):
            yield Need(path=f"{home}/{use}/{key}", capabilities=frozenset({"update"}))
        yield Need(path=f"{home}/keys/{key}", capabilities=_NOTHING)
        yield Need(path=f"{home}/keys/{key}/config", capabilities=_NOTHING)


_OVERWRITTEN = "the token's policy has 'update' on data: anyone who steals it can overwrite backups"
_CONFIG_UNSEEN = "the token may not read the mount's config; a put finds out if it deletes by itself"
_FORGETS = "delete_version_after is set: backups would be deleted automatically"
_CAS = "with cas_required=true no other client can write over anything by mistake"
