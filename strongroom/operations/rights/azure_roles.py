"""What each role needs of Azure Blob Storage: letters of a SAS token, or an identity's role definition."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from shlex import quote
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from strongroom.config import AzureTargetSettings, Settings
from strongroom.errors import ConfigError
from strongroom.operations.engine.stage import verbs_on_stage
from strongroom.operations.rights import needs
from strongroom.operations.rights.needs import TargetAction

LETTERS: Final = {
    TargetAction.READ: "r",
    TargetAction.PUT: "cw",
    TargetAction.MARK: "cw",
    TargetAction.DELETE: "d",
    TargetAction.LIST: "l",
}
_ORDER: Final = "rcwdli"
_BLOBS: Final = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
_OPERATIONS: Final = {
    "r": (f"{_BLOBS}/read",),
    "w": (f"{_BLOBS}/write", f"{_BLOBS}/add/action"),
    "d": (f"{_BLOBS}/delete",),
}
_CONTAINER: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,61})[a-z0-9]|\$root")


class AzureGrant(Struct, frozen=True, kw_only=True):
    """What a role is granted in a container. ``letters``: the permissions of a SAS token."""

    account: str
    container: str
    letters: str

    @property
    def operations(self) -> tuple[str, ...]:
        """What the same is for a role definition, as ``DataActions``."""
        return tuple(
            name for letter, names in _OPERATIONS.items() if letter in self.letters for name in names
        )

    def definition(self, name: str) -> dict[str, object]:
        """Return a role definition, but for the places that it may be assigned in."""
        return {
            "Name": name,
            "IsCustom": True,
            "Description": f"What Strongroom needs in container {self.container} ({self.letters}).",
            "Actions": ["Microsoft.Storage/storageAccounts/blobServices/containers/read"],
            "NotActions": [],
            "DataActions": list(self.operations),
            "NotDataActions": [],
        }


def sas_letters(role: str, *, locks: bool) -> str:
    """Return the permissions of a role's SAS token. ``locks``: blobs get an immutability policy."""
    actions = needs.ON_TARGETS.get(role, frozenset())
    letters = {letter for action, each in LETTERS.items() if action in actions for letter in each}
    return _in_order(letters | {"i"} if locks and "w" in letters else letters)


def _in_order(letters: set[str]) -> str:
    return "".join(letter for letter in _ORDER if letter in letters)


def azure_grants(settings: Settings, roles: Iterable[str]) -> dict[str, dict[str, AzureGrant]]:
    """Return what each role needs, by the role's name and the target's, or the stage's: ``stage-NAME``.

    Raises:
        ConfigError: a name is none that Azure gives.
    """
    found = {role: dict(_grants(settings, role)) for role in roles}
    return {role: grants for role, grants in found.items() if grants}


def _grants(settings: Settings, role: str) -> Iterator[tuple[str, AzureGrant]]:
    for name, target in settings.targets.items():
        if isinstance(target, AzureTargetSettings):
            grant = _grant(name, target, sas_letters(role, locks=target.lock != "none"))
            if grant.letters:
                yield name, grant
    # A container knows no prefixes, so a role has what it does anywhere on the stage.
    letters = _in_order({letter for verb in verbs_on_stage(role) for letter in _VERBS[verb]})
    for name, stage in settings.stages.items():
        if isinstance(stage, AzureTargetSettings):
            grant = _grant(name, stage, letters, section="stages")
            if letters:
                yield f"stage-{name}", grant


_VERBS: Final = {"put": "cw", "get": "r", "delete": "d", "list": "l"}


def _grant(name: str, target: AzureTargetSettings, letters: str, *, section: str = "targets") -> AzureGrant:
    account = (urlsplit(target.account_url).hostname or "").partition(".")[0]
    if not _CONTAINER.fullmatch(target.container):
        raise ConfigError(
            f"{section}.{name}.container is no name that Azure gives a container",
            hint="A container's name has small letters, digits and dashes.",
        )
    return AzureGrant(account=account, container=target.container, letters=letters)


def azure_lines(found: dict[str, dict[str, AzureGrant]], prefix: str) -> Iterator[str]:
    """Yield what a shell runs. Tokens are written into files of their own, and shown nowhere."""
    for role, grants in found.items():
        for target, grant in grants.items():
            account, name = quote(grant.account), f"{prefix}{role}-{target}"
            document = json.dumps(grant.definition(name), separators=(",", ":"))
            yield f"scope=$(az storage account show --name {account} --query id --output tsv)"
            inside = quote(f'{document[:-1]},"AssignableScopes":["')
            yield f'az role definition create --role-definition {inside}"$scope"{quote(chr(34) + "]}")}'
            yield (
                f"(umask 077; az storage container generate-sas --account-name {account} "
                f"--name {quote(grant.container)} --permissions {grant.letters} "
                "--expiry \"$(date -u -d '+6 days' +%Y-%m-%dT%H:%MZ)\" --https-only --as-user "
                f"--auth-mode login --output tsv >{quote(name)}.sas)"
            )


def container_lines(target: AzureTargetSettings) -> Iterator[str]:
    """Yield what a shell runs to set an account and its container up. ``$GROUP``, ``$LOCATION``: yours."""
    grant = _grant(target.container, target, "")
    account = quote(grant.account)
    within = f'--account-name {account} --resource-group "$GROUP"'
    yield (
        f'az storage account create --name {account} --resource-group "$GROUP" --location "$LOCATION" '
        "--sku Standard_ZRS --https-only true --min-tls-version TLS1_2 --allow-blob-public-access false"
    )
    yield (
        f"az storage account blob-service-properties update {within} --enable-versioning true "
        "--enable-delete-retention true --delete-retention-days 30"
    )
    yield (
        f'az storage container-rm create --storage-account {account} --resource-group "$GROUP" '
        f"--name {quote(grant.container)} --enable-vlw"
    )
    policy = quote(json.dumps(LIFECYCLE, separators=(",", ":")))
    yield f"az storage account management-policy create {within} --policy {policy}"


LIFECYCLE: Final = {
    "rules": [
        {
            "enabled": True,
            "name": "hidden-versions",
            "type": "Lifecycle",
            "definition": {
                "filters": {"blobTypes": ["blockBlob"]},
                "actions": {"version": {"delete": {"daysAfterCreationGreaterThan": 30}}},
            },
        }
    ]
}
"""Versions that were covered or deleted go 30 days later; a lock keeps them longer."""
