"""What is told: once, again after a time, at once when it is worse, and once that it is over."""

from __future__ import annotations

import pytest

from strongroom.operations.engine.findings import Finding
from strongroom.operations.engine.muted import Acknowledgement, Muted, Silence
from strongroom.operations.judge.kinds import wrong
from strongroom.operations.notify.channels import AlertMessage
from strongroom.operations.notify.mail import letter
from strongroom.operations.notify.message import DueNews, News, subject, tell, write_message
from strongroom.state.notes import NotifiedAlert

NOW, DAY = 1_000_000.0, 86_400.0
FAILED = wrong("backup.failed", "p", what="policy 'p': 2 runs failed", weight=2)
SLOW = wrong("backup.slow", "p", what="policy 'p': slow")
LOST = wrong("backup.lost", what="1 backup is lost", weight=1)


def told(alert: Finding, *, sent_ago: float | None = 3600.0, **fields: object) -> NotifiedAlert:
    values = {
        "key": alert.key,
        "severity": alert.severity.value,
        "weight": alert.weight,
        "what": alert.what,
        "first_seen": NOW - 2 * DAY,
        "sent_at": None if sent_ago is None else NOW - sent_ago,
    }
    return NotifiedAlert(**{**values, **fields})  # type: ignore[arg-type]


def news(*before: NotifiedAlert, alerts: tuple[Finding, ...] = (FAILED,)) -> list[News]:
    return [item.news for item in tell(alerts, before, repeat=DAY, now=NOW).items]


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ((), [News.NEW]),
        ((told(FAILED, sent_ago=None),), [News.NEW]),
        ((told(FAILED),), []),
        ((told(FAILED, sent_ago=DAY - 1),), []),
        ((told(FAILED, sent_ago=DAY),), [News.AGAIN]),
        ((told(FAILED, weight=1),), [News.WORSE]),
        ((told(FAILED, weight=3),), []),
        ((told(FAILED, severity="warning", weight=9),), [News.WORSE]),
        ((told(FAILED, resolved_at=NOW - 60),), [News.NEW]),
        ((told(FAILED, sent_ago=-DAY),), [News.AGAIN]),  # the clock was put back
    ],
)
def test_an_alert_is_told_when_there_is_news_of_it(
    before: tuple[NotifiedAlert, ...], expected: list[News]
) -> None:
    assert news(*before) == expected


def test_what_is_over_is_told_once_and_only_to_who_knew_of_it() -> None:
    telling = tell((), [told(FAILED), told(SLOW, sent_ago=None)], repeat=DAY, now=NOW)
    assert [one.key for one in telling.over] == ["backup.failed:p"]
    assert {one.key: one.resolved_at for one in telling.rows} == {
        "backup.failed:p": NOW,
        "backup.slow:p": NOW,
    }
    assert tell((), telling.rows, repeat=DAY, now=NOW).is_empty


def test_what_rests_on_targets_is_not_over_as_long_as_one_was_not_looked_at() -> None:
    before = [told(LOST), told(SLOW)]
    assert [one.key for one in tell((), before, repeat=DAY, now=NOW, looked=False).over] == ["backup.slow:p"]
    assert len(tell((), before, repeat=DAY, now=NOW).over) == 2


def test_a_ledger_that_a_head_contradicted_is_not_over_as_long_as_its_target_was_not_looked_at() -> None:
    broken = told(wrong("ledger.broken", what="event 2 is another one"))
    assert tell((), [broken], repeat=DAY, now=NOW, looked=False).is_empty
    assert tell((), [broken], repeat=DAY, now=NOW).over == (broken,)


def test_a_refused_manifest_that_no_look_reads_again_is_not_called_over_and_told_anew_if_one_does() -> None:
    refused = wrong("manifest.refused", "eu", what="1 backup", weight=1)
    telling = tell((), [told(refused)], repeat=DAY, now=NOW)
    assert telling.is_empty
    assert news(*telling.rows, alerts=(refused,)) == [News.NEW]


def test_since_when_it_is_known_is_kept_from_telling_to_telling() -> None:
    [item] = tell([FAILED], [told(FAILED, sent_ago=DAY)], repeat=DAY, now=NOW).items
    assert item.since == NOW - 2 * DAY


def test_all_of_it_is_told_if_that_is_asked_for() -> None:
    telling = tell([FAILED], [told(FAILED)], repeat=DAY, now=NOW, everything=True)
    assert [item.news for item in telling.items] == [News.AGAIN]


def test_what_is_about_one_host_is_over_when_that_host_says_so() -> None:
    full = wrong("space.low", "the stage on one", what="full")

    def over(host: str) -> int:
        return len(tell((), [told(full)], repeat=DAY, now=NOW, host=host).over)

    assert (over("one"), over("two")) == (1, 0)


# -- what people said of it ----------------------------------------------------


def acknowledged(alert: Finding, *, at: float = NOW - DAY, weight: int | None = None) -> Muted:
    known = Acknowledgement(
        key=alert.key,
        at=at,
        severity=alert.severity.value,
        weight=alert.weight if weight is None else weight,
        by="ann@desk",
        reason="on it",
    )
    return Muted(acknowledged={alert.key: known})


