"""Log lines are JSON with the identifiers of the task, and quote nothing foreign."""

from __future__ import annotations

import json
import logging
import sys
import threading

from strongroom.container.errors import DuplicateSecret
from strongroom.state.errors import StateUnavailable
from workers.logs import HIDDEN, JsonLines, bound


def line(**fields: object) -> dict[str, object]:
    record = logging.makeLogRecord({"msg": "event", "levelname": "INFO", "name": "x", **fields})
    told: dict[str, object] = json.loads(JsonLines("seal").format(record))
    return told


def test_a_line_has_event_process_and_fields() -> None:
    told = line(run="r1", piece=3)

    assert (told["event"], told["process"], told["level"]) == ("event", "seal", "info")
    assert (told["run"], told["piece"]) == ("r1", 3)


def test_fields_are_bound_inside_the_block_alone() -> None:
    with bound(task_id="t"):
        with bound(run="r"):
            assert {"task_id", "run"} <= set(line())
        assert "run" not in line()
    assert "task_id" not in line()


def test_fields_of_one_thread_do_not_show_in_another() -> None:
    seen: list[dict[str, object]] = []
    with bound(task_id="t"):
        thread = threading.Thread(target=lambda: seen.append(line()))
        thread.start()
        thread.join()

    assert "task_id" not in seen[0]


def test_an_exception_shows_class_and_place_and_a_message_only_if_it_knows_no_secret() -> None:
    try:
        try:
            try:
                raise ValueError("CANARY-quoted")
            except ValueError as error:
                raise DuplicateSecret("There are two secrets named 'CANARY-name'.") from error
        except DuplicateSecret as error:
            raise StateUnavailable("the state database does not answer") from error
    except StateUnavailable:
        told = line(exc_info=sys.exc_info())

    assert told["error"] == [
        "StateUnavailable: the state database does not answer",
        f"DuplicateSecret: {HIDDEN}",
        f"ValueError: {HIDDEN}",
    ]
    assert "test_an_exception_shows" in str(told["where"])
    assert "CANARY" not in json.dumps(told)


def test_an_object_in_a_field_gives_its_class_alone() -> None:
    class Holder:
        def __repr__(self) -> str:
            return "CANARY-repr"

    assert line(thing=Holder())["thing"] == "<Holder>"
