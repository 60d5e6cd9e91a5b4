"""A source that is only read: a file of lines, each a name, a tab and a value in hex."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from strongroom.plugins import (
    AbsolutePath,
    ListedSecret,
    Media,
    Secret,
    SecretBytes,
    SecretVersion,
    Source,
    SourceError,
    SourceKind,
    SourceUnavailable,
)


class Sheet(SourceKind, frozen=True, kw_only=True):
    """A sheet of Acme's."""

    PLUGIN_API: ClassVar[int] = 1
    MADE_BY: ClassVar[str] = "acme_strongroom.sheet:make"
    WRITABLE: ClassVar[bool] = False
    GRANTED: ClassVar[bool] = False  # it is a file here: no credential reaches it

    kind: Annotated[Literal["sheet"], Meta(description="Which kind of source this is.")]
    path: Annotated[AbsolutePath, Meta(description="The sheet's file.", examples=["/srv/acme/sheet.tsv"])]

    @property
    def folder(self):
        return self.path


def make(name, own, settings):
    return SheetSource(name, own.path)


class SheetSource(Source):
    kind = "sheet"

    def __init__(self, name, path):
        self.name = name
        self._path = path

    @property
    def address(self):
        return str(self._path)

    def _values(self):
        """Read the file each time. An error never quotes a line: it may hold a value."""
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise SourceUnavailable(f"source '{self.name}' could not be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SourceError(f"source '{self.name}': {self._path} is not text") from None
        return dict(self._parsed(number, line) for number, line in enumerate(lines, 1))

    def _parsed(self, number, line):
        name, tab, value = line.partition("\t")
        try:
            if name and tab:
                return name, bytes.fromhex(value)
        except ValueError:
            pass
        raise SourceError(f"source '{self.name}': line {number} of {self._path} cannot be read")

    def list(self, *, with_tags=False):
        """``size`` is about how many bytes the secret has. A sheet has no tags; unasked, nobody knows."""
        for name, value in self._values().items():
            yield ListedSecret(name, len(name) + len(value), (), {} if with_tags else None)

    def read(self, entries):
        """Give ``None`` for a secret that is gone. What has no versions of its own has version 1."""
        values = self._values()
        for entry in entries:
            value = values.get(entry.name)
            yield value if value is None else _secret(entry.name, value)


def _secret(name, value):
    media = Media.TEXT if _is_text(value) else Media.BINARY
    return Secret(name=name, versions=(SecretVersion(number=1, value=SecretBytes(value), media=media),))


def _is_text(value):
    try:
        return bool(value.decode()) or not value
    except UnicodeDecodeError:
        return False
