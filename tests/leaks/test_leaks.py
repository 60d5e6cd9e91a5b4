"""Plant values in 200 secrets, let everything happen to them, and find none anywhere."""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Iterator

import pytest
import zstandard

from strongroom.operations.archive.open import open_backup
from strongroom.operations.engine.run_log import trace_id
from strongroom.state.records import RunState, StepKind
from tests.chaos.place import REGIONS
from tests.leaks.planted import COUNT, count_in
from tests.leaks.search import MARK, NAME_MARK, NAMES, Found, search
from tests.leaks.story import Story, told
from tests.operations.alerts.receiver import Post

pytestmark = pytest.mark.timeout(900)

VALUE = MARK + b"planted on purpose: " + b"0123456789" * 20


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with told(tmp_path_factory.mktemp("leaks")) as story:
        yield story


def test_everything_that_was_to_happen_did(story: Story) -> None:
    """Else the search below would find nothing because nothing was there."""
    states = {name: run.state for name, run in story.runs.items()}
    assert states == {
        "backup": RunState.DONE,
        "drill": RunState.DONE,
        "verify": RunState.DONE,
        "failure": RunState.FAILED,
        "named": RunState.FAILED,
    }
    captures = story.store.rows(story.runs["backup"].id, StepKind.CAPTURE)
    assert sum(row.attempts for row in captures) == len(captures) + 1  # one process aborted in its capture
    assert "LookupError" in (story.runs["failure"].error or "")
    assert "step-crashed" in story.cluster.log


@pytest.mark.parametrize("region", REGIONS)
def test_the_values_are_in_the_backup(story: Story, region: str) -> None:
    backup = open_backup(story.place.target(region), identities=[story.place.identity], trusted=None)
    assert count_in(backup.secrets()) == COUNT


def test_each_run_was_one_trace_over_the_processes_that_performed_it(story: Story) -> None:
    for run in story.runs.values():
        ids = {trace_id(run.id)}
        mine = [(process, span) for process, span in story.collector.spans() if span["traceId"] in ids]
        assert len(mine) == 1 + len([row for row in story.store.rows(run.id) if row.started_at])
    backup = trace_id(story.runs["backup"].id)
    pools = {
        process.rpartition(":")[2]
        for process, span in story.collector.spans()
        if span["traceId"] == backup and process
    }
    assert {"control", "seal", "transfer", "verify"} <= pools


def test_nothing_shows_while_containers_lie_on_the_stage_and_messages_in_the_queues(story: Story) -> None:
    assert story.staged_meanwhile > 0
    assert story.queued_meanwhile > 0
    assert story.found_meanwhile == []


def test_nothing_shows_afterwards(story: Story) -> None:
    assert search(story.blobs()) == []


def test_names_show_in_the_store_that_they_come_from_and_nowhere_else(story: Story) -> None:
    places = _places(story.names_meanwhile)
    assert places
    assert {place for place in places if not place.startswith(SOURCE)} == set()


def test_a_name_that_an_error_quotes_stays_in_the_record(story: Story) -> None:
    """The class of the error goes to logs, Redis, Flower, Sentry, mail and the rest; its words do not."""
    assert "DuplicateSecret: source 'local' has two secrets of the name 'app/" in (
        story.runs["named"].error or ""
    )
    assert NAME_MARK in story.status
    assert "FAILED at capture: DuplicateSecret." in story.cluster.log
    places = _places(search(story.blobs(), NAMES))
    assert {place for place in places if not place.startswith((*SOURCE, *RECORD))} == set()


SOURCE = ("state/store/", "secrets.db as SQL")
RECORD = ("state/state.db", "state.db as SQL", "the record, as it is shown here")


def _places(found: list[Found]) -> set[str]:
    return {words.partition(":")[0] for words in found}


