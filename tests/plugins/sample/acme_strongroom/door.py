"""A rotator: a door, whose file has the word that opens it."""

import string
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from strongroom.plugins import AbsolutePath, RotatorKind, RotatorWork, SecretNotRotated, Shape


class Door(RotatorKind, frozen=True, kw_only=True):
    """Writes a random value, then brings it to a door of Acme's."""

    PLUGIN_API: ClassVar[int] = 1
    MADE_BY: ClassVar[str] = "acme_strongroom.door:make"

    kind: Annotated[Literal["door"], Meta(description="Which kind of rotator this is.")]
    path: Annotated[AbsolutePath, Meta(description="The door's file.", examples=["/srv/acme/door"])]


def make(name, own, settings):
    def carry(carried):
        try:
            own.path.write_bytes(carried.value.reveal())
        except OSError as error:
            raise SecretNotRotated(
                f"the door of '{carried.secret}' took no new word: {error.strerror}"
            ) from None

    shape = Shape(length=32, classes=(string.ascii_lowercase, string.ascii_uppercase, string.digits))
    return RotatorWork(does="writes a random value and tells the door", shape=shape, carry=carry)