@pytest.mark.parametrize(
    ("muted", "expected"),
    [
        (acknowledged(FAILED), []),
        (acknowledged(FAILED, weight=1), [News.AGAIN]),  # it is worse than what they said they work on
        (acknowledged(FAILED, at=NOW - 3 * DAY), [News.AGAIN]),  # that was of another time
        (acknowledged(SLOW), [News.AGAIN]),
    ],
)
def test_what_somebody_works_on_is_not_repeated_unless_it_became_worse_or_came_back(
    muted: Muted, expected: list[News]
) -> None:
    before = told(FAILED, sent_ago=DAY)
    assert [
        item.news for item in tell([FAILED], [before], repeat=DAY, now=NOW, muted=muted).items
    ] == expected


def test_what_somebody_works_on_is_told_when_it_is_worse_and_when_it_is_over() -> None:
    muted, before = acknowledged(FAILED), told(FAILED, weight=1)
    [item] = tell([FAILED], [before], repeat=DAY, now=NOW, muted=muted).items
    assert item.news is News.WORSE
    assert tell([], [before], repeat=DAY, now=NOW, muted=muted).over == (before,)


def silence(pattern: str) -> Muted:
    one = Silence(id="1", pattern=pattern, since=NOW - 60, until=NOW + 60, by="ann@desk", reason="it moves")
    return Muted(silences=(one,))


def test_a_silence_keeps_news_and_ends_back_until_it_is_over() -> None:
    muted, before = silence("backup.*:p"), told(SLOW)
    telling = tell([FAILED, LOST], [before], repeat=DAY, now=NOW, muted=muted)
    assert [item.alert.key for item in telling.items] == ["backup.lost"]
    assert telling.over == ()
    after = tell([FAILED, LOST], [before, *telling.rows], repeat=DAY, now=NOW)
    assert [item.alert.key for item in after.items] == ["backup.failed:p"]
    assert after.over == (before,)


def test_a_host_that_is_not_the_teller_tells_of_itself_alone() -> None:
    full = wrong("space.low", "the stage on one", what="full")
    telling = tell([FAILED, full], [told(LOST)], repeat=DAY, now=NOW, host="one", teller=False)
    assert [item.alert.key for item in telling.items] == ["space.low:the stage on one"]
    assert telling.over == ()
    assert tell([full], [], repeat=DAY, now=NOW, host="two", teller=False).is_empty


def test_news_that_is_sent_again_has_the_same_id_and_other_news_another() -> None:
    def name(*before: NotifiedAlert, alerts: tuple[Finding, ...] = (FAILED,)) -> str:
        return tell(alerts, before, repeat=DAY, now=NOW).id

    assert name() == name()
    again, later = told(FAILED, sent_ago=DAY), told(FAILED, sent_ago=2 * DAY)
    over = told(FAILED, resolved_at=NOW - 60)
    assert len({name(), name(again), name(later), name(over), name(alerts=(SLOW,))}) == 5


# -- the message ---------------------------------------------------------------


def written(telling: DueNews, *, host: str = "safe-host") -> AlertMessage:
    return write_message(telling, host=host, now=NOW, notes=["A note."])


def text_of(telling: DueNews) -> str:
    return str(letter(written(telling), "s@example.org", ["a@example.org"]).get_content())


def test_a_letter_says_what_happened_what_it_means_and_what_to_do_the_worst_first() -> None:
    text = text_of(tell([FAILED, SLOW], [told(LOST)], repeat=DAY, now=NOW))
    assert text.index("CRITICAL: backup.failed:p") < text.index("WARNING: backup.slow:p")
    for words in (
        "A note.",
        "What it means: ",
        "What to do: ",
        "RESOLVED",
        "strongroom runs",
        "on safe-host at",
    ):
        assert words in text
    assert max(map(len, text.splitlines())) <= 76


def test_a_subject_counts_by_severity() -> None:
    assert subject(tell([LOST, FAILED, SLOW], [], repeat=DAY, now=NOW), "h") == (
        "[strongroom] 2 critical, 1 warning on h"
    )
    assert subject(tell([], [told(SLOW)], repeat=DAY, now=NOW), "h") == "[strongroom] 1 resolved on h"


def test_no_name_forges_a_header_or_a_line() -> None:
    hostile = wrong(
        "replica.bad",
        "eu\r\nBcc: x@evil.org",
        what="target 'eu\r\n\r\nCRITICAL: all is lost\x1b[2J'",
    )
    telling = tell([hostile], [], repeat=DAY, now=NOW)
    made = letter(written(telling, host="h\r\nBcc: y@evil.org"), "s@example.org", ["a@example.org"])
    raw = made.as_bytes()
    assert b"\nBcc:" not in raw
    assert b"\x1b" not in raw
    assert not any(line.startswith(b"CRITICAL: all") for line in raw.splitlines())
