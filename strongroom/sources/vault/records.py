"""What the server says of mounts and keys, as far as we look at it."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from strongroom.model import prepare
from strongroom.vault import paths


class KeyVersion(Struct, frozen=True, gc=False, omit_defaults=True):
    """One version in a key's metadata. ``deletion_time`` may lie in the future."""

    created_time: str = ""
    deletion_time: str = ""
    destroyed: bool = False


class KeyInfo(Struct, frozen=True, omit_defaults=True):
    """The metadata of a KV v2 key."""

    versions: dict[int, KeyVersion] = {}
    current_version: int = 0
    oldest_version: int = 0
    max_versions: int = 0
    cas_required: bool = False
    metadata_cas_required: bool = False
    delete_version_after: str = "0s"
    custom_metadata: dict[str, str] | None = None
    created_time: str = ""
    updated_time: str = ""
    current_metadata_version: int = 0


class MountConfig(Struct, frozen=True, omit_defaults=True):
    """The ``config`` of a KV v2 mount."""

    max_versions: int = 0
    cas_required: bool = False
    metadata_cas_required: bool = False
    delete_version_after: str = "0s"


class VersionInfo(Struct, frozen=True, gc=False):
    """The metadata that comes with a version's data."""

    version: int
    created_time: str = ""
    deletion_time: str = ""
    destroyed: bool = False
    custom_metadata: dict[str, str] | None = None


class VersionData(Struct, frozen=True, gc=False):
    """A version's data, as the very text that the server sent."""

    metadata: VersionInfo
    data: Raw = Raw(b"null")

    @property
    def text(self) -> bytes | None:
        """The data; ``None`` if the version has none any more."""
        raw = bytes(self.data)
        return None if raw == b"null" else raw


class MountInfo(Struct, frozen=True):
    """A mount as ``sys/mounts`` shows it."""

    type: str
    description: str = ""
    options: dict[str, str] | None = None
    config: dict[str, Any] = {}
    local: bool = False
    seal_wrap: bool = False
    external_entropy_access: bool = False


class _KeyAnswer(Struct):
    data: KeyInfo


class _DataAnswer(Struct):
    data: VersionData | None = None


class _PlainAnswer(Struct):
    data: Raw


class KvListing(Struct, frozen=True):
    """A listing."""

    keys: list[str] = []
    key_info: dict[str, KeyInfo] = {}


class _ListingAnswer(Struct):
    data: KvListing | None = None


class _KvConfigAnswer(Struct):
    data: MountConfig


class _MountsAnswer(Struct):
    data: dict[str, MountInfo]


class _SeenMount(Struct):
    secret: dict[str, MountInfo] = {}
    auth: dict[str, MountInfo] = {}


class _SeenAnswer(Struct):
    data: _SeenMount


prepare(_KeyAnswer, _DataAnswer, _PlainAnswer, _ListingAnswer, _KvConfigAnswer, _MountsAnswer, _SeenAnswer)

KEY = msgspec.json.Decoder(_KeyAnswer)
DATA = msgspec.json.Decoder(_DataAnswer)
PLAIN = msgspec.json.Decoder(_PlainAnswer)
KEYS = msgspec.json.Decoder(_ListingAnswer)
CONFIG = msgspec.json.Decoder(_KvConfigAnswer)
MOUNTS = msgspec.json.Decoder(_MountsAnswer)
SEEN = msgspec.json.Decoder(_SeenAnswer)


class Mount(Struct, frozen=True):
    """A KV mount: namespace and path end with a slash, or are empty for the root."""

    namespace: str
    path: str
    version: int
    info: MountInfo

    @property
    def name(self) -> str:
        """What its secrets' names begin with."""
        return self.namespace + self.path


def kv_mount(namespace: str, path: str, info: MountInfo) -> Mount | None:
    """Return the mount if it is one of KV. The old name of version 1 is ``generic``."""
    if info.type not in ("kv", "generic"):
        return None
    version = 2 if (info.options or {}).get("version") == "2" else 1
    return Mount(namespace, paths.folder(path), version, info)
