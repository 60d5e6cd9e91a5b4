"""What deleting leaves in a bucket that keeps versions: hidden ones, which a purge removes."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.errors import TargetError
from strongroom.targets.s3.bucket import Bucket

Version = tuple[str, str]
"""Key and version id; delete markers are versions too."""


def purge(bucket: Bucket, prefix: str) -> int:
    """Remove every version under ``prefix`` that may be removed; return how many stay.

    Whoever may only hide objects removes none, and one under a lock stays: that is no error,
    for what stays is what was asked for.
    """
    for key, version in list(_versions(bucket, prefix)):
        try:
            bucket.call("delete_object", "purge versions", writing=True, Key=key, VersionId=version)
        except TargetError as error:
            if error.transient:
                raise
    return sum(1 for _ in _versions(bucket, prefix))


def _versions(bucket: Bucket, prefix: str) -> Iterator[Version]:
    for page in bucket.pages("list_object_versions", f"list versions of {prefix}", Prefix=bucket.key(prefix)):
        for found in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
            yield found["Key"], found["VersionId"]
