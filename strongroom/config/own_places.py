"""A source and targets as somebody names each in one word, and what the configuration file says of them."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlsplit

from strongroom.config.schema import toml_value

SOURCES = "local, files:/DIR, vault:https://HOST:8200[?token_file=FILE] or aws:REGION"
TARGETS = (
    "REGION=/DIR, REGION=s3://BUCKET[?endpoint_url=URL&credentials_file=FILE] or "
    "REGION=https://ACCOUNT.blob.core.windows.net/CONTAINER[?credential_file=FILE]"
)

_POLICIES_OF_VAULT = "# docs/how-to/back-up-vault.md has the policies that the token needs\n"
_TOKEN = {"token_file": "/etc/strongroom/vault-token"}
_TAGS_OF_VAULT = 'tag_metadata = ["priority"]     # custom metadata that counts as tags\n'

_LEFT_TO_SAY = {
    "s3": {
        "credentials_file": '"/etc/strongroom/s3"  # else those of the environment, profile or role',
        "endpoint_url": '"https://s3.example.org"  # of a server that is not Amazon\'s',
        "lock": '"governance"  # if the bucket has Object Lock: without, who may delete removes backups',
    },
    "azure": {
        "credential_file": '"/etc/strongroom/azure-credential"',
        "lock": '"unlocked"  # if versions can be locked there',
    },
}
"""What may be said of a target after a '?', as in a URL, and stands as a comment in the file if it is not."""


class OwnSource(NamedTuple):
    """A source's name, and its tables."""

    name: str
    text: str


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
#[alerts]                       # 'strongroom backup-alerts' looks without it, too
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
    match kind:
        case "local" if not place:
            return OwnSource("local", table("sources.local", {"kind": "local"}))
        case "files" if place.startswith("/"):
            return OwnSource("files", table("sources.files", {"kind": "files", "path": place}))
        case "vault" if _is_url(place):
            url = urlsplit(place)
            login = _TOKEN | _said_besides(url, _TOKEN, SOURCES)
            server = table("vaults.main", {"address": url._replace(query="").geturl()} | login)
            source = table("sources.vault", {"kind": "vault", "vault": "main"})
            return OwnSource("vault", f"{_POLICIES_OF_VAULT}{server}\n{source}{_TAGS_OF_VAULT}")
        case "aws" if place:
            return OwnSource("aws", table("sources.aws", {"kind": "aws", "region": place}))
    raise ValueError(f"has to be one of {SOURCES}")


def parse_target(word: str) -> OwnTarget:
    """Read a target. Raises ValueError, with what would be right."""
    region, _, place = word.partition("=")
    url = urlsplit(place)
    if region and place.startswith("/"):
        return OwnTarget(region, {"kind": "directory", "path": place})
    if region and url.scheme == "s3" and url.netloc and url.path in ("", "/"):
        said = _said_besides(url, _LEFT_TO_SAY["s3"], TARGETS)
        return OwnTarget(region, {"kind": "s3", "bucket": url.netloc} | said)
    container = url.path.strip("/")
    if region and url.scheme == "https" and url.netloc and container and "/" not in container:
        account = {"account_url": f"https://{url.netloc}", "container": container}
        said = _said_besides(url, _LEFT_TO_SAY["azure"], TARGETS)
        return OwnTarget(region, {"kind": "azure"} | account | said)
    raise ValueError(f"has to be one of {TARGETS}")


def _said_besides(url: SplitResult, known: Iterable[str], right: str) -> dict[str, str]:
    """Return the settings that stand after a '?'. Another one may be a credential: it is not shown."""
    said = dict(parse_qsl(url.query, keep_blank_values=True))
    if url.query and (not said or not said.keys() <= set(known) or not all(said.values())):
        raise ValueError(f"has to be one of {right}; after a '?' may stand {' and '.join(known)}")
    return said


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
        one._replace(settings=one.settings | {"lock": "governance"}) if name in locked else one
        for name, one in named(targets).items()
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
    left = _LEFT_TO_SAY.get(settings["kind"], {}).items()
    return "".join(f"#{key} = {example}\n" for key, example in left if key not in settings)


def table(name: str, settings: Mapping[str, str | bool]) -> str:
    lines = "".join(f"{key} = {toml_value(value)}\n" for key, value in settings.items())
    return f"[{name}]\n{lines}"


def _is_url(place: str) -> bool:
    url = urlsplit(place)
    return url.scheme in ("http", "https") and bool(url.netloc)
