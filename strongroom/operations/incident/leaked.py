"""Which values in a backup an incident has as known to others: said before anybody brings them back.

That stays so when the incident is closed: it was closed because they had been changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from strongroom.container.manifest import Manifest
from strongroom.errors import StrongroomError
from strongroom.keys import Identity
from strongroom.model import Secret
from strongroom.operations.archive.choice import made_at
from strongroom.operations.archive.incidents import Incident
from strongroom.operations.incident.names import unsealed
from strongroom.operations.layout import base_of
from strongroom.words import plural

NAMED = 5
"""Secrets that are named in text."""

Find = Callable[[str], tuple[Secret, Manifest] | None]
"""Gives a secret as it would be restored, and the backup that it is from."""


class Leaked(Struct, frozen=True, kw_only=True):
    """What an incident has as known to others, of what is to be restored.

    ``names`` is empty where the incident is about all that a backup holds, and where the ``secrets`` that it
    names cannot be opened here: then any of them may be among what is restored.
    """

    incident: str
    opened_at: str
    names: tuple[str, ...] = ()
    backup: str = ""
    sealed: int = 0

    @property
    def words(self) -> str:
        """Say it, for people."""
        since = f"incident {self.incident}, opened at {self.opened_at},"
        if self.backup:
            return f"{since} has all values of backup {self.backup} as known to others"
        if self.sealed:
            of = plural(self.sealed, "secret")
            return f"{since} has the values of {of} as known to others, and no key here tells of which"
        shown = ", ".join(f"'{name}'" for name in self.names[:NAMED])
        more = len(self.names) - NAMED
        named = shown + (f" and {more:,} more" if more > 0 else "")
        return f"{since} has {plural(len(self.names), 'value')} of this restore as known to others: {named}"


def leaked_values(
    incidents: Mapping[str, Incident],
    manifests: Sequence[Manifest],
    find: Find,
    *,
    identities: Sequence[Identity],
    asked: Callable[[str], bool],
) -> list[Leaked]:
    """Return what incidents have as known to others of what is restored from some backups.

    Args:
        asked: tells whether a secret of this name is restored.
    """
    return [
        leak
        for incident in incidents.values()
        for leak in _of(incident, manifests, find, identities=identities, asked=asked)
    ]


def _of(
    incident: Incident,
    manifests: Sequence[Manifest],
    find: Find,
    *,
    identities: Sequence[Identity],
    asked: Callable[[str], bool],
) -> Iterator[Leaked]:
    about = Leaked(incident=incident.id, opened_at=incident.opened_at)
    affected = {base_of(affected_backup.backup) for affected_backup in incident.affected}
    if incident.suspicion.is_about_backups:
        for manifest in manifests:
            if base_of(manifest.backup_id) in affected:
                yield Leaked(incident=about.incident, opened_at=about.opened_at, backup=manifest.backup_id)
        return
    if not incident.suspicion.names:
        return
    try:
        named = unsealed(incident.suspicion, identities)
    except StrongroomError:
        yield Leaked(incident=about.incident, opened_at=about.opened_at, sealed=incident.suspicion.secrets)
        return
    opened = datetime.fromisoformat(incident.opened_at).timestamp()
    known = tuple(
        name
        for name, (secret, manifest) in _found(filter(asked, named.names), find)
        if made_at(manifest) <= opened or _was(named.was, manifest.source, secret)
    )
    if known:
        yield Leaked(incident=about.incident, opened_at=about.opened_at, names=known)


def _found(names: Iterable[str], find: Find) -> Iterator[tuple[str, tuple[Secret, Manifest]]]:
    for name in names:
        if (found := find(name)) is not None:
            yield name, found


def _was(was: Callable[[str, str, bytes], bool], source: str, secret: Secret) -> bool:
    value = secret.current.value
    return value is not None and was(source, secret.name, value.reveal())
