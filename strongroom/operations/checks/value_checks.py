"""What can be told of a secret by itself: whether it is there, holds, and looks like what its type says.

Pure: nothing is read but the secret. A finding never has a value, or a part of one, in it: neither does
what a parser said of a value, so their words are dropped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from msgspec import Struct

from strongroom.model import Media, Secret, VersionState
from strongroom.operations.validation import pem
from strongroom.timestamps import as_written
from strongroom.words import plural

WARNING = timedelta(days=14)
"""How long before its end a secret, or a certificate in it, is remarked on."""

CERTIFICATES = frozenset({"certificate", "certificate_chain", "ca_certificate", "tls_certificate", "x509"})
PRIVATE_KEYS = frozenset({"private_key", "rsa_private_key", "ssh_private_key", "tls_private_key"})
JSONS = frozenset({"json"})
URLS = frozenset({"connection_url", "database_url", "redis_url", "uri", "url", "webhook_url"})
"""The types, in small letters and with ``_`` for ``-`` and blanks, that are unmistakable. Others are words
for people: what they say of a value is not checked."""

PLACEHOLDERS = frozenset({"changeme", "fixme", "placeholder", "replaceme", "tbd", "todo", "xxx"})
"""Compared without case, blanks, hyphens and underscores, with the whole value or a whole field of a JSON
object. Weak passwords are not among them: nobody can tell whether they are meant."""

_TEMPLATE = re.compile(r"<[^<>\n]{1,100}>|\$\{[^{}\n]{1,100}\}|\{\{[^{}\n]{1,100}\}\}")
_LONGEST = 110
"""Characters: nothing longer is a placeholder."""


class SecretFinding(Struct, frozen=True, kw_only=True):
    """One thing about one secret, or about a source if ``secret`` is empty.

    ``check`` is its stable name for machines; ``wrong`` tells it from a remark.
    """

    secret: str
    check: str
    text: str
    wrong: bool = True
    source: str = ""


def check(secret: Secret, *, now: datetime, demanded: bool = False) -> Iterator[SecretFinding]:
    """Yield what is wrong or remarkable about a secret.

    Args:
        now: with its time zone.
        demanded: whether somebody named it: one that was deleted at its source is wrong then.
    """
    yield from _dates(secret, now)
    value = secret.current.value
    if value is None:
        yield _without_value(secret, demanded=demanded)
        return
    content = value.reveal()
    if not content.strip():
        yield _wrong(secret, "empty", "its value is empty" if not content else "its value is blanks alone")
        return
    yield from _content(secret, content, now)


def _without_value(secret: Secret, *, demanded: bool) -> SecretFinding:
    if secret.current.state is VersionState.LIVE:
        return _wrong(secret, "no-value", "there is no value of it")
    text = f"its newest version is {secret.current.state.value} at the source, so it has no value"
    return SecretFinding(secret=secret.name, check="deleted", text=text, wrong=demanded)


# -- dates -----------------------------------------------------------------------


def _dates(secret: Secret, now: datetime) -> Iterator[SecretFinding]:
    if secret.expires_at is not None:
        yield from _expiry(secret, secret.expires_at, now)
    rotation = secret.rotation
    last = as_written(secret.current.created_at or secret.updated_at or secret.created_at)
    if rotation is None or not rotation.enabled or last is None:
        return
    if (late := (now - last).days - rotation.days) >= 0:
        every = plural(rotation.days, "day")
        text = f"it is to be rotated every {every}, and was due {_ago(late)}: strongroom secrets rotate NAME"
        yield SecretFinding(secret=secret.name, check="rotation-due", text=text, wrong=False)


def _ago(days: int) -> str:
    return f"{plural(days, 'day')} ago" if days else "today"


def _expiry(secret: Secret, text: str, now: datetime) -> Iterator[SecretFinding]:
    ends = as_written(text)
    if ends is None:
        words = "when it expires is not written as a time, so it could not be told"
        yield SecretFinding(secret=secret.name, check="expiry-unreadable", text=words, wrong=False)
    elif ends <= now:
        yield _wrong(secret, "expired", f"it expired on {ends:%Y-%m-%d}")
    elif ends - now <= WARNING:
        words = f"it expires on {ends:%Y-%m-%d}"
        yield SecretFinding(secret=secret.name, check="expires-soon", text=words, wrong=False)


# -- values ------------------------------------------------------------------------


def _content(secret: Secret, content: bytes, now: datetime) -> Iterator[SecretFinding]:
    kind = re.sub(r"[-\s]", "_", secret.type.strip().lower())
    if kind in JSONS or secret.current.media is Media.JSON:
        yield from _json(secret, content, now)
        return
    text = _decoded(content)
    if kind in URLS and not _is_url(text):
        yield _wrong(secret, "url-unreadable", f"its type is {secret.type}, and it is no URL with a scheme")
    if is_placeholder(text):
        yield _placeholder(secret, "its value")
    elif kind in CERTIFICATES or kind in PRIVATE_KEYS or pem.begins(content):
        needs = pem.CERTIFICATE if kind in CERTIFICATES else pem.KEY if kind in PRIVATE_KEYS else ""
        yield from _pem(secret, [content], now, needs)


def _json(secret: Secret, content: bytes, now: datetime) -> Iterator[SecretFinding]:
    try:
        found = json.loads(content, parse_int=str)  # a number may be longer than is counted with here
    except (ValueError, RecursionError):  # their words quote what was read
        yield _wrong(secret, "json-unreadable", "it is said to be JSON, and it is not")
        return
    fields = [found] if isinstance(found, str) else []
    if isinstance(found, Mapping):
        fields = [field for field in found.values() if isinstance(field, str)]
    if any(map(is_placeholder, fields)):
        yield _placeholder(secret, "one of its fields" if isinstance(found, Mapping) else "its value")
    texts = [text for text in (field.encode(errors="replace") for field in fields) if pem.begins(text)]
    yield from _pem(secret, texts, now, "")


def _pem(secret: Secret, texts: list[bytes], now: datetime, needs: str) -> Iterator[SecretFinding]:
    for flaw in pem.flaws(texts, now=now, warning=WARNING, needs=needs):
        yield SecretFinding(secret=secret.name, check=flaw.check, text=flaw.text, wrong=flaw.wrong)


def is_placeholder(text: str) -> bool:
    """Tell whether a text is one that somebody was to put a value in the place of."""
    stripped = text.strip()
    if len(stripped) > _LONGEST:
        return False
    return re.sub(r"[-_\s]", "", stripped).casefold() in PLACEHOLDERS or bool(_TEMPLATE.fullmatch(stripped))


def _placeholder(secret: Secret, what: str) -> SecretFinding:
    return _wrong(secret, "placeholder", f"{what} is a placeholder: nobody has put in what belongs there")


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text.strip())
        for host in parts.netloc.rpartition("@")[2].split(","):  # a database's may name several
            _ = urlsplit(f"//{host}").port  # a port that is no number shows here
    except ValueError:
        return False
    return bool(parts.scheme and (parts.netloc or parts.path)) and not re.search(r"\s", text.strip())


def _decoded(content: bytes) -> str:
    return content.decode(errors="replace")


def _wrong(secret: Secret, name: str, text: str) -> SecretFinding:
    return SecretFinding(secret=secret.name, check=name, text=text)
