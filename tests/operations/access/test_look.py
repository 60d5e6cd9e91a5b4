"""What was read past us is on record and told; what we read ourselves is not."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from strongroom.errors import ConfigError
from strongroom.operations.access.follow import LogFolder
from strongroom.operations.access.look import ROW, SLACK, AccessLog, Watch, activities, beat_of, look
from strongroom.operations.archive.cases import Suspicion
from strongroom.operations.engine.services import Services
from strongroom.operations.evidence import access_log
from strongroom.operations.evidence.ledger import Question, search
from strongroom.operations.judge import facts_on_record
from strongroom.operations.judge.fact_records import AlertLimits, InstallationFacts, WatchedInstallation
from strongroom.operations.judge.judgement import intrusions
from strongroom.operations.procedures.incident_opening import find_readers, open_case
from tests.operations.access.lines import THIEF, s3_line
from tests.operations.world import made_up, make_world


class Site:
    """An installation with one backup and the access log of its bucket."""

    def __init__(self, folder: Path) -> None:
        world = make_world(folder, secrets=made_up(1), pieces=1)
        self.backup = world.back_up().id
        self.services = world.services()
        self.run = self.services.store.load(self.backup)
        self.folder = folder / "log"
        self.folder.mkdir()
        self.container = f"containers/{self.backup}/{'ab' * 32}"

    def log(self, **watch: object) -> AccessLog:
        place = LogFolder(self.folder)
        watched = Watch(places=("acme-eu/",), **watch)  # type: ignore[arg-type]
        return AccessLog(name="eu", format="s3", place=lambda: place, watch=watched, settle=0)

    def write(self, *lines: bytes) -> None:
        with (self.folder / "log").open("ab") as file:
            file.writelines(lines)

    def look(self, *, now: float | None = None) -> tuple[str, ...]:
        return look(self.services, (self.log(),), now=now or time.time()).bad

    def alerts(
        self, services: Services | None = None, *, silent: float = 3600, now: float = 0.0
    ) -> list[str]:
        store, now = (services or self.services).store, now or time.time()
        watched = WatchedInstallation(
            store=lambda: store,
            targets={},
            trusted=frozenset(),
            policies=(),
            access_logs={"eu": silent},
            state_dir=self.folder,
            recovery_objective=3600,
        )
        facts = InstallationFacts(
            now=now, intrusions=tuple(facts_on_record.intrusions(store, watched, now=now))
        )
        return [f"{one.kind} {one.what}" for one in intrusions(facts, AlertLimits())]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_what_the_backup_itself_read_is_no_news(site: Site) -> None:
    site.write(s3_line(site.run.created_at, key=site.container))
    assert site.look() == ()
    assert site.alerts() == []


def test_a_stolen_copy_is_told_with_who_and_what_and_once(site: Site) -> None:
    ended = site.run.finished_at or 0.0
    site.write(s3_line(ended + SLACK + 1, key=site.container))
    (bad,) = site.look(now=ended + 2 * SLACK + 100)
    assert THIEF in bad
    (alert,) = site.alerts()
    for word in ("access.unrecorded", THIEF, "203.0.113.9", site.container, "'eu'"):
        assert word in alert
    assert site.look(now=ended + 2 * SLACK + 100) == ()
    assert len(site.services.store.events(kind="access.unrecorded")) == 1


@pytest.mark.parametrize(
    ("begun", "ended"),
    [(access_log.ATTEMPTED, access_log.OPENED), (access_log.READING, access_log.READ)],
)
def test_a_command_that_reads_the_backup_explains_its_reads_and_no_others(
    site: Site, begun: str, ended: str
) -> None:
    later = (site.run.finished_at or 0.0) + SLACK + 1
    detail = {"by": "ops", "host": "h", "command": "restore", "backup": site.backup}
    noted = [(kind, {**detail, "noted": later + after}) for kind, after in ((begun, 0), (ended, 5))]
    site.services.store.append(noted)
    site.write(s3_line(later + 1, key=site.container), s3_line(later + 5 + SLACK + 1, key=site.container))
    site.look(now=later + 1000)
    (event,) = site.services.store.events(kind="access.unrecorded")
    assert event.detail["first"] == int(later + 5 + SLACK + 1)


def test_a_command_that_reads_without_opening_explains_no_use_of_a_key(site: Site) -> None:
    now = time.time()
    for kind in (access_log.READING, access_log.READ):
        site.services.store.append([(kind, {"by": "ops", "host": "h", "backup": site.backup, "noted": now})])
    (one,) = [
        one
        for one in activities(site.services.store, now, now)
        if site.backup in one.backups and not one.policy
    ][-1:]
    assert not one.opens


def test_a_process_that_dies_before_the_cursor_moves_tells_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.write(s3_line(time.time() - 9 * SLACK, key=site.container))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(type(site.services.store), "append", die)
        with pytest.raises(KeyboardInterrupt):
            site.look()
    assert len(site.look()) == 1
    assert len(site.alerts()) == 1


def test_refusals_in_a_row_are_counted_over_looks_until_a_success(site: Site) -> None:
    ended = site.run.finished_at or 0.0
    refused = s3_line(ended, key=site.container, status=403)
    for _ in range(2):
        site.write(refused, refused)
        assert site.look() == ()
    site.write(s3_line(ended, key=site.container))  # the run explains it
    assert site.look() == ()
    site.write(*[refused] * 4)
    assert site.look() == ()
    site.write(refused)
    (bad,) = site.look()
    assert (THIEF in bad, "again and again" in bad) == (True, True)
    assert site.alerts()[0].startswith(f"access.unrecorded {THIEF}")
    assert site.look() == ()


def test_refusals_of_the_day_before_are_no_row_with_those_of_today(site: Site) -> None:
    refused = s3_line(site.run.finished_at or 0.0, key=site.container, status=403)
    site.write(*[refused] * 4)
    assert site.look() == ()
    site.write(refused)
    assert site.look(now=time.time() + ROW + 60) == ()


def test_a_log_that_is_withheld_is_told_by_its_silence(site: Site) -> None:
    site.write(s3_line(site.run.created_at, key=site.container))
    site.look()
    assert site.alerts(silent=3600) == []
    (alert,) = site.alerts(silent=-1)
    assert alert.startswith("access.log access log 'eu' has had nothing new")


def test_a_log_that_never_had_a_line_is_awaited_from_the_first_look(site: Site) -> None:
    assert site.alerts(silent=-1) == []
    site.look()
    assert beat_of("eu") in site.services.store.heartbeats()
    assert len(site.alerts(silent=-1)) == 1


def test_a_log_of_lines_that_are_none_is_doubted_and_counts_as_silent(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.look()
    beats: list[str] = []
    monkeypatch.setattr(type(site.services.store), "heartbeat", lambda _, name: beats.append(name))
    site.write(b"nonsense\n")
    assert len(site.look()) == 1
    assert beats == []
    (alert,) = site.alerts(silent=-1)
    assert alert.startswith("access.log access log 'eu': file '")
    assert "; access log 'eu' has had nothing new for" in alert


def test_a_log_that_cannot_be_read_keeps_no_other_from_being_read(site: Site, tmp_path: Path) -> None:
    site.write(s3_line(time.time() - 9 * SLACK, key=site.container))
    away = AccessLog(name="away", format="s3", place=lambda: LogFolder(tmp_path / "none"), watch=Watch())
    with pytest.raises(ConfigError, match="cannot be read"):
        look(site.services, (away, site.log()), now=time.time())
    assert len(site.alerts()) == 1


def test_the_readers_of_an_incident_name_the_stranger(site: Site) -> None:
    site.write(s3_line(time.time() - 9 * SLACK, key=site.container))
    checks = {"access": lambda services: look(services, (site.log(),), now=time.time())}
    services = replace(site.services, checks=checks)
    incident = open_case(services, Suspicion(backups=(site.backup,)), by="ops@here", reason="copied").incident
    found = find_readers(services, incident)
    assert [one.backups for one in found.readers if THIEF in one.who and "203.0.113.9" in one.who] == [
        (site.backup,)
    ]


def test_the_record_is_searched_by_who_what_when_and_from_where(site: Site) -> None:
    at = float(int(time.time() - 9 * SLACK))
    site.write(
        s3_line(at, key=site.container),
        s3_line(at, key=site.container, who="arn:other", origin="198.51.100.1"),
    )
    site.look()
    store = site.services.store

    def who(**asked: object) -> list[str]:
        question = Question(what="access.", **asked)  # type: ignore[arg-type]
        return [str(event.detail["who"]) for event in search(store, question)]

    assert who() == [THIEF, "arn:other"]
    assert who(who="USER/thief") == [THIEF]
    assert who(origin="198.51.100.") == ["arn:other"]
    assert who(since=at + 1) == []
    assert who(until=at) == []
    assert [event.kind for event in search(store, Question(what=site.container))] == ["access.unrecorded"] * 2
