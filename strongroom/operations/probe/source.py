"""Proving that a source can be read, and that its credential can do no more than that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from strongroom.errors import StrongroomError
from strongroom.model import ListedSecret
from strongroom.operations.probe.target import Probe, describe_error, works
from strongroom.sources import Source
from strongroom.targets.probing import ProbeCheck, ProbeResult, of_mode
from strongroom.words import plural


def probe_source(source: Source, *, path: Path | None = None, writing: bool = False) -> Probe:
    """List a source and read one secret; compare its credential's rights where its server tells them.

    Args:
        path: the file or directory that the source is, if it is one.
        writing: whether secrets are restored into it, so that its credential has to be able to write.
    """
    checks = tuple(_source(source, path, writing=writing))
    return Probe(kind="source", name=source.name, place=str(path or ""), checks=checks)


def _source(source: Source, path: Path | None, *, writing: bool) -> Iterator[ProbeCheck]:
    try:
        count, entry = _listed(source)
    except StrongroomError as error:
        yield ProbeCheck(what="list", outcome=ProbeResult.MISSING, detail=describe_error(error))
        return
    nothing = "it holds no secret that this credential may list"
    yield ProbeCheck(what="list", detail=f"{plural(count, 'name')}, to the end" if entry else nothing)
    if entry is None:
        yield ProbeCheck(what="read one", outcome=ProbeResult.NOT_SHOWN, detail="there is nothing to read")
    else:
        yield works("read one", lambda: any(secret is not None for secret in source.read([entry])))
    if path is not None:
        yield of_mode(path)
    else:
        yield from _rights(source, writing=writing)


def _listed(source: Source) -> tuple[int, ListedSecret | None]:
    """List to the end, since a right may lack at the last folder only; return how many, and the last.

    The last, because a Vault server lists its settings before its secrets.
    """
    count, last = 0, None
    for count, last in enumerate(source.list(), 1):  # noqa: B007
        pass
    return count, last


def _rights(source: Source, *, writing: bool) -> Iterator[ProbeCheck]:
    try:
        told = source.write_rights() if writing else None
        told = source.rights() if told is None else told
        rights = None if told is None else list(told)
    except StrongroomError as error:
        yield ProbeCheck(what="rights of the credential", outcome=ProbeResult.NOT_SHOWN, detail=error.message)
        return
    if rights is None:
        yield ProbeCheck(what="rights of the credential", outcome=ProbeResult.NOT_SHOWN, detail=_UNTOLD)
        return
    for right in rights:
        if right.missing:
            yield ProbeCheck(what=right.path, outcome=ProbeResult.MISSING, detail=", ".join(right.missing))
        if right.excess:
            yield ProbeCheck(what=right.path, outcome=ProbeResult.EXCESS, detail=", ".join(right.excess))
    if not any(right.missing or right.excess for right in rights):
        yield ProbeCheck(
            what="rights of the credential", detail=f"each of {plural(len(rights), 'path')} fits"
        )


_UNTOLD = "its server does not tell what a credential may do; compare it with ops/"
