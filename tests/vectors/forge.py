"""Taking a container apart and putting it together wrongly, but with good signatures.

A forger who holds the keys can do what no changed byte does: these vectors hold a reader to
the rules behind the signature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Self

import msgspec
import zstandard

from strongroom.container import canonical, layout
from strongroom.container.cobblestone import FileKeys, zeros
from strongroom.container.layout import Trailer
from strongroom.container.ranges import BytesReader
from strongroom.container.reader import CONTAINER_DOMAIN, read_outer, read_segments, signed_message
from strongroom.container.signing import Certificate, CertifiedSigner
from strongroom.container.wrapping import Envelope, Identity, unlock
from tests.vectors.material import SEAL, stream


def filled(plain: bytes) -> bytes:
    """Return a plaintext with its padding."""
    return plain + zeros(len(plain))


@dataclass(frozen=True)
class Parts:
    """A container's parts, opened. ``segments`` are plaintexts of values and rows."""

    file_key: bytes
    file_id: bytes
    segments: tuple[tuple[bytes, bytes], ...]
    index: dict[str, Any]
    envelope: bytes
    signer: CertifiedSigner = SEAL
    directory: bytes | None = None
    index_as: Callable[[bytes], bytes] = filled
    lies: dict[str, Any] = field(default_factory=dict)
    sealed: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    tag: bytes | None = None

    @classmethod
    def of(cls, data: bytes, identity: Identity) -> Self:
        outer = read_outer(BytesReader(data), trusted=None)
        wrapping_key = unlock(outer.envelope.wrapping_key, [identity])
        file_key = wrapping_key.unwrap_file_key(outer.envelope.file_key, outer.header.file_id)
        keys = FileKeys.of(file_key, outer.header)
        messages = list(read_segments(BytesReader(data), outer))
        return cls(
            file_key=file_key,
            file_id=outer.header.file_id,
            segments=tuple(
                (keys.open(layout.VALUES, n, values) if values else b"", keys.open(layout.ROWS, n, rows))
                for n, (values, rows) in enumerate(messages)
            ),
            index=msgspec.json.decode(keys.open(layout.INDEX, 0, outer.index).rstrip(b"\0")),
            envelope=canonical.encode(outer.envelope),
        )

    def change(self, **changes: Any) -> Self:
        return replace(self, **changes)

    def with_envelope(self, change: Callable[[dict[str, Any]], object]) -> Self:
        """Edit the envelope as JSON."""
        content = msgspec.json.decode(self.envelope)
        change(content)
        return self.change(envelope=msgspec.json.encode(content))

    def with_index(self, **members: Any) -> Self:
        return self.change(index={**self.index, **members})

    def keys(self) -> FileKeys:
        """Return the keys, with the header tag that is to be told."""
        keys = FileKeys(self.file_key, self.file_id)
        if self.tag is not None:
            keys.header = layout.Header(keys.header.prefix, self.file_id, self.tag)
        return keys

    def messages(self, name: str) -> list[tuple[bytes, bytes]]:
        """Seal the segments."""
        random, keys = stream(f"{name}/forged"), self.keys()
        sealed = []
        for number, (values, rows) in enumerate(self.segments):
            first = keys.seal(layout.VALUES, number, values, random) if values else b""
            sealed.append((first, keys.seal(layout.ROWS, number, rows, random)))
        return [self.sealed.get(number, pair) for number, pair in enumerate(sealed)]

    def build(self, name: str) -> bytes:
        """Put everything together and sign it."""
        keys, random = self.keys(), stream(f"{name}/index")
        messages = self.messages(name)
        directory = directory_of(messages) if self.directory is None else self.directory
        tied = {"directory": hashlib.sha256(directory).hexdigest(), "signer": self.signer.public.hex()}
        written = msgspec.json.encode({**self.index, **tied, **self.lies})
        plain = self.index_as(written)
        sealed = keys.seal(layout.INDEX, 0, plain, random)
        body = b"".join(part for pair in messages for part in pair)
        return assemble(keys.header.raw + body, directory, sealed, self.envelope, self.signer)


def assemble(
    before: bytes, directory: bytes, index: bytes, envelope: bytes, signer: CertifiedSigner
) -> bytes:
    """Add the tail to header and segments, signed."""
    size = len(before) + len(directory) + len(index) + len(envelope)
    total = size + layout.SIGNATURE.size + layout.TRAILER.size
    trailer = Trailer(len(directory), len(index), len(envelope), total)
    header = layout.Header(before[:48], before[16:48], before[48:80])
    signature = signer.sign(CONTAINER_DOMAIN, signed_message(header, directory, index, envelope, trailer))
    signed = layout.SIGNATURE.pack(signer.public, signature)
    return before + directory + index + envelope + signed + trailer.raw


def directory_of(messages: list[tuple[bytes, bytes]]) -> bytes:
    """Return the directory that fits these messages."""
    return b"".join(
        layout.ENTRY.pack(
            len(values),
            len(rows),
            hashlib.sha256(values).digest() if values else bytes(32),
            hashlib.sha256(rows).digest(),
        )
        for values, rows in messages
    )


def rows_plain(
    columns: bytes,
    *,
    rows: int,
    digests: int,
    length: int | None = None,
    longer: int = 0,
    level: int = 1,
    frame: bytes = b"",
) -> bytes:
    """Pack columns into the plaintext of a rows message, with made-up digests.

    ``longer`` is by how much the length that is stated of the frame is more than it has.
    """
    frame = frame or zstandard.ZstdCompressor(level=level).compress(columns)
    stated = (rows, digests, len(columns) if length is None else length, len(frame) + longer)
    return filled(b"".join(n.to_bytes(4, "big") for n in stated) + frame + bytes(16 * digests))


def framed(content: bytes, window_log: int) -> bytes:
    """Return a frame of one block that is not compressed, with this window in its header (RFC 8878)."""
    head = bytes([0x80, window_log - 10 << 3]) + len(content).to_bytes(4, "little")
    block = (len(content) << 3 | 1).to_bytes(3, "little")
    return zstandard.MAGIC_NUMBER.to_bytes(4, "little") + head + block + content


def values_plain(*values: bytes) -> bytes:
    return filled(b"".join(values))


def re_signed(
    data: bytes,
    signer: CertifiedSigner,
    *,
    before: bytes | None = None,
    certificate: Certificate | None = None,
) -> bytes:
    """Sign a container again, as somebody without any of its keys can.

    ``before`` takes the place of header and segments, ``certificate`` that of the signer's own.
    """
    outer = read_outer(BytesReader(data), trusted=None)
    carried = msgspec.structs.replace(outer.envelope, certificate=certificate or signer.certificate)
    envelope = canonical.encode(carried)
    before = data[: outer.trailer.start] if before is None else before
    return assemble(before, outer.directory, outer.index, envelope, signer)


def envelope_of(data: bytes) -> Envelope:
    return read_outer(BytesReader(data), trusted=None).envelope
