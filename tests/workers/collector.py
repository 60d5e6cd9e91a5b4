"""A collector of OpenTelemetry that keeps what it was sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.operations.alerts.receiver import Receiver


class Collector(Receiver):
    """Takes traces over HTTP. ``taken`` has of each its path, its type, and what it says."""

    @property
    def url(self) -> str:
        """Where traces are taken."""
        return f"http://127.0.0.1:{self.port}/v1/traces"

    @property
    def taken(self) -> list[tuple[str, str, Any]]:
        return [(post.path, post.headers["content-type"], post.document) for post in list(self.posts)]

    def spans(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield every span with the process that performed it."""
        for _, _, document in self.taken:
            for resource in document["resourceSpans"]:
                about = {one["key"]: one["value"] for one in resource["resource"]["attributes"]}
                process = about.get("service.instance.id", {}).get("stringValue", "")
                yield from ((process, span) for scope in resource["scopeSpans"] for span in scope["spans"])
