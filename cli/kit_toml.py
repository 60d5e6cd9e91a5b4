"""What a new machine's strongroom.toml needs to reach keys that are elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strongroom.config import Settings
    from strongroom.config.keys import KeySettings
    from strongroom.operations.kit import Section


def snippet(settings: Settings) -> Iterator[Section]:
    """Yield it as a section of the recovery kit, if there is anything in it."""
    from strongroom.operations.kit import Section  # noqa: PLC0415

    if text := configuration(settings):
        yield Section(
            title="strongroom.toml",
            words=("What a new machine needs to reach these keys. A PIN is asked for.",),
            commands=tuple(text.splitlines()),
        )


def configuration(settings: Settings) -> str:
    """Return what a new machine's strongroom.toml needs to reach keys that are elsewhere; or nothing."""
    return "\n".join(line for name, key in settings.keys.items() for line in _toml(name, key))


def _toml(name: str, key: KeySettings) -> Iterator[str]:
    from strongroom.config.keys import KmsKey, Pkcs11Key, TransitKey  # noqa: PLC0415

    if isinstance(key, TransitKey):
        yield f"# [keys.{name}]: the transit key '{key.key}' under '{key.mount}' of the Vault '{key.vault}';"
        yield f"# write it and [vaults.{key.vault}] anew, with a login of this machine."
        return
    if not isinstance(key, KmsKey | Pkcs11Key):
        return
    kept = _HSM if isinstance(key, Pkcs11Key) else _KMS
    yield f"[keys.{name}]"
    values = {field: getattr(key, field) for field in kept}
    yield from (f"{field} = {_plain(value)}" for field, value in values.items() if value is not None)
    yield ""


_HSM = ("kind", "mechanism", "label", "version", "module", "token")
_KMS = ("kind", "key_id", "region", "endpoint_url")


def _plain(value: object) -> str:
    return str(value) if isinstance(value, int) else json.dumps(str(value))
