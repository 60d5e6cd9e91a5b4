"""What a plug-in is written with: docs/how-to/write-a-plug-in.md.

A package of its own names a record of settings by an entry point. What it needs for that, for the thing which
the record makes, and for its tests, is importable from here; what is named here changes with ``API`` alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strongroom.config import Settings
    from strongroom.config.kinds import ChannelKind, KeyKind, Misfit, SourceKind, TargetKind, in_log
    from strongroom.config.reference import kind_markdown
    from strongroom.config.registry import API
    from strongroom.config.rotators import RotatorKind
    from strongroom.config.values import AbsolutePath, Duration, Name, Size, Text, Url
    from strongroom.container.errors import Malformed, MissingPiece, VerificationFailed
    from strongroom.container.wrapping import Identity, Recipient, Stanza
    from strongroom.errors import (
        ConfigError,
        KeyServiceError,
        SourceError,
        StrongroomError,
        TargetError,
        UsageError,
    )
    from strongroom.keys import Opener, keywrap
    from strongroom.keys.errors import KeyServiceUnavailable
    from strongroom.keys.passphrase import KeyHolder
    from strongroom.model import (
        ListedSecret,
        Media,
        ObjectInfo,
        RotationSchedule,
        Secret,
        SecretBytes,
        SecretVersion,
        VersionState,
    )
    from strongroom.operations.engine.services import CarriedValue, Engine, RotatorWork, Shape
    from strongroom.operations.errors import ChannelRefused, ChannelUnavailable, SecretNotRotated
    from strongroom.operations.notify.channels import AlertMessage, Channel
    from strongroom.sources import (
        CredentialRights,
        Destination,
        Foreseen,
        Listable,
        Refuse,
        SecretChange,
        Source,
    )
    from strongroom.sources.batches import Refusing, check_expected, check_writable, on_top
    from strongroom.sources.errors import SourceChanged, SourceUnavailable
    from strongroom.system.errors import Conflict, TargetFull, TargetReadOnly
    from strongroom.system.files import read_private
    from strongroom.targets import (
        HiddenVersion,
        ProbeCheck,
        ProbeResult,
        Target,
        TargetIdentity,
        check_name,
        check_prefix,
        check_range,
    )
    from strongroom.targets.errors import TargetAbsent, TargetGarbled, TargetLocked, TargetUnavailable
    from strongroom.targets.reading import checked

_HOMES = {
    "strongroom.config": ("Settings",),
    "strongroom.config.kinds": ("ChannelKind", "KeyKind", "Misfit", "SourceKind", "TargetKind", "in_log"),
    "strongroom.config.reference": ("kind_markdown",),
    "strongroom.config.registry": ("API",),
    "strongroom.config.rotators": ("RotatorKind",),
    "strongroom.config.values": ("AbsolutePath", "Duration", "Name", "Size", "Text", "Url"),
    "strongroom.container.errors": ("Malformed", "MissingPiece", "VerificationFailed"),
    "strongroom.container.wrapping": ("Identity", "Recipient", "Stanza"),
    "strongroom.errors": (
        *("ConfigError", "KeyServiceError", "SourceError", "StrongroomError", "TargetError", "UsageError"),
    ),
    "strongroom.keys": ("Opener", "keywrap"),
    "strongroom.keys.errors": ("KeyServiceUnavailable",),
    "strongroom.keys.passphrase": ("KeyHolder",),
    "strongroom.model": (
        *("ListedSecret", "Media", "ObjectInfo", "RotationSchedule", "Secret", "SecretBytes"),
        *("SecretVersion", "VersionState"),
    ),
    "strongroom.operations.engine.services": ("CarriedValue", "Engine", "RotatorWork", "Shape"),
    "strongroom.operations.errors": ("ChannelRefused", "ChannelUnavailable", "SecretNotRotated"),
    "strongroom.operations.notify.channels": ("AlertMessage", "Channel"),
    "strongroom.sources": (
        *("CredentialRights", "Destination", "Foreseen", "Listable", "Refuse", "SecretChange", "Source"),
    ),
    "strongroom.sources.batches": ("Refusing", "check_expected", "check_writable", "on_top"),
    "strongroom.sources.errors": ("SourceChanged", "SourceUnavailable"),
    "strongroom.system.errors": ("Conflict", "TargetFull", "TargetReadOnly"),
    "strongroom.system.files": ("read_private",),
    "strongroom.targets": (
        *("HiddenVersion", "ProbeCheck", "ProbeResult", "Target", "TargetIdentity"),
        *("check_name", "check_prefix", "check_range"),
    ),
    "strongroom.targets.errors": ("TargetAbsent", "TargetGarbled", "TargetLocked", "TargetUnavailable"),
    "strongroom.targets.reading": ("checked",),
}
"""Where each name is made. Loaded on first use: a record of settings costs no more than ours do."""

__all__ = [
    "API",
    "AbsolutePath",
    "AlertMessage",
    "CarriedValue",
    "Channel",
    "ChannelKind",
    "ChannelRefused",
    "ChannelUnavailable",
    "ConfigError",
    "Conflict",
    "CredentialRights",
    "Destination",
    "Duration",
    "Engine",
    "Foreseen",
    "HiddenVersion",
    "Identity",
    "KeyHolder",
    "KeyKind",
    "KeyServiceError",
    "KeyServiceUnavailable",
    "Listable",
    "ListedSecret",
    "Malformed",
    "Media",
    "Misfit",
    "MissingPiece",
    "Name",
    "ObjectInfo",
    "Opener",
    "ProbeCheck",
    "ProbeResult",
    "Recipient",
    "Refuse",
    "Refusing",
    "RotationSchedule",
    "RotatorKind",
    "RotatorWork",
    "Secret",
    "SecretBytes",
    "SecretChange",
    "SecretNotRotated",
    "SecretVersion",
    "Settings",
    "Shape",
    "Size",
    "Source",
    "SourceChanged",
    "SourceError",
    "SourceKind",
    "SourceUnavailable",
    "Stanza",
    "StrongroomError",
    "Target",
    "TargetAbsent",
    "TargetError",
    "TargetFull",
    "TargetGarbled",
    "TargetIdentity",
    "TargetKind",
    "TargetLocked",
    "TargetReadOnly",
    "TargetUnavailable",
    "Text",
    "Url",
    "UsageError",
    "VerificationFailed",
    "VersionState",
    "check_expected",
    "check_name",
    "check_prefix",
    "check_range",
    "check_writable",
    "checked",
    "in_log",
    "keywrap",
    "kind_markdown",
    "on_top",
    "read_private",
]

if not TYPE_CHECKING:  # else a type checker would take any name for one that is there

    def __getattr__(name: str) -> Any:
        """Load a public name from where it is made."""
        for module, names in _HOMES.items():
            if name in names:
                return getattr(import_module(module), name)
        raise AttributeError(f"module 'strongroom.plugins' has no attribute '{name}'")
