"""``python -m tests.workers.fuzz_way_in KEYS -runs=1000000``: a coverage-guided fuzz of the whole way in.

libFuzzer, by atheris, is told which branches of ``workers`` and of kombu an input reached, and goes on from
those that reached new ones. Some inputs are raw bytes; most alter a genuine message, or sign what is no
task with the key of some role, which no mutation of bytes would ever get past the signature.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(
    include=["workers", "kombu", "celery.worker.consumer", "celery.worker.strategy"]
):
    from tests.workers.way_in import DOORS, QUEUE, WayIn, as_entry, genuine, may_be_taken, sealed, wrapped
    from workers import names

from strongroom.keys.keyring import Keyring

PARTS = ("body", "content-type", "content-encoding", "headers", "properties")


def entry_of(data: Any, keyring: Keyring) -> bytes:
    """Return the entry that an input stands for."""
    kind = data.ConsumeIntInRange(0, 5)
    if kind == 0:
        return bytes(data.ConsumeBytes(data.remaining_bytes()))
    role = names.ROLES[data.ConsumeIntInRange(0, len(names.ROLES) - 1)]
    fraction = data.ConsumeIntInRange(0, 10_000)
    text = data.ConsumeUnicode(data.remaining_bytes())
    if kind == 1:
        return as_entry(wrapped(sealed(keyring, text.encode("utf-8", "replace").decode(), role=role), {}))
    whole = json.dumps(genuine(keyring, role=role))
    if kind == 2:  # a part of it is some text of JSON
        part = PARTS[len(text) % len(PARTS)]
        return whole.replace(f'"{part}": ', f'"{part}": {text}, "_": ', 1).encode("utf-8", "replace")
    if kind == 3:  # a header more
        return whole.replace('"headers": {', '"headers": {"x": ' + text + ", ", 1).encode("utf-8", "replace")
    place = len(whole) * fraction // 10_000
    if kind == 4:  # something put into it
        return (whole[:place] + text + whole[place:]).encode("utf-8", "surrogatepass")
    return (whole[:place] + text + whole[place + len(text) :]).encode("utf-8", "replace")


def main() -> None:
    """Fuzz until the runs asked for are done. An input that breaks a promise ends it with a traceback."""
    logging.disable(logging.CRITICAL)
    keyring = Keyring(Path(sys.argv.pop(1)))
    for role in names.ROLES:
        keyring.signer(role)
    way_in = WayIn(keyring)

    def one(raw: bytes) -> None:
        data = atheris.FuzzedDataProvider(raw)
        door = DOORS[data.ConsumeIntInRange(0, len(DOORS) - 1)]
        before, through = way_in.outcomes, len(way_in.taken)
        way_in.put(door, entry_of(data, keyring))
        outcomes = way_in.outcomes - before
        assert outcomes == 1 or (outcomes == 0 and door != QUEUE), "not one outcome"
        assert way_in.unacknowledged == 0, "it would be handed out again"
        assert all(may_be_taken(task) for task in way_in.taken[through:]), "taken, though nobody may send it"
        del way_in.taken[through:]

    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
