"""One secret at its source: looking at it, and giving it another value with check-and-set."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from strongroom.container.errors import VerificationFailed
from strongroom.errors import SourceError
from strongroom.model import ListedSecret, Secret, SecretBytes, SecretVersion
from strongroom.operations.errors import SecretNotRotated
from strongroom.operations.rotator import SecretRotator
from strongroom.operations.rotators.values import count_others, digest_value, identify, value_in, with_value
from strongroom.operations.services import Services
from strongroom.sources import SecretChange
from strongroom.sources.errors import SecretNotFound
from strongroom.state.records import SecretRotation
from strongroom.timestamps import rfc3339


class SecretPlace:
    """A secret at its source, and the field of it that a rotation is about."""

    def __init__(self, services: Services, *, source: str, name: str, rotator: SecretRotator) -> None:
        self.writer = rotator.destination or services.writer(source)
        self.destination = services.destination(self.writer)
        self._key = services.digest_key
        self.id = identify(services.digest_key, source=source, name=name)
        self.source = source
        self.name = name
        self.field = rotator.field

    def look(self) -> Secret:
        """Return the secret as it is now. Raises SecretNotFound."""
        (secret,) = self.destination.read([ListedSecret(self.name, 0)])
        if secret is None:
            raise SecretNotFound(f"source '{self.source}' has no secret '{self.name}'")
        return secret

    def digest(self, value: SecretBytes) -> str:
        """Return a value's digest as the record keeps it."""
        return digest_value(self._key, secret=self.id, value=value)

    def value_of(self, secret: Secret) -> SecretBytes:
        """Return the current value, of the field. Raises SourceError."""
        return value_in(secret, secret.current, self.field)

    def others(self, secret: Secret) -> int:
        """Return how many fields a secret has beside the one that a rotation is about."""
        return count_others(secret.current)

    def write(self, there: Secret, value: SecretBytes) -> Secret:
        """Put a value in the place of the current one, if that is still ``there``, and read it back.

        Raises:
            Conflict: somebody else wrote to the secret.
            VerificationFailed: what is there afterwards is not what was written.
        """
        return self._put(there, with_value(there, value, self.field))

    def without_leftovers(self, there: Secret, earlier: SecretRotation | None) -> Secret:
        """Take away what an earlier rotation left beside the current version; return what is there then."""
        if earlier is None:
            return there
        beside = self.destination.staged(there)
        if beside is None or not self.is_value(there, beside, earlier.becomes):
            return there
        self.destination.unstage(there)
        return self.look()

    def put_back(self, there: Secret, was: str, *, known: SecretVersion | None) -> Secret | None:
        """Make the value with this digest current again: ``known``, or one that the source still has."""
        former = known or next(
            (v for v in reversed(there.versions[:-1]) if self.is_value(there, v, was)), None
        )
        return None if former is None else self._put(there, replace(former, number=there.current.number + 1))

    def is_value(self, secret: Secret, version: SecretVersion, digest: str) -> bool:
        """Tell whether a version of a secret has the value with this digest."""
        try:
            return version.value is not None and self.digest(value_in(secret, version, self.field)) == digest
        except SourceError:  # an older version may have had another form
            return False

    def _put(self, there: Secret, version: SecretVersion) -> Secret:
        now = rfc3339(time.time())
        wanted = replace(there, versions=(replace(version, created_at=now),), updated_at=now)
        with self._writing():
            self.destination.write([SecretChange(secret=wanted, expected=there.current.number)])
        return self.look_for(value_in(wanted, version, self.field))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Say what a refusal means to a rotation. The source's words are those of a restore."""
        try:
            yield
        except SourceError as error:
            if error.transient:
                raise
            raise SecretNotRotated(
                f"the new value could not be written: {error.message}",
                hint=f"The former value is still current. The login of source '{self.writer}' wrote: give it "
                "the right to, or name a source on the same server whose login may write as 'destination' of "
                "the rotator. Then rotate again.",
            ) from None

    def look_for(self, value: SecretBytes) -> Secret:
        """Return the secret as it is now, which has to have this value. Raises VerificationFailed."""
        found = self.look()
        if self.value_of(found) != value:
            raise VerificationFailed(
                f"secret '{self.name}' was written, and '{self.source}' then gave another value"
            )
        return found
