"""Signed JSON documents (manifest, detached envelope): one frame of fixed spelling for all.

::

    {"format":"strongroom-<kind>/1",
    "body":<canonical JSON>,
    "certificate":{<of the key that signed>},
    "signature":"<128 hex>",
    "length":"<12 digits>"}

each line ended by one line feed, the last one too. Any JSON reader can read it; this one
takes it apart line by line, so there is exactly one spelling. The signature is over body and certificate.
"""

from __future__ import annotations

import re
import struct

from msgspec import Struct

from strongroom.container.errors import Malformed, NotABackup, Tampered, Truncated, UnsupportedVersion
from strongroom.container.signing import (
    Certificate,
    CertifiedSigner,
    parse_certificate,
    require_signer,
    verify,
)

# -- Telling a cut file from an altered one, with nothing but the file --------------------------
#
# Everything we write ends in two things that say "the end": a fixed marker, and the total
# length. A single changed byte can spoil one of them; cutting anything off spoils both.


_LAST = struct.Struct(">Q8s")
SEARCH = 4096
"""How many bytes before the file's end are searched for an end that others follow."""


def check_ending(*, marker: bool, length: bool, what: str) -> None:
    """Judge an ending by whether its marker is there and its length is the file's.

    Raises:
        Truncated: neither holds.
        Tampered: one holds, so the end is there and was altered.
    """
    if marker and length:
        return
    if marker or length:
        raise Tampered(f"The end of the {what} was altered.")
    raise Truncated(f"The {what} ends too early.")


def binary_ending(tail: bytes, size: int, marker: bytes) -> tuple[bool, bool]:
    """Return whether marker and total length, the last 16 bytes, are those of this file."""
    if len(tail) < _LAST.size:
        return False, False
    total, end = _LAST.unpack(tail[-_LAST.size :])
    return end == marker, total == size


def check_binary_ending(tail: bytes, size: int, marker: bytes, *, what: str) -> None:
    """Judge a binary file by its last bytes.

    Raises what :func:`check_ending` does, and Malformed if bytes were added after the end.
    """
    right = binary_ending(tail, size, marker)
    if right == (False, False) and _file_ends_earlier(tail[-SEARCH:], size, marker):
        raise Malformed(f"Something follows the end of the {what}.")
    check_ending(marker=right[0], length=right[1], what=what)


def _file_ends_earlier(tail: bytes, size: int, marker: bytes) -> bool:
    at = tail.find(marker)
    while at >= 0:
        end = size - len(tail) + at + len(marker)
        if at >= 8 and int.from_bytes(tail[at - 8 : at], "big") == end:
            return True
        at = tail.find(marker, at + 1)
    return False


# -- Signed JSON documents (manifest, detached envelope): one frame of fixed spelling for all ---
#
# ::
#
#     {"format":"strongroom-<kind>/1",
#     "body":<canonical JSON>,
#     "certificate":{<of the key that signed>},
#     "signature":"<128 hex>",
#     "length":"<12 digits>"}
#
# each line ended by one line feed, the last one too. Any JSON reader can read it; this one
# takes it apart line by line, so there is exactly one spelling. The signature is over body and certificate.


MAX_DOCUMENT = 64 * 1024 * 1024

_VERSION = re.compile(rb"([0-9]{1,4})\",\n")
_OURS = re.compile(
    rb'\{"format":"strongroom-(manifest|envelope|metadata|head|quarantine|deletion|hold|incident|audit-report'
    rb"|incident-report|recovery|recovery-report|drill-report|security-review|restore-plan|compliance-report|trust|index)/"
)
_FRAME = re.compile(
    rb'"body":([^\n]+),\n"certificate":([^\n]+),\n"signature":"([0-9a-f]{128})",\n"length":"[0-9]{12}"\}\n'
)
_LENGTH_OPEN, _LENGTH_CLOSE = b',\n"length":"', b'"}\n'
_LENGTH = re.compile(_LENGTH_OPEN + rb"([0-9]{12})" + re.escape(_LENGTH_CLOSE))
LENGTH_TAIL = len(_LENGTH_OPEN) + 12 + len(_LENGTH_CLOSE)


class DocumentKind(Struct, frozen=True):
    """A kind of document. ``name`` goes into ``format``, ``words`` into messages; ``roles`` sign it.

    ``most`` is how many bytes one has at most.
    """

    name: str
    words: str
    roles: tuple[str, ...] = ()
    most: int = MAX_DOCUMENT

    @property
    def family(self) -> bytes:
        return b'{"format":"strongroom-' + self.name.encode() + b"/"

    @property
    def opening(self) -> bytes:
        return self.family + b'1",\n'

    @property
    def domain(self) -> bytes:
        return b"strongroom/v1/" + self.name.encode()


