"""The trial of all keys, which the calendar asks for: quarterly, and daily while one is not proven."""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import Struct

from strongroom.config import Settings
from strongroom.operations.key_management.health import (
    Due,
    Outcome,
    Tried,
    due,
    proofs,
    record_proofs,
    try_keys,
)
from strongroom.operations.key_management.usage import look_all
from strongroom.operations.services import Checked, Services

CHECKED = "key.checked"


class Health(Struct, frozen=True, kw_only=True):
    """What a trial found: each key that was tried, those that need a proof, and the backups that
    no target gave, with why."""

    tried: tuple[Tried, ...]
    late: tuple[Due, ...]
    unread: dict[str, str]

    @property
    def bad(self) -> list[str]:
        """The keys that failed or are overdue, and the backups that could not be looked at."""
        failed = [one.label or one.key for one in self.tried if one.outcome is Outcome.FAILED]
        overdue = [one.label or one.key for one in self.late if one.overdue]
        return list(dict.fromkeys((*failed, *overdue, *self.unread)))


def check(services: Services, *, progress: Callable[[int], object] | None = None) -> Health:
    """Try every key at hand on a backup of each class, and keep what was found out."""
    looked = look_all(services, services.store.backups(), progress=progress)
    tried = try_keys(looked.found, services.identities())
    record_proofs(services, tried)
    late = due(tried, proofs(services), now=time.time())
    health = Health(tried=tuple(tried), late=tuple(late), unread=looked.unread)
    services.store.event(CHECKED, bad=health.bad)
    return health


def prove(services: Services, _settings: Settings) -> Checked:
    """Check, as the calendar asks for it."""
    do = "'strongroom key-health check' says what each key needs."
    return Checked(bad=tuple(check(services).bad), do=do)
