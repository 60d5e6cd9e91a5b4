"""How the control pool tells a shell that a request's run is on record: signed, by way of the broker.

For a shell that does not reach the state database. Whoever owns the broker can keep the word back, and
cannot forge it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from strongroom.keys.keyring import Keyring
from strongroom.operations.errors import MessageRefused, NotYetSeen
from workers.envelope import SignedDict, open_, seal
from workers.messages import dumps
from workers.names import CONTROL
from workers.paths import role_keys
from workers.refusals import admit

if TYPE_CHECKING:
    from workers.app import Strongroom

log = logging.getLogger(__name__)

KEPT_SECONDS: Final = 3600
PATIENCE: Final = 15.0
"""Seconds that a shell waits for the word."""
LOST: Final = (OperationalError, RedisError, OSError)


def tell(app: Strongroom, *, request: str, run: str) -> None:
    """Say that a request has its run. Whoever misses the word finds the run on record."""
    signer = Keyring(role_keys(app.settings.state_dir)).signer(app.role)
    word = seal({"request": request, "run": run}, role=app.role, signer=signer, encode=dumps)
    try:
        with _redis(app) as client:
            client.lpush(_key(request), word)
            client.expire(_key(request), KEPT_SECONDS)
    except LOST as error:
        log.warning("submission-not-acknowledged", extra={"run": run, "why": type(error).__name__})


def wait(app: Strongroom, request: str, *, patience: float = PATIENCE) -> str:
    """Return the run of a request, once the control pool says that it is on record.

    Raises:
        NotYetSeen: it has not said so in time.
    """
    until = time.monotonic() + patience
    while (left := until - time.monotonic()) > 0:
        with suppress(*LOST), _redis(app) as client:
            answer = client.brpop([_key(request)], timeout=min(left, 1.0))
            if answer and (run := admit(partial(_run_of, app, answer[1], request), _ignore)):
                return run
    raise NotYetSeen(
        f"Request {request} was handed to the broker, and no run of it has been seen within {patience:g} s",
        hint=f"Look: 'strongroom runs show {request}'. The cluster takes it up when its state database "
        "answers; "
        "submitting again makes another run.",
    )


def _run_of(app: Strongroom, word: bytes, request: str) -> str:
    said = open_(word, trusted=Keyring(role_keys(app.settings.state_dir)).accepted)
    if not isinstance(said, SignedDict) or said.sender != CONTROL or said.get("request") != request:
        raise MessageRefused("a word that another request has its run")
    return str(said["run"])


def _ignore(error: MessageRefused) -> None:
    log.warning("acknowledgement-refused", extra={"why": error.message})


def _key(request: str) -> str:
    return f"strongroom.seen.{request}"


@contextmanager
def _redis(app: Strongroom) -> Iterator[Any]:
    """The broker as kombu has it: address, login and TLS are settled there."""
    with app.connection_for_write() as connection:
        # Not with its client, which takes messages alone: see workers.transport.
        yield Redis(connection_pool=connection.default_channel.pool)
