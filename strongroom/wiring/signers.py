"""Signing keys: which a process holds, and whose signatures it believes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from strongroom.config import Settings
from strongroom.container.certificate import CertifiedSigner
from strongroom.container.signing import Signers
from strongroom.errors import ConfigError
from strongroom.keys import roles
from strongroom.keys.keyring import Keyring
from strongroom.keys.rolelist import ROLES
from strongroom.state.errors import RecordRefused

OPERATOR = "operator"


def signers(keyring: Keyring, role: str) -> Callable[[str], CertifiedSigner]:
    """Return the keys that a role may sign with: its own, or a person's own command line's all."""

    def signer(wanted: str) -> CertifiedSigner:
        if role not in (wanted, OPERATOR):
            raise ConfigError(f"a process of role '{role}' may not sign as '{wanted}'")
        return keyring.signer(wanted)

    if role == OPERATOR:
        for needed in (*roles.MANIFEST_SIGNERS, "seal"):
            signer(needed)
    return signer


def trusted(keyring: Keyring, role: str) -> tuple[bytes, ...]:
    """Return a role's public keys whose new signatures count. Raises RecordRefused if there is none."""
    if not (known := keyring.accepted(role)):
        raise RecordRefused(f"no key of role '{role}' is trusted here")
    return known


def remarks_on_signers(settings: Settings) -> Iterator[str]:
    """Yield a remark on each signing key here that is not to be used, and on an installation key here."""
    folder = settings.state_dir / ROLES
    yield from (f"{refusal.message}. {refusal.hint}" for refusal in roles.refused(folder))
    path = folder / roles.INSTALLATION
    if path.exists():
        yield (
            f"'{path}' is the private installation key. Anyone who reads it passes for this installation, "
            "and that cannot be revoked at those who pinned it. Nothing needs it but new certificates: take "
            "it off with 'strongroom keys signers offline', onto paper or a medium."
        )


def fingerprints(settings: Settings, folder: Path) -> Signers:
    """Return the fingerprints of the installations whose backups are believed here."""
    return roles.believed(folder, settings.trust.signers)
