"""Telling people what is wrong: once, again when it gets worse or after a time, and once that it is over.

What was told is recorded after a channel took it. Whoever dies in between tells it twice, never not at all.
Where the record cannot be read everything is told each time: better than nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from strongroom.alert_kinds import Severity
from strongroom.errors import StrongroomError, UsageError
from strongroom.operations.archive.inventory import LostReplica, put_on_record
from strongroom.operations.engine import muted, noted
from strongroom.operations.engine.calendar_entries import Ping, Signal
from strongroom.operations.engine.findings import Finding
from strongroom.operations.engine.muted import Muted, read_muted
from strongroom.operations.errors import ChannelUnavailable
from strongroom.operations.judge.fact_records import AlertLimits, InstallationFacts, WatchedInstallation
from strongroom.operations.judge.facts import gather, without_record
from strongroom.operations.judge.judgement import judge
from strongroom.operations.judge.kinds import alerts_of
from strongroom.operations.notify.channels import AlertMessage
from strongroom.operations.notify.message import (
    FORGOTTEN,
    DueNews,
    Route,
    audience,
    tell,
    with_notes,
    write_message,
)
from strongroom.state.notes import NotifiedAlert
from strongroom.state.store import RunStore
from strongroom.words import plural, spelled_out

NO_RECORD = (
    "The state database could not be read: nobody knows what was sent before, so all of it is sent again "
    "each time, and what the record alone shows is missing here."
)
CLUSTER = "workers"
"""Whose look it is, whichever worker makes it."""
EDITED = "the state database holds a row that nobody could have written there but by hand"


class JudgedFacts(Struct, frozen=True, kw_only=True):
    """What a look found: the facts, and how they are judged by these limits."""

    facts: InstallationFacts
    limits: AlertLimits
    findings: tuple[Finding, ...]

    @property
    def alerts(self) -> tuple[Finding, ...]:
        """What people are told of, the worst first."""
        return alerts_of(self.findings)


TAKEOVER: Final = 2400.0
"""Seconds: the cluster looks each quarter of an hour, so that two looks in a row were missed."""


class Sending(Struct, frozen=True, kw_only=True):
    """Who is notified by which routes, and what is pinged. ``everything``: whatever was sent before.

    ``by`` names whose look it is, that of the cluster; empty: that of a command on this host. Of several that
    look on one state database, one tells; after ``takeover`` seconds without a look of it, another does. The
    cluster waits for no command: somebody may have typed it once.
    """

    routes: tuple[Route, ...]
    ping: Ping | None = None
    takeover: float = TAKEOVER
    everything: bool = False
    by: str = ""


class Delivery(Struct, frozen=True, kw_only=True):
    """What became of a route's message: the channel that took it, who was not told, and what went wrong.

    ``teller`` is whose look tells, if it is not this one.
    """

    route: Route
    telling: DueNews
    channel: str = ""
    missed: tuple[str, ...] = ()
    error: StrongroomError | None = None
    teller: str = ""


def gather_and_judge(
    watched: WatchedInstallation, limits: AlertLimits, *, now: float | None = None, look: bool = True
) -> JudgedFacts:
    """Gather the facts and judge them; see :func:`gather` for ``look``."""
    moment = time.time() if now is None else now
    try:
        facts = gather(watched, limits, now=moment, look=look)
        return JudgedFacts(facts=facts, limits=limits, findings=judge(facts, limits))
    except (TypeError, ValueError, OverflowError):  # a row that was edited keeps no alarm from being told
        facts = without_record(watched, limits, now=moment, why=EDITED, look=look)
        return JudgedFacts(facts=facts, limits=limits, findings=judge(facts, limits))


def put_lost_on_record(watched: WatchedInstallation, found: JudgedFacts) -> None:
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
            put_on_record(
                store, [LostReplica(replica, "a check of the target did not find it") for replica in mine]
            )


def to_tell(watched: WatchedInstallation, found: JudgedFacts, sending: Sending) -> tuple[Delivery, ...]:
    """Return what there is to tell now, by what was told before."""
    notifier = _Notifier(watched, found, sending)
    return tuple(Delivery(route=route, telling=notifier.due(route)) for route in sending.routes)


def tell_people(watched: WatchedInstallation, found: JudgedFacts, sending: Sending) -> tuple[Delivery, ...]:
    """Send on each route one message with all that is new, if anything is; return what became of it.

    What was not told is told by the next look, whoever makes it.
    """
    notifier = _Notifier(watched, found, sending)
    deliveries = tuple(map(notifier.tell, sending.routes))
    if sending.ping is not None:
        notifier.ping(sending.ping, [who for delivery in deliveries for who in delivery.missed])
    notifier.record_channels()
    return deliveries


def muted_now(watched: WatchedInstallation, found: JudgedFacts) -> Muted:
    """Return what people silenced or acknowledged; nothing, where the record cannot be read."""
    if found.facts.state is None:
        with suppress(StrongroomError):
            return read_muted(watched.store(), now=found.facts.now)
    return Muted()


def _attempt(name: str, send: Callable[[], None]) -> StrongroomError | None:
    """Send by a channel; return what went wrong. A fault of ours in one keeps no other from telling."""
    try:
        send()
    except StrongroomError as error:
        return error
    except Exception as error:  # noqa: BLE001  # its words may quote an address
        return ChannelUnavailable(f"Channel '{name}' could not be used: {type(error).__name__}.")
    return None


class _Notifier:
    """Tells people what one look found.

    Where the record cannot be read, or goes away meanwhile, all is told: twice is better than never.
    """

    def __init__(self, watched: WatchedInstallation, found: JudgedFacts, sending: Sending) -> None:
        self._watched, self._found, self._sending = watched, found, sending
        self._mine = sending.by or watched.host
        self._on_record = found.facts.state is None
        self._muted = muted_now(watched, found)
        self._used: dict[str, StrongroomError | None] = {}

    def tell(self, route: Route) -> Delivery:
        """Send what is new on a route, and put on record that it was told."""
        teller = self._teller(route)
        telling = self.due(route, teller=not teller)
        delivery = Delivery(route=route, telling=telling, teller=teller)
        if not telling.is_empty or self._sending.everything:
            now = self._found.facts.now
            message = write_message(telling, host=self._watched.host, now=now, notes=list(self._notes()))
            delivery = self._deliver(delivery, message)
        if delivery.missed and not delivery.channel:
            self._step_down(route)
        else:
            self._record(telling, route)
        return delivery

    def due(self, route: Route, *, teller: bool = True) -> DueNews:
        """Return what is to be told on a route."""
        facts = self._found.facts
        return tell(
            [alert for alert in self._found.alerts if route.takes(alert)],
            self._told(route),
            repeat=route.repeat,
            now=facts.now,
            host=self._watched.host,
            looked=not facts.away and self._on_record,
            everything=self._sending.everything,
            muted=self._muted,
            teller=teller,
        )

    def ping(self, ping: Ping, missed: Sequence[str]) -> None:
        """Tell the dead man's switch that somebody looked, and whether people have to look, too."""
        active = [alert for alert in self._found.alerts if self._muted.silence_of(alert.key) is None]
        bad = [alert for alert in active if ping.warnings or alert.severity is Severity.CRITICAL]
        words = [f"{alert.severity.upper()} {alert.key}: {alert.what}" for alert in active]
        words += [f"NOT TOLD: {who}" for who in missed]
        signal = Signal.FAILURE if bad or missed else Signal.SUCCESS
        self._used[ping.name] = _attempt(
            ping.name, lambda: ping.send(signal, "\n".join(map(spelled_out, words)))
        )

    def record_channels(self) -> None:
        """Put on record which channels worked, so that the others tell of those that do not."""
        if self._on_record:
            with suppress(StrongroomError):
                noted.record_channel(self._watched.store(), self._used, now=self._found.facts.now)

    def _notes(self) -> Iterator[str]:
        if not self._on_record:
            yield NO_RECORD
        silenced = sum(self._muted.silence_of(alert.key) is not None for alert in self._found.alerts)
        if silenced:
            yield (
                f"Not told: {plural(silenced, 'alert')} that somebody silenced ('strongroom alerts silence')."
            )

    def _deliver(self, delivery: Delivery, message: AlertMessage) -> Delivery:
        """Hand the message to the first channel of the route that takes it."""
        failed: list[StrongroomError] = []
        for channel in delivery.route.channels:
            noted = with_notes(message, [error.message for error in failed])
            error = self._used[channel.name] = _attempt(channel.name, partial(channel.send, noted))
            if error is None:
                return replace(delivery, channel=channel.name)
            if isinstance(error, ChannelUnavailable) and error.partly:  # the others need no second one
                return replace(delivery, channel=channel.name, missed=error.missed, error=error)
            failed.append(error)
        missed = tuple(channel.where for channel in delivery.route.channels)
        return replace(delivery, missed=missed, error=failed[0])

    def _teller(self, route: Route) -> str:
        """Return whose look tells, if it is not this one."""
        if self._on_record and not self._sending.everything:
            with suppress(StrongroomError):
                store, lease, seconds = self._watched.store(), self._lease(route), self._sending.takeover
                teller = store.take_lease(lease, self._mine, seconds=seconds)
                if CLUSTER == self._mine != teller:  # a command looks once, and the cluster again
                    store.release_lease(lease, teller)
                    teller = store.take_lease(lease, self._mine, seconds=seconds)
                return "" if teller == self._mine else teller
        return ""

    def _step_down(self, route: Route) -> None:
        """Let another look tell: from its host the channels may be reached."""
        if self._on_record:
            with suppress(StrongroomError):
                self._watched.store().release_lease(self._lease(route), self._mine)

    def _lease(self, route: Route) -> str:
        return f"alerts {self._audience(route)}"

    def _audience(self, route: Route) -> str:
        return audience(route, threshold=self._found.limits.threshold_age)

    def _told(self, route: Route) -> Sequence[NotifiedAlert]:
        if self._on_record:
            with suppress(StrongroomError):
                return self._watched.store().told(self._audience(route))
        return ()

    def _record(self, telling: DueNews, route: Route) -> None:
        """Record what was told. If that fails it is told again: that is no reason to have told nobody."""
        if self._on_record and telling.rows:
            with suppress(StrongroomError):
                heard, forget = self._audience(route), self._found.facts.now - FORGOTTEN
                self._watched.store().put_told(heard, telling.rows, forget=forget)


def acknowledge(
    store: RunStore, watched: WatchedInstallation, limits: AlertLimits, key: str, *, by: str, reason: str
) -> None:
    """Put on record that somebody works on an alert, as bad as people were told that it is, or as it is now.

    Raises:
        UsageError: nobody was told of such an alert, and there is none.
    """
    told = store.told_of(key)
    worst = max(told, key=lambda alert: (alert.severity == "critical", alert.weight), default=None)
    if worst is not None:
        muted.acknowledge(store, key, severity=worst.severity, weight=worst.weight, by=by, reason=reason)
        return
    found = gather_and_judge(watched, limits, look=False).alerts
    alert = next((finding for finding in found if finding.key == key), None)
    if alert is None:
        raise UsageError(
            f"Nobody was notified of an alert '{key}', and the record shows none.",
            hint="Nothing was changed. 'strongroom alerts' lists the alerts by their names.",
        )
    muted.acknowledge(store, key, severity=alert.severity.value, weight=alert.weight, by=by, reason=reason)
