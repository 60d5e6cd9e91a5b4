"""Vault servers: how to log in, who names them, and what must not rest on one of them alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from strongroom.config.checks.context import Context, Misfit
from strongroom.config.failure_domains import home_of, is_lost_with
from strongroom.config.keys import AllOfKey
from strongroom.config.model import Settings
from strongroom.config.policies import PolicySettings
from strongroom.config.unlock_paths import server_of, unlock_paths_of
from strongroom.config.vaults import VaultSettings
from strongroom.key_redundancy import outlive
from strongroom.words import plural

_LOGIN_NEEDS = {
    "token": ("token_file",),
    "approle": ("role_id", "secret_id_file"),
    "kubernetes": ("role", "jwt_file"),
}


def check(context: Context) -> Iterator[Misfit]:
    """Yield what does not fit about servers and what names them."""
    for name, vault in context.settings.vaults.items():
        yield from _login(context, name, vault)
    yield from _named(context)
    yield from _unfit(context)
    yield from _legs(context)
    for name, policy in context.settings.policies.items():
        yield from _shared_fate(context, name, policy)


def _login(context: Context, name: str, vault: VaultSettings) -> Iterator[Misfit]:
    wanted = _LOGIN_NEEDS[vault.login]
    for key in wanted:
        if getattr(vault, key) is None and not context.is_bad("vaults", name, key):
            yield Misfit(("vaults", name, key), f"missing, and login is {vault.login!r}", f"Give {key}.")
    for key in (key for keys in _LOGIN_NEEDS.values() for key in keys):
        if key not in wanted and getattr(vault, key) is not None:
            what = f"has no effect, for login is {vault.login!r}"
            yield Misfit(("vaults", name, key), what, "Leave it out, or change login.")


def _named(context: Context) -> Iterator[Misfit]:
    for section in ("sources", "targets", "keys", "rotators"):
        for name, entry in getattr(context.settings, section).items():
            if entry.on_vault is not None and not context.is_bad(section, name, "vault"):
                yield from context.reference((section, name, "vault"), entry.on_vault, "vaults")


def _unfit(context: Context) -> Iterator[Misfit]:
    """Yield what a kind says of its own keys."""
    for section in ("sources", "targets", "keys"):
        for name, entry in getattr(context.settings, section).items():
            for key, what, right in entry.unfit():
                yield Misfit((section, name, key), what, right)


def _legs(context: Context) -> Iterator[Misfit]:
    keys = context.settings.keys
    for name, key in keys.items():
        if not isinstance(key, AllOfKey) or context.is_bad("keys", name):
            continue
        for number, leg in enumerate(key.legs):
            at = ("keys", name, "legs", number)
            if not leg:
                yield Misfit(at, "an empty leg", "Name at least one key in it.")
            for index, other in enumerate(leg):
                yield from context.reference((*at, index), other, "keys")
                if isinstance(keys.get(other), AllOfKey):
                    yield Misfit((*at, index), f"'{other}' is itself all-of", "Name its keys here.")


SHUT_IN = (
    "only the Vault that is backed up could open the backup: if it is lost, so is the backup",
    "Add a recipient that does not need this Vault.",
)


def needs_its_source(settings: Settings, source: str, keys: Sequence[str]) -> bool:
    """Say whether a backup of a Vault would open for these keys only while that Vault is there."""
    found = settings.sources.get(source)
    ways = unlock_paths_of(settings, keys)
    if found is None or found.on_vault is None or not ways:
        return False
    return not outlive(ways, server_of(settings, found.on_vault))


def _shared_fate(context: Context, name: str, policy: PolicySettings) -> Iterator[Misfit]:
    """A Vault that is lost takes its transit keys and the backups in it along."""
    settings = context.settings
    home = home_of(settings, policy.source)
    if home is None or context.is_bad("policies", name):
        return
    if needs_its_source(settings, policy.source, policy.recipients):
        yield Misfit(("policies", name, "recipients"), *SHUT_IN)
    apart = [target for target in policy.targets if not is_lost_with(settings, target, home)]
    if len(apart) < policy.quorum and all(target in settings.targets for target in policy.targets):
        yield Misfit(
            ("policies", name, "quorum"),
            f"asks for {plural(policy.quorum, 'target')}, and those in the Vault it backs up do not count",
            f"At most {len(apart)}, or more targets elsewhere." if apart else "Add targets elsewhere.",
        )
