"""The keys of one container, all derived from its file key and file id."""

from __future__ import annotations

import hmac

from strongroom.container import cobblestone, derive, layout
from strongroom.container.cobblestone import Buffer
from strongroom.container.derive import Random, hkdf, require_key
from strongroom.container.errors import Tampered
from strongroom.container.layout import Header, header_prefix, message_context

_LABELS = {layout.VALUES: derive.VALUES, layout.ROWS: derive.ROWS, layout.INDEX: derive.INDEX}


class FileKeys:
    """Seals and opens a container's messages, each bound to its file, kind and number."""

    def __init__(self, file_key: bytes, file_id: bytes) -> None:
        require_key(file_key, "file key")
        prefix = header_prefix(file_id)
        tag = hkdf(file_key, salt=file_id, info=derive.HEADER + prefix)
        self.header = Header(prefix, file_id, tag)
        self._keys = {k: hkdf(file_key, salt=file_id, info=label) for k, label in _LABELS.items()}

    @classmethod
    def of(cls, file_key: bytes, header: Header) -> FileKeys:
        """Return the keys for a header that was read, once its tag is found right."""
        keys = cls(file_key, header.file_id)
        if not hmac.compare_digest(keys.header.raw, header.raw):
            raise Tampered("The header was not made with this file key.")
        return keys

    def seal(self, kind: int, number: int, plain: Buffer, random: Random) -> bytes:
        """Seal a message for its place."""
        context = message_context(self.header.tag, kind, number)
        return cobblestone.seal(self._keys[kind], plain, context=context, _salt=random(cobblestone.SALT))

    def open(self, kind: int, number: int, message: Buffer) -> bytes:
        """Open a message from its place; raise Tampered if it was not made for it."""
        return cobblestone.open_(
            self._keys[kind], message, context=message_context(self.header.tag, kind, number)
        )
