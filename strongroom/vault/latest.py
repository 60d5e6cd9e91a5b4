"""Reading what was just written, also where a standby answers.

A standby of OpenBao (from 2.5 on) and a performance standby of Vault answer reads themselves, a moment late.
Answers say how far the cluster's log was (``X-Vault-Index``; OpenBao from 2.7 on). A request that says so
too is answered by a node that is as far: a standby of OpenBao that is not hands it on to the active node.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping

import msgspec
from msgspec import Struct

INDEX = "X-Vault-Index"
_NONE: Mapping[str, str] = {}


class _OpenBaoIndex(Struct, frozen=True):
    """OpenBao's index. Vault's is a text of its own, which is given back as it came."""

    cluster: str
    value: str


class Latest:
    """How far the cluster was in any answer that this process got."""

    def __init__(self) -> None:
        self._text = ""
        self._index: _OpenBaoIndex | None = None
        self._lock = threading.Lock()

    def note(self, text: str | None) -> None:
        """Take in an answer's index, unless a later one is known: answers overtake each other."""
        if not text or text == self._text:
            return
        index = _read(text)
        with self._lock:
            if not _is_before(index, self._index):
                self._text, self._index = text, index

    def headers(self) -> Mapping[str, str]:
        """Return what a request says so that its answer is no older."""
        text, index = self._text, self._index
        if not text:
            return _NONE
        return {INDEX: text} | ({"X-Vault-Inconsistent": "forward-active-node"} if index else {})

    @property
    def is_told(self) -> bool:
        """Whether the server says how far it is at all."""
        return bool(self._text)

    def forget(self) -> None:
        """Forget it: another server may answer by now."""
        with self._lock:
            self._text, self._index = "", None


def _read(text: str) -> _OpenBaoIndex | None:
    try:
        return msgspec.json.decode(base64.b64decode(text), type=_OpenBaoIndex)
    except (ValueError, msgspec.MsgspecError):
        return None


def _is_before(index: _OpenBaoIndex | None, known: _OpenBaoIndex | None) -> bool:
    """Say whether an index lies before the known one of the same cluster."""
    if index is None or known is None or index.cluster != known.cluster:
        return False
    return index.value.isdecimal() and known.value.isdecimal() and int(index.value) < int(known.value)
