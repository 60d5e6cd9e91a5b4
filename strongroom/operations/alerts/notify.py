"""Telling people what is wrong: once, again when it gets worse or after a time, and once that it is over.

What was told is recorded after the server took the mail. Whoever dies in between tells it twice, never not at
all. Where the record cannot be read everything is told each time: better than nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from msgspec import Struct

from strongroom.errors import StrongroomError
from strongroom.operations.alerts.alert_kinds import Alert
from strongroom.operations.alerts.due_notifications import FORGOTTEN, Telling, audience, tell
from strongroom.operations.alerts.mail import MailServer, send
from strongroom.operations.alerts.message import letter
from strongroom.operations.alerts.rules import judge
from strongroom.operations.archive.inventory import Lost, put_on_record
from strongroom.operations.errors import MailUnavailable
from strongroom.operations.facts.gather import gather, without_record
from strongroom.operations.facts.records import Facts, Limits
from strongroom.operations.facts.watched import Watched
from strongroom.state.alerts import Told

NO_RECORD = (
    "The state database could not be read: nobody knows what was sent before, so all of it is sent again "
    "each time, and what the record alone shows is missing here."
)
EDITED = "the state database holds a row that nobody could have written there but by hand"


class Found(Struct, frozen=True, kw_only=True):
    """What a look found: the facts, and what is wrong by them and by these limits, the worst first."""

    facts: Facts
    limits: Limits
    alerts: tuple[Alert, ...]


class Sending(Struct, frozen=True, kw_only=True):
    """Who is notified, by which server, how often (seconds). ``everything``: whatever was sent before.

    ``by`` names whose look it is; empty: that of this host. Others see another network, and keep count by
    themselves.
    """

    server: MailServer
    recipients: tuple[str, ...]
    repeat: float
    everything: bool = False
    by: str = ""


def gather_and_judge(
    watched: Watched, limits: Limits, *, now: float | None = None, look: bool = True
) -> Found:
    """Gather the facts and judge them; see :func:`gather` for ``look``."""
    moment = time.time() if now is None else now
    try:
        facts = gather(watched, limits, now=moment, look=look)
        return Found(facts=facts, limits=limits, alerts=judge(facts, limits))
    except (TypeError, ValueError, OverflowError):  # a row that was edited keeps no alarm from being told
        facts = without_record(watched, limits, now=moment, why=EDITED, look=look)
        return Found(facts=facts, limits=limits, alerts=judge(facts, limits))


def put_lost_on_record(watched: Watched, found: Found) -> None:
    """Have the record know which replicas a look did not find, so that the scheduled repair brings them up.

    What cannot be put on record is found again by the next look.
    """
    if found.facts.state is not None:
        return
    with suppress(StrongroomError):
        store = watched.store()
        for place in found.facts.places:
            known = store.replicas_of(list(place.lost)).values() if place.lost else ()
            mine = [
                replica for each in known for replica in each if replica.target == place.name and replica.good
            ]
            put_on_record(store, [Lost(replica, "a check of the target did not find it") for replica in mine])


def to_tell(watched: Watched, found: Found, sending: Sending) -> Telling:
    """Return what there is to tell now, by what was told before."""
    facts = found.facts
    return tell(
        found.alerts,
        _told(watched, sending, found),
        repeat=sending.repeat,
        now=facts.now,
        host=watched.host,
        looked=not facts.away and facts.state is None,
        everything=sending.everything,
    )


def tell_people(watched: Watched, found: Found, sending: Sending) -> Telling:
    """Send one mail with all that is new, if anything is; return what was told.

    Raises:
        MailUnavailable: nobody was told; the same is told next time.
        MailRefused: nobody was told, or some were not, who are named.
        ConfigError: the password's file, or that of the certificates, cannot be used.
    """
    telling = to_tell(watched, found, sending)
    if telling.is_empty:
        _record(watched, telling, sending, found)
        return telling
    notes = [NO_RECORD] if found.facts.state is not None else []
    message = letter(
        telling,
        host=watched.host,
        sender=sending.server.sender,
        recipients=sending.recipients,
        now=found.facts.now,
        notes=notes,
    )
    try:
        send(message, sending.server, sending.recipients)
    except MailUnavailable as error:
        if set(error.missed) < set(sending.recipients):  # the others were told, and need not be again
            _record(watched, telling, sending, found)
        raise
    _record(watched, telling, sending, found)
    return telling


def _audience(watched: Watched, sending: Sending, found: Found) -> str:
    by, threshold = sending.by or watched.host, found.limits.threshold_age
    return audience(sending.recipients, by=by, threshold=threshold)


def _told(watched: Watched, sending: Sending, found: Found) -> Sequence[Told]:
    if found.facts.state is not None:
        return ()
    try:
        return watched.store().told(_audience(watched, sending, found))
    except StrongroomError:  # it went away since: told as if nobody knew
        return ()


def _record(watched: Watched, telling: Telling, sending: Sending, found: Found) -> None:
    """Record what was told. Where that cannot be, it is told again: that is no reason to have told nobody."""
    if found.facts.state is None and telling.rows:
        with suppress(StrongroomError):
            heard = _audience(watched, sending, found)
            watched.store().put_told(heard, telling.rows, forget=found.facts.now - FORGOTTEN)
