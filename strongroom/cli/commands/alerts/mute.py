"""ack and silence: say that somebody works on an alert, or that nobody wants to hear of some for a time."""

from __future__ import annotations

import time
from argparse import Namespace

from msgspec import to_builtins

from strongroom.cli.shared.services import run_store
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.config import load_settings
from strongroom.errors import UsageError
from strongroom.operations import muted
from strongroom.operations.alerts.notify import gather_and_judge
from strongroom.operations.judge.kinds import KINDS
from strongroom.sheet import Sheet, Table
from strongroom.state.store import RunStore
from strongroom.system.person import who
from strongroom.timestamps import for_people, rfc3339
from strongroom.wiring import alerts as wiring_alerts

MOST = 255
"""How long the key of an alert is at most."""


def acknowledge_alert(arguments: Namespace, _output: Output) -> Answer:
    settings, store = load_settings(), run_store()
    severity, weight = _badness(arguments.key, store)
    if not severity:
        watched, limits = wiring_alerts.watched(settings), wiring_alerts.limits(settings)
        found = gather_and_judge(watched, limits, look=False).alerts
        severity, weight = next(
            ((finding.severity.value, finding.weight) for finding in found if finding.key == arguments.key),
            ("", 0),
        )
    if not severity:
        raise UsageError(
            f"Nobody was notified of an alert '{arguments.key}', and the record shows none.",
            hint="Nothing was changed. 'strongroom alerts' lists the alerts by their names.",
        )
    muted.acknowledge(
        store, arguments.key, severity=severity, weight=weight, by=who(), reason=arguments.reason
    )
    said = f"'{arguments.key}' is acknowledged: it is not repeated unless it becomes worse or comes back."
    return Answer(record={"acknowledged": arguments.key}, sheet=Sheet(verdict=said))


def _badness(key: str, store: RunStore) -> tuple[str, int]:
    """Return how bad an alert was when people were last told of it; nothing, if nobody was."""
    told = store.told_of(key)
    worst = max(told, key=lambda alert: (alert.severity == "critical", alert.weight), default=None)
    return (worst.severity, worst.weight) if worst else ("", 0)


def add_silence(arguments: Namespace, _output: Output) -> Answer:
    pattern, now = arguments.pattern, time.time()
    kind = pattern.partition(":")[0]
    if len(pattern) > MOST or (kind not in KINDS and not set(kind) & set("*?[")):
        raise UsageError(
            f"There is no alert '{pattern}'.",
            hint="'strongroom alerts' lists the alerts by their names.",
        )
    if not now < arguments.until <= now + muted.LONGEST:
        raise UsageError(
            "A silence ends in the future, and within 30 days.", hint="Nothing was silenced. Such as: 4h."
        )
    name = muted.put_silence(run_store(), pattern, until=arguments.until, by=who(), reason=arguments.reason)
    until = for_people(arguments.until)
    said = f"Silenced until {until}: {pattern}. Nobody is notified of these alerts, nor that they are over."
    return Answer(
        record={"id": name, "pattern": pattern, "until": rfc3339(arguments.until)},
        sheet=Sheet(verdict=said, about=f"End it before: strongroom alerts silence end {name}"),
    )


def list_silences(_arguments: Namespace, _output: Output) -> Answer:
    found = muted.read_muted(run_store(), now=time.time()).silences
    head = ("ID", "Alerts", "Until", "By", "Reason")
    rows = [
        (silence.id, silence.pattern, for_people(silence.until), silence.by, silence.reason)
        for silence in found
    ]
    dated = (
        to_builtins(silence) | {"since": rfc3339(silence.since), "until": rfc3339(silence.until)}
        for silence in found
    )
    return Answer(
        record={"silences": list(dated)},
        sheet=Sheet(parts=[Table(head, rows, nothing="Nothing is silenced.")]),
    )


def end_one_silence(arguments: Namespace, _output: Output) -> Answer:
    store = run_store()
    found = {silence.id: silence for silence in muted.read_muted(store, now=time.time()).silences}
    if arguments.id not in found:
        raise UsageError(
            f"There is no silence '{arguments.id}'.",
            hint="Nothing was changed. See: strongroom alerts silence list",
        )
    muted.end_silence(store, found[arguments.id], by=who())
    said = f"Ended: {found[arguments.id].pattern}. The next check tells of it again."
    return Answer(record={"ended": arguments.id}, sheet=Sheet(verdict=said))
