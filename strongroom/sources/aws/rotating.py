"""Has the service rotate a secret by the secret's own function, and waits for the end.

The token is the id of the new version. So one that the service knows already was asked for before, and is
waited for. The function puts the label AWSPENDING on that version while it works, and AWSCURRENT at its end.
"""

from __future__ import annotations

import time
from typing import Final

from strongroom.errors import SourceError
from strongroom.sources.aws.client import Api
from strongroom.sources.aws.described import Described
from strongroom.sources.aws.failures import AwsInvalid
from strongroom.sources.aws.reading import AwsReader
from strongroom.sources.aws.versions import CURRENT, PENDING
from strongroom.sources.errors import SecretNotFound
from strongroom.system.retry import backoff

LONGEST_PAUSE: Final = 5.0
_FUNCTION: Final = "Look at the log of its rotation function, and at the function's rights."


def rotate(api: Api, reader: AwsReader, name: str, *, token: str, timeout: float) -> None:
    """Rotate a secret under a token, or wait for the rotation that has this token already.

    Raises:
        SourceError: the secret has no function, another rotation is under way, or it did not end in time.
    """
    if not _is_known(_described(reader, name), token):
        try:
            api.ask("rotate_secret", f"rotate secret '{name}'", SecretId=name, ClientRequestToken=token)
        except AwsInvalid:
            # A reply that was lost: the second request meets the rotation that the first one began.
            if not _is_known(found := _described(reader, name), token):
                raise _refused(found) from None
    _wait(reader, name, token=token, timeout=timeout)


def _wait(reader: AwsReader, name: str, *, token: str, timeout: float) -> None:
    ends, tried = time.monotonic() + timeout, 0
    while not _is_over(_described(reader, name), token):
        tried += 1
        pause = backoff(tried, first=0.1, longest=LONGEST_PAUSE)
        if time.monotonic() + pause > ends:
            raise SourceError(
                f"the rotation of secret '{name}' did not end within {timeout:g} s: the new version is not "
                "current yet",
                hint=f"The former value is current. {_FUNCTION} AWS tries it again by itself.",
            )
        time.sleep(pause)  # the service announces nothing


def _described(reader: AwsReader, name: str) -> Described:
    found = reader.describe(name)
    if found is None:
        raise SecretNotFound(f"Secrets Manager has no secret '{name}'")
    return found


def _is_known(found: Described, token: str) -> bool:
    return token in found.stages


def _is_over(found: Described, token: str) -> bool:
    return CURRENT in found.stages.get(token, ()) and found.holder(PENDING) in (None, token)


def _refused(found: Described) -> SourceError:
    if found.holder(PENDING) not in (None, found.holder(CURRENT)):
        return SourceError(
            f"another rotation of secret '{found.name}' has not ended: a version has the label {PENDING}",
            hint=f"{_FUNCTION} When it has ended, rotate this secret again.",
        )
    return SourceError(
        f"secret '{found.name}' cannot be rotated by AWS: it has no rotation function, or is to be deleted",
        hint="Set up its rotation at AWS, or use another kind of rotator. Nothing was changed.",
    )
