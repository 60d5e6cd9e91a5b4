"""What the settings of a source, a target or a key say of their kind: all that the product asks of one.

A kind that says nothing of a question has nothing to say: it needs no library, holds no credential, is no
folder of this machine. So a new kind answers what is true of it in its own record, and nobody lists kinds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlsplit

from strongroom.config.policies import PolicySettings
from strongroom.config.schema import KeyPath, SettingsSection, toml_value
from strongroom.config.vaults import VaultSettings

Vaults = Mapping[str, VaultSettings]
ToType = tuple[str, str]
"""A command to type, and what it is for."""


class OwnSource(NamedTuple):
    """A source as somebody names it in one word: its name, its tables, and the example that they replace."""

    name: str
    text: str
    example: str = ""


class Misfit(NamedTuple):
    """What does not fit the rest: the key, what is wrong with it, and what would be right."""

    key: KeyPath
    what: str
    right: str


class KindSection(SettingsSection, frozen=True, kw_only=True):
    """A section that has a ``kind``. ``LIBRARY`` is the distribution that such a thing needs."""

    LIBRARY: ClassVar[str | None] = None

    @property
    def on_vault(self) -> str | None:
        """The server, a name under ``vaults``, that it is on, or that it asks."""
        return getattr(self, "vault", None)

    def logged_as(self, log: str) -> str:
        """Return what an access log of this format calls it; empty if such a log does not tell of it."""
        return ""

    def unfit(self) -> Iterator[Misfit]:
        """Yield what does not fit in its own keys, each of which is right by itself."""
        return iter(())


class PlaceKind(KindSection, frozen=True, kw_only=True):
    """A source or a target.

    ``MADE_BY`` names the function, as ``module:function``, that makes one of its name, its settings and all
    settings. It is imported on first use. ``GRANTED`` says that a credential reaches it, so that rights can
    lack or be too many. ``EXAMPLE`` is what a new configuration file shows of the kind, and ``SPELT`` how
    ``init`` takes one in one word.
    """

    MADE_BY: ClassVar[str]
    GRANTED: ClassVar[bool] = True
    EXAMPLE: ClassVar[str] = ""
    SPELT: ClassVar[str] = ""

    @property
    def folder(self) -> Path | None:
        """The file or directory on this machine that it is, if its settings name one."""
        return getattr(self, "path", None)


class SourceKind(PlaceKind, frozen=True, kw_only=True):
    """A source. ``WRITABLE``: a restore can write into it. ``SNAPSHOT``: its backups hold a whole server, and
    are restored as a whole. ``BY_FILE``: it reads every file below its folder. ``TAG`` is the command that
    tags a secret there with a key and a value.
    """

    WRITABLE: ClassVar[bool] = True
    SNAPSHOT: ClassVar[bool] = False
    BY_FILE: ClassVar[bool] = False
    TAG: ClassVar[str] = ""

    @classmethod
    def of_word(cls, kind: str, place: str) -> OwnSource | None:
        """Return what is meant by ``kind:place``; nothing if this kind is not meant. Raises ValueError."""
        return None

    def setting_up(self, vaults: Vaults) -> Iterator[ToType]:
        """Yield what to type so that it can be read, and has something to read."""
        return iter(())

    def filling(self, vaults: Vaults, policies: Mapping[str, PolicySettings]) -> Iterator[ToType]:
        """Yield how it is read and filled, and how what a policy asks for is tagged in it."""
        yield from self.setting_up(vaults)
        for name, policy in policies.items() if self.TAG else ():
            for key, value in policy.tags.items():
                words = f"tag what '{name}' is for: it backs up no others"
                yield self.TAG.format(key=key, value=value), words


class TargetKind(PlaceKind, frozen=True, kw_only=True):
    """A target. ``REMOTE``: a network is between, so that it is asked with patience. ``RIGHTS`` is where its
    credential's rights are written down. ``MORE`` may be said after a '?' where one is named in one word, and
    stands as a comment in the file if it is not.
    """

    REMOTE: ClassVar[bool] = True
    RIGHTS: ClassVar[ToType | None] = None
    MORE: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def of_word(cls, place: str, url: SplitResult) -> dict[str, str] | None:
        """Return the settings, but for the region, of a place; nothing if this kind is not meant."""
        return None

    def store(self, vaults: Vaults) -> tuple[str, ...] | None:
        """Return what is lost as one, and first what to call that. Prefixes, and two spellings of one
        address, set nothing apart. Nothing if the folder says it."""
        return None

    def copied_by(self, copy: str) -> tuple[str, ...]:
        """Return the commands that copy it into the folder ``copy`` by hand; none if it is mounted, or copied
        with tools of its own."""
        return ()

    @property
    def could_lock(self) -> bool:
        """Whether nobody asked to lock anything here, and the place could say that it can."""
        return False


def said_besides(url: SplitResult, known: Iterable[str]) -> dict[str, str]:
    """Return the settings that stand after a '?'. Another one may be a credential: it is not shown."""
    said = dict(parse_qsl(url.query, keep_blank_values=True))
    if url.query and (not said or not said.keys() <= set(known) or not all(said.values())):
        raise ValueError(f"after a '?' may stand {' and '.join(known)}")
    return said


def table(name: str, settings: Mapping[str, str | bool]) -> str:
    """Write a table of the configuration file."""
    lines = "".join(f"{key} = {toml_value(value)}\n" for key, value in settings.items())
    return f"[{name}]\n{lines}"


def spelt(url: str) -> str:
    """Return the one spelling of an address."""
    parts = urlsplit(url)
    port = "" if parts.port in (None, _PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path.rstrip('/')}"


_PORTS = {"http": 80, "https": 443}


def server(vaults: Vaults, vault: str) -> str | None:
    """Return the one spelling of a server's address: two names for one server are one server."""
    settings = vaults.get(vault)
    return settings.address.rstrip("/").lower() if settings else None


def in_log(root: str, prefix: str) -> str:
    """Return what the objects of a place are called in an access log."""
    below = prefix.strip("/")
    return f"{root}/{below}/" if below else f"{root}/"
