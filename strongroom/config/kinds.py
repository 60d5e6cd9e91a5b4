"""What the settings of a source, a target or a key say of their kind: all that the product asks of one.

A kind that says nothing of a question has nothing to say: it needs no library, holds no credential, is no
folder of this machine. So a new kind answers what is true of it in its own record, and nobody lists kinds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlsplit

from strongroom.config import registry
from strongroom.config.policies import PolicySettings
from strongroom.config.schema import KeyPath, SettingsSection, toml_value
from strongroom.config.vaults import VaultSettings
from strongroom.system.errors import PluginBroken

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
    """A section that has a ``kind``. ``LIBRARY`` is the distribution that such a thing needs.

    ``MADE_BY`` names the function, as ``module:function``, that makes one of its name, its settings and all
    settings. It is imported on first use. ``FAMILY`` is the section whose kinds inherit from a record.
    ``PLUGIN_API`` is the version of all this for which a plug-in was written.
    """

    if TYPE_CHECKING:  # each kind has it as a field of its own
        kind: str

    FAMILY: ClassVar[str] = ""
    LIBRARY: ClassVar[str | None] = None
    MADE_BY: ClassVar[str]
    PLUGIN_API: ClassVar[int] = 0

    @classmethod
    def choices(cls) -> tuple[type[SettingsSection], ...]:
        return registry.own_kinds(cls.FAMILY) if "FAMILY" in vars(cls) else (cls,)

    @classmethod
    def of_kind(cls, kind: str, raw: Mapping[str, Any]) -> type[SettingsSection] | SettingsSection | None:
        """Return the record of a kind of this family, or what stands in for a plug-in that is broken."""
        try:
            return registry.find_kind(cls.FAMILY, kind, cls)
        except PluginBroken as broken:
            return cls.stand_in(kind, raw, broken)

    @classmethod
    def stand_in(cls, kind: str, raw: Mapping[str, Any], broken: PluginBroken) -> SettingsSection:
        """Return what the rest of the configuration goes on with; whatever needs the plug-in is refused."""
        raise NotImplementedError

    @classmethod
    def installed(cls) -> tuple[str, ...]:
        """Return the kinds of other packages that are installed here."""
        return registry.installed_kinds(cls.FAMILY)

    @property
    def on_vault(self) -> str | None:
        """The server, a name under ``vaults``, that it is on, or that it asks."""
        return None

    def logged_as(self, log: str) -> str:
        """Return what an access log of this format calls it; empty if such a log does not tell of it."""
        return ""

    def unfit(self) -> Iterator[Misfit]:
        """Yield what does not fit in its own keys, each of which is right by itself."""
        return iter(())


class PlaceKind(KindSection, frozen=True, kw_only=True):
    """A source or a target.

    ``GRANTED`` says that a credential reaches it, so that rights can lack or be too many. ``EXAMPLE`` is what
    a new configuration file shows of the kind, and ``SPELT`` how ``init`` takes one in one word.
    """

    GRANTED: ClassVar[bool] = True
    EXAMPLE: ClassVar[str] = ""
    SPELT: ClassVar[str] = ""

    @property
    def folder(self) -> Path | None:
        """The file or directory on this machine that it is, if it is one: no key and no live secret may lie
        in a target's, and its disk is watched. What a setting is called says nothing of that."""
        return None


class SourceKind(PlaceKind, frozen=True, kw_only=True):
    """A source. ``WRITABLE``: a restore can write into it. ``SNAPSHOT``: its backups hold a whole server, and
    are restored as a whole. ``BY_FILE``: it reads every file below its folder. ``TAG`` is the command that
    tags a secret there with a key and a value.
    """

    FAMILY: ClassVar[str] = "sources"
    WRITABLE: ClassVar[bool] = True
    SNAPSHOT: ClassVar[bool] = False
    BY_FILE: ClassVar[bool] = False
    TAG: ClassVar[str] = ""

    @classmethod
    def stand_in(cls, kind: str, raw: Mapping[str, Any], broken: PluginBroken) -> SettingsSection:
        return UnusableSource(kind=kind, problem=broken.message, mend=broken.hint)

    @classmethod
    def of_word(cls, kind: str, place: str) -> OwnSource | None:
        """Return what is meant by ``kind:place``; nothing if this kind is not meant. Raises ValueError."""
        return None

    @property
    def restored_into(self) -> bool:
        """Whether it is marked as what a recovery restores into: its login may write."""
        return False

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

    FAMILY: ClassVar[str] = "targets"
    REMOTE: ClassVar[bool] = True
    RIGHTS: ClassVar[ToType | None] = None
    MORE: ClassVar[Mapping[str, str]] = {}

    if TYPE_CHECKING:  # each kind has these as fields of its own, with its own examples
        region: str
        provider: str

    @classmethod
    def stand_in(cls, kind: str, raw: Mapping[str, Any], broken: PluginBroken) -> SettingsSection:
        region, provider = raw.get("region"), raw.get("provider")
        return UnusableTarget(
            kind=kind,
            region=region if isinstance(region, str) else "unknown",
            provider=provider if isinstance(provider, str) else kind,
            problem=broken.message,
            mend=broken.hint,
        )

    @classmethod
    def of_word(cls, place: str, url: SplitResult) -> Mapping[str, str | int] | None:
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

    def below(self) -> str:
        """Return where it begins in what ``store`` names; what says nothing of it is all of that."""
        return ""

    @property
    def locking(self) -> str:
        """How objects are locked there, as it is configured, in the words of the place."""
        return "none"

    @property
    def longest_lock(self) -> int | None:
        """For how many days an object can be locked there at most, if its administrator said so."""
        return None

    @property
    def could_lock(self) -> bool:
        """Whether nobody asked to lock anything here, and the place could say that it can."""
        return False


