"""An endpoint that takes what Sentry's SDK posts, as its server would."""

from __future__ import annotations

import gzip
import json
from typing import Any

from tests.operations.alerts.receiver import Post, Receiver


class Sink(Receiver):
    """Keeps the envelopes that were posted to it."""

    @property
    def dsn(self) -> str:
        return f"http://public@127.0.0.1:{self.port}/1"

    @property
    def text(self) -> str:
        return "\n".join(map(_text, list(self.posts)))

    def items(self, kind: str) -> list[dict[str, Any]]:
        """Return the items of a kind, ``event`` or ``check_in``, in the order in which they came."""
        found = []
        for lines in (_text(post).splitlines() for post in list(self.posts)):
            pairs = zip(lines[1::2], lines[2::2], strict=False)
            found += [json.loads(item) for head, item in pairs if json.loads(head)["type"] == kind]
        return found


def _text(post: Post) -> str:
    packed = post.headers.get("content-encoding") == "gzip"
    return (gzip.decompress(post.body) if packed else post.body).decode()
