"""What a new machine's strongroom.toml needs to reach keys that are elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator

from strongroom.config import Settings
from strongroom.config.keys import KmsKey, Pkcs11Key, TransitKeySettings
from strongroom.operations.emergency.kit import KitSection


def snippet(settings: Settings) -> Iterator[KitSection]:
    """Yield it as a section of the recovery kit, if there is anything in it."""
    if text := configuration(settings):
        yield KitSection(
            title="strongroom.toml",
            words=("What a new machine needs to reach these keys. A PIN is asked for.",),
            commands=tuple(text.splitlines()),
        )


def configuration(settings: Settings) -> str:
    """Return what a new machine's strongroom.toml needs to reach keys that are elsewhere; or nothing."""
    return "\n".join(_lines(settings))


def _lines(settings: Settings) -> Iterator[str]:
    kept = {Pkcs11Key: _HSM, KmsKey: _KMS, TransitKeySettings: _TRANSIT}
    for name, key in settings.keys.items():
        if fields := kept.get(type(key)):
            yield from _table(f"keys.{name}", key, fields)
    servers = {key.vault for key in settings.keys.values() if isinstance(key, TransitKeySettings)}
    for name in sorted(servers & settings.vaults.keys()):
        yield from _table(f"vaults.{name}", settings.vaults[name], _SERVER)
        yield from ("token_file = \"~/.vault-token\"   # where 'vault login' and 'bao login' leave it", "")


def _table(title: str, section: object, fields: tuple[str, ...]) -> Iterator[str]:
    yield f"[{title}]"
    values = {field: getattr(section, field) for field in fields}
    yield from (f"{field} = {_plain(value)}" for field, value in values.items() if value is not None)
    yield ""


_HSM = ("kind", "mechanism", "label", "version", "module", "token")
_TRANSIT = ("kind", "vault", "mount", "key")
_SERVER = ("address", "namespace", "ca_file")
_KMS = ("kind", "key_id", "region", "endpoint_url")


def _plain(value: object) -> str:
    return str(value) if isinstance(value, int) else json.dumps(str(value))
