"""A source and targets as somebody names each in one word, and what the configuration file says of them."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple, get_args
from urllib.parse import urlsplit

from strongroom.config.kinds import OwnSource, PlaceKind, SourceKind, TargetKind, table
from strongroom.config.schema import kind_of, toml_value
from strongroom.config.sources import SourceSettings
from strongroom.config.targets import TargetSettings

SOURCE_KINDS: Final[tuple[type[SourceKind], ...]] = get_args(SourceSettings)
TARGET_KINDS: Final[tuple[type[TargetKind], ...]] = get_args(TargetSettings)


def _spelt(kinds: Sequence[type[PlaceKind]]) -> str:
    *rest, last = (kind.SPELT for kind in kinds if kind.SPELT)
    return f"{', '.join(rest)} or {last}"


SOURCES: Final = _spelt(SOURCE_KINDS)
TARGETS: Final = _spelt(TARGET_KINDS)


OwnKey = dict[str, str]
"""How a public key is named: as ``public_key``, or as ``public_key_file``."""


class OwnTarget(NamedTuple):
    """A target's region, and its settings but for that."""

    region: str
    settings: dict[str, str]


class OwnMail(NamedTuple):
    """Who gets mail when something is wrong, and which server takes it."""

    to: Sequence[str]
    host: str

    @property
    def text(self) -> str:
        """What the file says of it."""
        text = NO_MAIL.replace("#[alerts] ", "[alerts]  ").replace("#[mail]", "[mail]")
        text = text.replace('#email = ["alerts@example.org"]', f"email = {toml_value(list(self.to))}")
        return text.replace('#host = "smtp.example.org"', f"host = {toml_value(self.host)}")


NO_MAIL = """\
#[alerts]                       # 'strongroom alerts' looks without it, too
#email = ["alerts@example.org"]
#threshold_age = "24h"          # how long after its time a backup may be missing
#[mail]
#host = "smtp.example.org"
#security = "starttls"          # or "tls"
#username = "strongroom"
#password_file = "/etc/strongroom/mail-password"
"""


def parse_source(word: str) -> OwnSource:
    """Read a source. Raises ValueError, with what would be right."""
    kind, _, place = word.partition(":")
    with _saying(SOURCES):
        if found := next(
            filter(None, (source_kind.of_word(kind, place) for source_kind in SOURCE_KINDS)), None
        ):
            return found
    raise ValueError(f"has to be one of {SOURCES}")


def parse_target(word: str) -> OwnTarget:
    """Read a target. Raises ValueError, with what would be right."""
    region, _, place = word.partition("=")
    with _saying(TARGETS):
        read = (target_kind.of_word(place, urlsplit(place)) for target_kind in TARGET_KINDS if region)
        if found := next(filter(None, read), None):
            return OwnTarget(region, found)
    raise ValueError(f"has to be one of {TARGETS}")


@contextmanager
def _saying(right: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"has to be one of {right}; {error}") from None


def key_tables(keys: Sequence[OwnKey]) -> dict[str, str]:
    """Return the tables of public keys, each by its name."""
    names = _numbered("recovery")
    return {
        name: table(f"keys.{name}", {"kind": "hpke", **key}) for name, key in zip(names, keys, strict=False)
    }


def named(targets: Iterable[OwnTarget]) -> dict[str, OwnTarget]:
    """Give each target a name, after its region."""
    names: dict[str, OwnTarget] = {}
    for target in targets:
        base = re.sub(r"[^a-z0-9]+", "-", target.region.lower()).strip("-") or "target"
        names[next(name for name in _numbered(base) if name not in names)] = target
    return names


def with_locks(targets: Iterable[OwnTarget], locked: Container[str]) -> list[OwnTarget]:
    """Have locked what is put into buckets that can, by the lock that a right can still end."""
    return [
        target._replace(settings=target.settings | {"lock": "governance"}) if name in locked else target
        for name, target in named(targets).items()
    ]


def _numbered(base: str) -> Iterator[str]:
    yield base
    yield from (f"{base}-{number}" for number in range(2, 1000))


def target_tables(targets: dict[str, OwnTarget]) -> str:
    """Return the tables of targets."""
    return "\n".join(
        table(f"targets.{name}", {**target.settings, "region": target.region}) + _left_to_say(target.settings)
        for name, target in targets.items()
    )


def _left_to_say(settings: dict[str, str]) -> str:
    more = next(target_kind.MORE for target_kind in TARGET_KINDS if kind_of(target_kind) == settings["kind"])
    return "".join(f"#{key} = {example}\n" for key, example in more.items() if key not in settings)
