"""What can be told of a secret by itself; certificates and private keys among them."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)
from msgspec import Struct

from strongroom.model import Media, Secret, VersionState
from strongroom.times import as_written
from strongroom.words import plural

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
    from cryptography.x509 import Certificate


# -- Certificates and private keys in PEM: whether they parse, are within their dates, and belong together
#
# No word of a parser gets out: it could quote what it read.


CERTIFICATE, KEY = "certificate", "private key"
MOST = 64
"""Blocks of one secret that are checked: checking a key takes long, and there could be thousands in it."""

_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_BEGINNING = b"-----BEGIN "
_CERTIFICATES = frozenset({b"CERTIFICATE", b"X509 CERTIFICATE"})


class Flaw(Struct, frozen=True, kw_only=True):
    """What is wrong, or worth a remark. ``check`` is its stable name for machines."""

    check: str
    text: str
    wrong: bool = True


def begins(content: bytes) -> bool:
    """Tell whether this says of itself that it is PEM."""
    return content.lstrip().startswith(_BEGINNING)


def flaws(texts: Sequence[bytes], *, now: datetime, warning: timedelta, needs: str = "") -> Iterator[Flaw]:
    """Yield what is wrong with the certificates and keys in one secret.

    Args:
        texts: its value, or its fields.
        warning: how long before its end a certificate is remarked on.
        needs: which of the two its type says that it is.
    """
    blocks, cut = _blocks(texts)
    certificates = [block for kind, block in blocks if kind in _CERTIFICATES]
    keys = [block for kind, block in blocks if kind.endswith(b"PRIVATE KEY")]
    if len(blocks) == MOST:
        text = f"it has {MOST} PEM blocks or more; only the first {MOST} were checked"
        yield Flaw(check="pem-many", text=text, wrong=False)
    if cut:
        yield Flaw(check="pem-unreadable", text="a PEM block in it has no end: it may be cut off")
    elif (needs == CERTIFICATE and not certificates) or (needs == KEY and not keys):
        text = f"its type says that it is a {needs}, but it holds no {needs} in PEM"
        yield Flaw(check=f"{_name(needs)}-unreadable", text=text)
    parsed = [certificate for block in certificates if (certificate := _certificate(block)) is not None]
    if len(parsed) < len(certificates):
        yield Flaw(check="certificate-unreadable", text="a certificate in it does not parse")
    yield from _dates_of_certificate(parsed, now, warning)
    yield from _keys(keys, parsed)


def _blocks(texts: Sequence[bytes]) -> tuple[list[tuple[bytes, bytes]], bool]:
    """Return the blocks with their labels, and whether one has no end. Each byte is looked at once or twice,
    whatever a text that somebody made up on purpose looks like."""
    found: list[tuple[bytes, bytes]] = []
    for text in texts:
        at = 0
        while begun := _BEGIN.search(text, at):
            ending = b"-----END " + begun[1] + b"-----"
            if (end := text.find(ending, begun.end())) < 0:
                return found, True
            at = end + len(ending)
            found.append((begun[1], text[begun.start() : at]))
            if len(found) == MOST:
                return found, False
    return found, False


def _name(needs: str) -> str:
    return "certificate" if needs == CERTIFICATE else "key"


def _certificate(block: bytes) -> Certificate | None:
    try:
        with warnings.catch_warnings():  # what a later version will refuse is not wrong yet
            warnings.simplefilter("ignore")
            return x509.load_pem_x509_certificate(block)
    except ValueError:
        return None


def _dates_of_certificate(
    certificates: Sequence[Certificate], now: datetime, warning: timedelta
) -> Iterator[Flaw]:
    for at, certificate in enumerate(certificates):
        which = "its certificate" if at == 0 else f"certificate {at + 1} of its chain"
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if end <= now:
            yield Flaw(check="certificate-expired", text=f"{which} expired on {end:%Y-%m-%d}")
        elif begin > now:
            yield Flaw(check="certificate-not-yet", text=f"{which} is valid from {begin:%Y-%m-%d} on only")
        elif end - now <= warning:
            text = f"{which} expires on {end:%Y-%m-%d}"
            yield Flaw(check="certificate-expires-soon", text=text, wrong=False)


def _keys(keys: Sequence[bytes], certificates: Sequence[Certificate]) -> Iterator[Flaw]:
    publics = []
    for block in keys:
        try:
            publics.append(_public(block))
        except TypeError:  # how `cryptography` says that a password is needed
            text = "its private key is encrypted, so it was not looked into"
            yield Flaw(check="key-encrypted", text=text, wrong=False)
        except UnsupportedAlgorithm:
            text = "its private key is of a kind that this host does not know, so it was not looked into"
            yield Flaw(check="key-unknown", text=text, wrong=False)
        except ValueError:
            yield Flaw(check="key-unreadable", text="a private key in it does not parse")
    if publics and certificates and not _belong(publics, certificates):
        yield Flaw(check="key-mismatch", text="its private key is not that of any certificate in it")


def _belong(publics: Sequence[bytes], certificates: Sequence[Certificate]) -> bool:
    try:
        known = {_spelt(certificate.public_key()) for certificate in certificates}
    except (UnsupportedAlgorithm, ValueError):  # of a kind that this host does not know: nothing can be told
        return True
    return all(public in known for public in publics)


def _public(block: bytes) -> bytes:
    """Return a private key's public half. Raises TypeError if it is encrypted, ValueError if it is none."""
    if block.startswith(_BEGINNING + b"OPENSSH"):
        return _spelt(load_ssh_private_key(block, password=None).public_key())
    return _spelt(load_pem_private_key(block, password=None).public_key())


def _spelt(public: PublicKeyTypes) -> bytes:
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


# -- What can be told of a secret by itself: whether it is there, holds, and looks like what its type says
#
# Pure: nothing is read but the secret. A finding never has a value, or a part of one, in it: neither does
# what a parser said of a value, so their words are dropped.


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
    elif kind in CERTIFICATES or kind in PRIVATE_KEYS or begins(content):
        needs = CERTIFICATE if kind in CERTIFICATES else KEY if kind in PRIVATE_KEYS else ""
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
    texts = [text for text in (field.encode(errors="replace") for field in fields) if begins(text)]
    yield from _pem(secret, texts, now, "")


def _pem(secret: Secret, texts: list[bytes], now: datetime, needs: str) -> Iterator[SecretFinding]:
    for flaw in flaws(texts, now=now, warning=WARNING, needs=needs):
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