class KeyKind(KindSection, frozen=True, kw_only=True):
    """A key that opens backups: a recipient to seal to, and an identity to open with.

    ``MADE_BY`` makes the recipient of its name, its settings, all settings and who may ask a person (``None``
    where nobody sits). ``OPENED_BY`` names the function that takes the same and yields what opens here;
    ``DESTROYED_BY`` the one that returns what destroys it, or ``None``.
    """

    FAMILY: ClassVar[str] = "keys"
    OPENED_BY: ClassVar[str] = ""
    DESTROYED_BY: ClassVar[str] = ""
    NEWER_VERSIONS: ClassVar[bool] = False
    """Whether it gets newer versions by itself, which a rotation takes up."""

    @classmethod
    def stand_in(cls, kind: str, raw: Mapping[str, Any], broken: PluginBroken) -> SettingsSection:
        return UnusableKey(kind=kind, problem=broken.message, mend=broken.hint)

    def lost_with(self, vaults: Vaults) -> str | None:
        """Return what it is lost with, such as a file or a token with all that is in it; ``None`` if no one
        loss takes it. What says nothing of it counts as lost with every other key of its kind."""
        return f"the keys of kind '{self.kind}'"

    @property
    def opens_here(self) -> bool:
        """Whether this host opens with it."""
        return bool(self.OPENED_BY)

    def outlives(self, name: str) -> str:
        """Return why it stays whatever Strongroom does to destroy it; nothing if it can be destroyed."""
        return "" if self.DESTROYED_BY else f"'{name}' is of a kind that Strongroom cannot destroy"


class ChannelKind(KindSection, frozen=True, kw_only=True):
    """A way to people, or what is pinged. ``CARRIES`` says that a message can go there, so that a route may
    name it; to what carries none, pings go."""

    FAMILY: ClassVar[str] = "channels"
    CARRIES: ClassVar[bool] = True
    MAILS: ClassVar[bool] = False
    """Whether it needs the server in ``[mail]``."""

    @classmethod
    def stand_in(cls, kind: str, raw: Mapping[str, Any], broken: PluginBroken) -> SettingsSection:
        return UnusableChannel(kind=kind, problem=broken.message, mend=broken.hint)


class UnusableSource(SourceKind, frozen=True, kw_only=True):
    """What stands in for a source whose plug-in cannot be used: each use of it says why."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.adapters:broken_source"
    GRANTED: ClassVar[bool] = False

    kind: str
    problem: str
    mend: str


class UnusableTarget(TargetKind, frozen=True, kw_only=True):
    """What stands in for a target whose plug-in cannot be used."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.adapters:broken_target"
    GRANTED: ClassVar[bool] = False
    REMOTE: ClassVar[bool] = False

    kind: str
    region: str
    provider: str
    problem: str
    mend: str


class UnusableKey(KeyKind, frozen=True, kw_only=True):
    """What stands in for a key whose plug-in cannot be used."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.keys:broken_recipient"
    OPENED_BY: ClassVar[str] = "strongroom.wiring.keys:broken_identity"

    kind: str
    problem: str
    mend: str

    @property
    def opens_here(self) -> bool:
        return False


class UnusableChannel(ChannelKind, frozen=True, kw_only=True):
    """What stands in for a channel whose plug-in cannot be used."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.watching:broken_channel"

    kind: str
    problem: str
    mend: str


def absent(path: Path) -> str | None:
    """Say why a file that holds no secret cannot be used, if so."""
    try:
        return None if path.is_file() else "there is no such file"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def said_besides(url: SplitResult, known: Iterable[str]) -> dict[str, str]:
    """Return the settings that stand after a '?'. Another one may be a credential: it is not shown."""
    said = dict(parse_qsl(url.query, keep_blank_values=True))
    if url.query and (not said or not said.keys() <= set(known) or not all(said.values())):
        raise ValueError(f"after a '?' may stand {' and '.join(known)}")
    return said


def table(name: str, settings: Mapping[str, str | int]) -> str:
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
