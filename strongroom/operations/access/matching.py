"""From what access logs say and what our own record has to what nobody recorded. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from typing import Final

from msgspec import Struct, structs

from strongroom.operations.access.reads import Did, Read

UNRECORDED: Final = "access.unrecorded"
KEY_USED: Final = "access.key-used"
REFUSED: Final = "access.refused"
CHANGED: Final = "access.changed"
UNLOCKED: Final = "access.unlocked"
SLACK: Final = 120.0
"""Seconds by which the clocks of a server and of the state database may differ."""
BACKUPS: Final = 50
"""Backups that are named of one stranger."""
STRANGERS: Final = 200
"""Strangers that are told apart in one look; the others are added to the last."""
_VAULT_WIDE = ("sys/audit", "sys/policy", "sys/policies")
_CONTAINER = re.compile(r"containers/([A-Za-z0-9_-][A-Za-z0-9._-]*)/")


class Activity(Struct, frozen=True, kw_only=True):
    """A time in which somebody of ours, by our own record, may have read backups.

    ``backups``: of these; ``policy``: of any of this policy; neither: of any at all. ``opens``: keys were
    used.
    """

    began: float
    ended: float
    backups: frozenset[str] = frozenset()
    policy: str = ""
    opens: bool = False


class Watch(Struct, frozen=True, kw_only=True):
    """What to look for in a log.

    ``places`` is what the names begin with of all that lies on the targets, ``keys`` the keys of backups as
    the log names them, ``ours`` patterns of who we are there, ``networks`` where our hosts are; empty:
    that is not known. ``refusals``: so many in a row are an alarm.
    """

    places: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    refusals: int = 5


class Stranger(Struct, frozen=True, kw_only=True):
    """Somebody who did what nobody of ours recorded: who, from where, what, when, and by which log."""

    kind: str
    who: str
    origin: str
    what: str
    how: str
    log: str
    why: str
    times: int
    first: float
    last: float
    backups: tuple[str, ...] = ()


def strangers(
    reads: Iterable[Read],
    watch: Watch,
    activities: Sequence[Activity],
    policies: dict[str, str],
    refused: dict[str, int],
) -> tuple[Stranger, ...]:
    """Return who did what nobody recorded.

    Args:
        policies: of each backup on record.
        refused: how often each was refused in a row until now; what these reads add is written into it.
    """
    found: dict[tuple[str, str, str, str], Stranger] = {}
    for kind, why, read, times in _judged(reads, watch, activities, policies, refused):
        key = (kind, read.who, read.origin, why)
        if key not in found and len(found) >= STRANGERS:
            key = next(reversed(found))
        found[key] = _with(found.get(key), kind, why, read, times)
    return tuple(found.values())


def _judged(
    reads: Iterable[Read],
    watch: Watch,
    activities: Sequence[Activity],
    policies: dict[str, str],
    refused: dict[str, int],
) -> Iterator[tuple[str, str, Read, int]]:
    for read in reads:
        if not is_meant(read, watch):
            continue
        if read.did is Did.REFUSED:
            refused[read.who] = refused.get(read.who, 0) + 1
            if refused[read.who] >= watch.refusals:
                yield (
                    REFUSED,
                    "was refused again and again",
                    read,
                    1 if refused[read.who] > watch.refusals else watch.refusals,
                )
            continue
        refused.pop(read.who, None)
        if (told := _judge(read, watch, activities, policies)) is not None:
            yield *told, read, 1


def _judge(
    read: Read, watch: Watch, activities: Sequence[Activity], policies: dict[str, str]
) -> tuple[str, str] | None:
    """Return the kind of alarm, and why; nothing if the record has it."""
    if read.did is Did.CHANGED:
        return CHANGED, "changed permissions or logging"
    if read.did is Did.UNLOCKED:
        return UNLOCKED, "shortened or lifted a lock"
    kind = KEY_USED if read.did is Did.OPENED else UNRECORDED
    if why := stranger(read, watch):
        return kind, why
    backup = backup_of(read.what)
    if read.did is Did.READ and not backup:
        return None  # manifests and heads: every look of ours reads them, and they hold no values
    if any(_covers(activity, read, backup, policies) for activity in activities):
        return None
    return kind, "did what no run and no command on record did"


def stranger(read: Read, watch: Watch) -> str:
    """Say why this is none of ours; nothing if it may be."""
    if watch.ours and not any(fnmatchcase(read.who, address) for address in watch.ours):
        return "is not who Strongroom is there"
    if watch.networks and not _is_within(read.origin, watch.networks):
        return "came from a foreign address"
    return ""


def _is_within(origin: str, networks: Iterable[str]) -> bool:
    try:
        address = ip_address(origin)
    except ValueError:
        return False
    return any(address in ip_network(network, strict=False) for network in networks)


def _covers(activity: Activity, read: Read, backup: str, policies: dict[str, str]) -> bool:
    if not activity.began - SLACK <= read.at <= activity.ended + SLACK:
        return False
    if read.did is Did.OPENED:
        return activity.opens
    if activity.backups:
        return backup in activity.backups
    return not activity.policy or policies.get(backup) == activity.policy


def is_meant(read: Read, watch: Watch) -> bool:
    """Tell whether this is about our backups, their keys, or what guards them."""
    if read.did is Did.READ:
        return read.what.startswith(watch.places)
    if read.did is Did.OPENED:
        return any(_is_key(read.what, key) for key in watch.keys)
    guarded = (*watch.places, *(key.replace("//", "/") for key in watch.keys))
    if read.what.startswith(_VAULT_WIDE) or not read.what or ":trail/" in read.what:
        return True  # a policy, or a log as a whole: it may be about anything
    if read.what.startswith("sys/"):
        return f"{read.what.split('/')[-1]}/" in {
            f"{guarded_name.partition('/')[0]}/" for guarded_name in guarded
        }
    above = f"{read.what.rstrip('/')}/"
    return (
        read.what.startswith(watch.places)
        or any(_is_key(read.what, key) for key in watch.keys)
        or any(place.startswith(above) for place in watch.places)
    )


def _is_key(what: str, key: str) -> bool:
    """Tell whether a path or ARN is of a key. A key of Vault is named ``mount//name``."""
    mount, slashes, name = key.partition("//")
    if not slashes:
        return what == key or what.endswith(f"/{key}")
    parts = what.removeprefix(f"{mount}/").split("/")
    return what.startswith(f"{mount}/") and name in parts[1:]


def backup_of(what: str) -> str:
    """Return the backup whose container a name is of; empty if it is of none."""
    found = _CONTAINER.search(what)
    return found[1] if found else ""


def _with(known: Stranger | None, kind: str, why: str, read: Read, times: int) -> Stranger:
    backup = backup_of(read.what)
    if known is None:
        return Stranger(
            kind=kind, why=why, who=read.who, origin=read.origin, what=read.what, how=read.how, log=read.log,
            times=times, first=read.at, last=read.at, backups=(backup,) if backup else (),
        )  # fmt: skip
    more = bool(backup) and backup not in known.backups and len(known.backups) < BACKUPS
    return structs.replace(
        known,
        times=known.times + times,
        first=min(known.first, read.at),
        last=max(known.last, read.at),
        backups=(*known.backups, backup) if more else known.backups,
    )
