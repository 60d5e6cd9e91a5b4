"""Certificates and private keys in PEM: whether they parse, are within their dates, and belong together.

No word of a parser gets out: it could quote what it read.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)
from msgspec import Struct

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
    from cryptography.x509 import Certificate

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
    yield from _dates(parsed, now, warning)
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


def _dates(certificates: Sequence[Certificate], now: datetime, warning: timedelta) -> Iterator[Flaw]:
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
