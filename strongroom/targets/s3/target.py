"""A bucket as a target: put only if absent, checked at both ends, locked where asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime

from strongroom.errors import TargetError
from strongroom.model import ObjectInfo
from strongroom.targets import (
    HiddenVersion,
    ProbeCheck,
    Target,
    TargetIdentity,
    check_name,
    check_prefix,
    check_range,
    is_name,
)
from strongroom.targets.probing import stamped
from strongroom.targets.s3.bucket import Bucket, Locks, Prober
from strongroom.targets.s3.client import S3Options, translated
from strongroom.targets.s3.putting import BucketReader, Putter, abort_all
from strongroom.targets.s3.versions import hidden, purge, telling


class S3Target(Target):
    """A :class:`~strongroom.targets.Target` in an S3 bucket.

    In a versioned bucket the current version is the object, and a delete marker is not an object:
    :meth:`delete` adds such a marker, and what it hides stays until the bucket's lifecycle
    or an administrator removes it.

    Args:
        name: what the configuration calls this target.
        region: where it lies, as policies count it; the bucket's own region if left out.
        provider: who runs it.
        clock: gives the time (UTC) that locks count from.
    """

    def __init__(
        self,
        options: S3Options,
        *,
        name: str,
        region: str | None = None,
        provider: str = "aws",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        region = region or options.region
        super().__init__(TargetIdentity(name=name, region=region, provider=provider, address=options.address))
        self.bucket = Bucket(options, title=str(self.place))
        self._putter = Putter(self.bucket, clock=clock)
        self._reader = BucketReader(self.bucket)
        self._locks = Locks(self.bucket, clock=clock)
        self._prober = Prober(self.bucket, clock=clock)
        self._clock = clock

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        return self._putter.put(check_name(name), chunks, size=size, sha256=sha256)

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream a range in chunks of at most 1 MiB."""
        check_name(name)
        check_range(offset, length)
        return self._reader.read(name, offset=offset, length=length)

    def stat(self, name: str) -> ObjectInfo | None:
        """Return what is there, or ``None``; raises if the bucket itself is not there."""
        head = self.bucket.head(check_name(name))
        if head is None:
            self.bucket.check_there()
            return None
        return ObjectInfo(name=name, size=head.size)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield objects ascending by name; keys that are no names are passed over."""
        check_prefix(prefix)
        return self._list(prefix)

    def delete(self, name: str) -> None:
        """Remove an object; TargetLocked while a lock or a legal hold keeps it."""
        head = self.bucket.head(check_name(name))
        if head is None:
            self.bucket.check_there()
            return
        self._locks.check_free(name, head)
        self.bucket.call("delete_object", f"delete {name}", writing=True, Key=self.bucket.key(name))

    def purge(self, prefix: str) -> int:
        """Remove every version under a prefix for good."""
        return purge(self.bucket, check_prefix(prefix))

    def hidden(self, prefix: str) -> Sequence[HiddenVersion]:
        return hidden(self.bucket, check_prefix(prefix), clock=self._clock)

    def telling(self) -> Iterator[ProbeCheck]:
        return telling(self.bucket)

    def time(self) -> float:
        reply = self.bucket.call("head_bucket", "ask for the time there")
        return stamped(reply["ResponseMetadata"]["HTTPHeaders"].get("date"), self.bucket.title)

    def abort_incomplete(self, prefix: str) -> int:
        """Remove multipart uploads under ``prefix``; return how many there were.

        A bucket does not say whether an upload's writer still lives. One that does fails
        as transient, and starts over.
        """
        return abort_all(self.bucket, check_prefix(prefix))

    @property
    def locks(self) -> bool:
        return self.bucket.options.lock is not None

    def extend_lock(self, name: str, until: datetime) -> datetime:
        return self._locks.extend(check_name(name), until)

    def locked_until(self, name: str) -> datetime | None:
        return self._locks.until(check_name(name))

    def reader_log(self) -> str:
        enabled = self.bucket.call("get_bucket_logging", "look at its access log").get("LoggingEnabled")
        return f"s3://{enabled['TargetBucket']}/{enabled.get('TargetPrefix', '')}" if enabled else ""

    def refusals(self, name: str) -> Iterator[ProbeCheck]:
        return self._prober.refusals(check_name(name))

    def excess(self, name: str) -> Iterator[ProbeCheck]:
        return self._prober.excess(check_name(name))

    def settings(self) -> Iterator[ProbeCheck]:
        return self._prober.settings()

    def _list(self, prefix: str) -> Iterator[ObjectInfo]:
        last = ""
        for key, size in self._listed(prefix):
            name = self.bucket.name(key)
            if name is None or not is_name(name) or not name.startswith(prefix):
                continue
            if name <= last:
                raise TargetError(f"{self.bucket.title} does not list in order of names")
            last = name
            yield ObjectInfo(name=name, size=size)

    def _listed(self, prefix: str) -> Iterator[tuple[str, int]]:
        doing = f"list {prefix or 'everything'}"
        for page in self.bucket.pages("list_objects_v2", doing, Prefix=self.bucket.key(prefix)):
            with translated(self.bucket.title, doing):
                found = [(entry["Key"], entry["Size"]) for entry in page.get("Contents", ())]
                # Raise ValueError for what is no listing of S3's: a web page has no entries either, and a
                # page that says there are more, and not where, would end the listing without a word.
                if "Name" not in page or (page.get("IsTruncated") and not page.get("NextContinuationToken")):
                    raise ValueError("this is no page of a listing")
            yield from found