def test_the_search_looks_everywhere(story: Story) -> None:
    names = [name for name, _ in story.blobs()]
    for part in (
        "state/state.db",
        "state/state.db-wal",
        "state.db as SQL",
        "state/store/secrets.db",
        "state/logs/seal.log",
        "supervisor.log",
        "state/broker/dump.rdb",
        ".incr.aof",
        ".base.rdb",
        "regions/region-c/manifests/",
        "key b'",
        "environ of a process",
        "Flower's /api/tasks",
        "what Redis was sent",
        "metrics",
        "the page's /backups/",
        "traces",
        "Sentry",
        "mail",
        "webhook",
        "reports/audit.html",
        "reports/audit.csv",
        "reports/compliance.html",
        "reports/review.html",
    ):
        assert any(part in name for name in names), part
    sizes = {name: len(data) for name, data in story.blobs()}
    assert sizes["what Redis was sent"] > 100_000
    assert sizes["state/logs/seal.log"] > 1000
    told = {one["key"] for one in story.hook.posts[0].document["data"]["alerts"]}
    assert told
    assert all(key in story.mail.mails[0].text for key in told)
    assert story.runs["failure"].id.encode() in story.told
    assert story.sentry.items("event")


# -- leaks planted on purpose turn the search red, wherever they are --------------------


def an_event(story: Story) -> None:
    story.store.event("note", text=VALUE.decode())


def a_log_line(story: Story) -> None:
    with (story.place.state / "logs" / "transfer.log").open("ab") as file:
        file.write(b'{"event": "odd", "value": "' + VALUE.hex().upper().encode() + b'"}\n')


def a_result(story: Story) -> None:
    with story.everywhere.redis() as client:
        client.set("celery-task-meta-1", b'{"status": "SUCCESS", "result": "' + VALUE + b'"}')


def a_message(story: Story) -> None:
    body = base64.b64encode(b"[[], {" + zlib.compress(VALUE))
    with story.everywhere.redis() as client:
        client.lpush("nobody-listens", b'{"body": "' + body + b'"}')


def a_blob_on_the_stage(story: Story) -> None:
    (story.place.stage / "blob").write_bytes(b"\0" * 7 + zstandard.compress(VALUE))


def a_blob_on_a_target(story: Story) -> None:
    (story.place.region("region-b") / "containers" / "blob").write_bytes(gzip.compress(VALUE))


def a_name_of_a_file(story: Story) -> None:
    (story.place.stage / f"{MARK.decode()}1").touch()


def an_error_that_quotes_it(story: Story) -> None:
    story.sentry.posts.append(Post(path="/", headers={}, body=b"ValueError: " + VALUE))


def an_alert_about_it(story: Story) -> None:
    story.hook.posts.append(Post(path="/hook", headers={}, body=b"critical: " + VALUE))


def a_mark_on_a_chart(story: Story) -> None:
    with (story.place.root / "reports" / "audit.html").open("ab") as page:
        page.write(b"<title>" + VALUE + b"</title>")


PLANTS = (
    an_error_that_quotes_it,
    an_alert_about_it,
    a_mark_on_a_chart,
    an_event,
    a_log_line,
    a_result,
    a_message,
    a_blob_on_the_stage,
    a_blob_on_a_target,
    a_name_of_a_file,
)


@pytest.fixture(scope="module")
def found(story: Story) -> list[Found]:
    """What is found once all of them are there: the last tests of this module."""
    for plant in PLANTS:
        plant(story)
    return search(story.blobs())


@pytest.mark.parametrize(
    "where",
    [
        "state.db as SQL: raw",
        "state/state.db-wal: raw",
        "state/logs/transfer.log: hex, upper",
        "key b'celery-task-meta-1': raw",
        "key b'nobody-listens' > base64",
        "what Redis was sent: raw",
        "state/stage/blob > zstd at 7: raw",
        "regions/region-b/containers/blob > gzip at 0: raw",
        "the name of a file: raw",
        "Sentry: raw",
        "webhook: raw",
        "reports/audit.html: raw",
    ],
)
def test_a_leak_planted_on_purpose_is_found(found: list[Found], where: str) -> None:
    assert any(words.startswith(where) for words in found), found
