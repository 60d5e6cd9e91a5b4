"""Celery workers that open with an HSM, as the product's do: a pool of processes, and one of threads."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

import msgspec
from celery import Celery, Task  # type: ignore[import-untyped]

from strongroom.container.wrapping import Identity, Stanza
from strongroom.keys.errors import KeyServiceUnavailable
from strongroom.keys.pkcs11.session import PinFile, Token
from tests.live.keys.stress import CONTEXT, expected, identities

WORK = "STRONGROOM_TEST_HSM"
"""Names a file of JSON: which token, and what was sealed for its keys."""
AWAY = "away"

app = Celery("hsm", broker=os.environ.get("STRONGROOM_TEST_BROKER"))
app.conf.update(
    result_backend=os.environ.get("STRONGROOM_TEST_BROKER"),
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)


@cache
def work() -> tuple[tuple[Identity, ...], list[Stanza]]:
    """Return this process's one set of identities, which all of its threads share."""
    found = json.loads(Path(os.environ[WORK]).read_text())
    token = Token(module=Path(found["module"]), label=found["label"], pin=PinFile(Path(found["pin"])))
    return tuple(identities(token)), msgspec.convert(found["stanzas"], list[Stanza])


@app.task(bind=True, name="open", max_retries=None)  # type: ignore[untyped-decorator]
def open_one(self: Task, number: int) -> tuple[bool, int]:
    """Return whether the answer was right, and the process that gave it; wait for an HSM that is away."""
    held, stanzas = work()
    number %= len(stanzas)
    try:
        keys = [each.unwrap(stanzas[number], context=CONTEXT) for each in held]
    except KeyServiceUnavailable as error:
        app.backend.client.incr(AWAY)
        raise self.retry(exc=error, countdown=0.2) from None
    return [key for key in keys if key is not None] == [expected(number)], os.getpid()