class SignedDocument(Struct, frozen=True):
    """A document's body, and the certificate of the key that signed it."""

    body: bytes
    certificate: Certificate


def write(kind: DocumentKind, body: bytes, signer: CertifiedSigner) -> bytes:
    """Frame and sign canonical JSON. Deterministic: the same input gives the same bytes."""
    certificate = signer.certificate.encode()
    signature = signer.sign(kind.domain, signed_message(body, certificate)).hex().encode()
    head = kind.opening + b'"body":%b,\n"certificate":%b,\n"signature":"%b"' % (body, certificate, signature)
    data = head + length_tail(len(head) + LENGTH_TAIL)
    if len(data) > kind.most:
        raise Malformed(f"The {kind.words} would be larger than the format allows.")
    return data


def signed_message(body: bytes, certificate: bytes) -> bytes:
    """Return what a document's signature is over. Neither part has a line feed of its own."""
    return body + b"\n" + certificate


_OLD_END = 300
_OLD = (
    "If a version before the first release made it, nothing was altered: that version alone opens it. "
    "Otherwise keep this copy as evidence and restore from another replica."
)


def parse(kind: DocumentKind, data: bytes, *, trusted: frozenset[str] | None) -> SignedDocument:
    """Take a document apart and check its signature and its signer's certificate.

    Raises, in this order: NotABackup, UnsupportedVersion, Truncated, Tampered,
    UntrustedSigner. ``trusted=None`` accepts the certificate of any installation.
    """
    if len(data) > kind.most:
        raise NotABackup(f"This is too large for the {kind.words} that it should be.")
    check_opening(kind, data[:64], data[-LENGTH_TAIL:], len(data))
    check_length(kind.words, data[-SEARCH:], len(data))
    match = _FRAME.fullmatch(data, len(kind.opening))
    certificate = parse_certificate(match[2]) if match else None
    if match is None or certificate is None:
        old = b'\n"signer":"' in data[-_OLD_END:]
        raise Tampered(f"The frame of the {kind.words} was altered.", hint=_OLD if old else None)
    message = signed_message(match[1], match[2])
    verify(certificate.public, kind.domain, message, bytes.fromhex(match[3].decode()))
    require_signer(certificate, may=kind.roles, what=kind.words, trusted=trusted)
    return SignedDocument(match[1], certificate)


def check_opening(kind: DocumentKind, head: bytes, tail: bytes, length: int) -> None:
    """Tell this kind in this version from others, from a cut and from an altered one.

    ``head`` is the first 64 bytes, ``tail`` the last ``LENGTH_TAIL``.
    """
    if head.startswith(kind.opening):
        return
    if kind.opening.startswith(head):
        raise Truncated(f"The {kind.words} ends too early.")
    if head.startswith(kind.family) and _VERSION.match(head, len(kind.family)):
        raise UnsupportedVersion(f"This {kind.words} has a version that this Strongroom does not know.")
    is_other = _OURS.match(head) and not head.startswith(kind.family)
    if not is_other and _length_state(tail, length) == (True, True):
        raise Tampered(f"The beginning of the {kind.words} was altered.")
    raise NotABackup(f"This is no {kind.words}.")


def length_tail(length: int) -> bytes:
    """Return the line that ends every JSON document of ours; ``length`` counts it too."""
    return _LENGTH_OPEN + b"%012d" % length + _LENGTH_CLOSE


def check_length(words: str, tail: bytes, length: int) -> None:
    """Apply the rule of :mod:`ending` to the last ``SEARCH`` bytes."""
    marker, same = _length_state(tail[-LENGTH_TAIL:], length)
    if not marker and not same and _ends_earlier(tail, length):
        raise Malformed(f"Something follows the end of the {words}.")
    check_ending(marker=marker, length=same, what=words)


def _ends_earlier(tail: bytes, length: int) -> bool:
    start = length - len(tail)
    return any(int(match[1]) == start + match.end() for match in _LENGTH.finditer(tail))


def length_at_end(tail: bytes) -> int | None:
    """Return how long the document is that ends with these ``LENGTH_TAIL`` bytes; ``None`` if none does."""
    match = _LENGTH.fullmatch(tail)
    return int(match[1]) if match else None


def _length_state(tail: bytes, length: int) -> tuple[bool, bool]:
    digits = tail[len(_LENGTH_OPEN) : -len(_LENGTH_CLOSE)]
    marker = len(tail) == LENGTH_TAIL and tail.startswith(_LENGTH_OPEN) and tail.endswith(_LENGTH_CLOSE)
    return marker, digits == b"%012d" % length
