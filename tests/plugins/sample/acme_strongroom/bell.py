"""A channel: a bell, which is a file that somebody watches."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from strongroom.plugins import AbsolutePath, ChannelKind, ChannelUnavailable


class Bell(ChannelKind, frozen=True, kw_only=True):
    """A bell of Acme's: a line in a file for each message."""

    PLUGIN_API: ClassVar[int] = 1
    MADE_BY: ClassVar[str] = "acme_strongroom.bell:make"

    kind: Annotated[Literal["bell"], Meta(description="Which kind of channel this is.")]
    path: Annotated[AbsolutePath, Meta(description="The bell's file.", examples=["/srv/acme/bell"])]


def make(name, own, settings):
    return BellChannel(name, own.path)


class BellChannel:
    def __init__(self, name, path):
        self.name = name
        self._path = path

    @property
    def where(self):
        return f"the bell {self._path}"

    def send(self, message):
        line = f"{message.id} {message.subject} {message.text!r}\n"
        try:
            with self._path.open("a", encoding="utf-8") as bell:
                bell.write(line)
        except OSError as error:
            raise ChannelUnavailable(
                f"Channel '{self.name}': the bell did not ring: {error.strerror}.", missed=(self.where,)
            ) from None
