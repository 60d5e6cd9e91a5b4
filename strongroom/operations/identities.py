"""What a process opens backups with; where it has nothing, what a person has to give it."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.keys import Opener
from strongroom.operations.errors import NothingOpens
from strongroom.operations.services import Services
from strongroom.state.records import RecipientPin, RunKind, Spec

_SETTING = {
    "hpke": "keys.{name}.identity_file",
    "pkcs11-ec": "keys.{name}.module, token and pin_file",
    "quorum": "the key of the quorum '{name}', which its custodians bring together "
    "(docs/how-to/use-a-quorum.md)",
    "all-of": "a key of each of keys.{name}.legs",
}
_OTHER = "keys.{name}"
_SEALS_ONLY = "this host seals only: it is given no private key, HSM or key service that opens backups"
_ROTATE = (
    "Give the key that the backups open with now: 'strongroom keys rotate {policy} --identity FILE'. "
    "Workers need "
    "it in their configuration, for as long as this takes. Or, where the old private key is: 'strongroom "
    "keys replace --current-key OLD --new-key NEW'."
)
_OR = {
    RunKind.VERIFY: " Or compare digests, which needs no key: 'strongroom backups verify {backup} "
    "--cluster'.",
}


def openers(spec: Spec, services: Services) -> Sequence[Opener]:
    """Return what this process opens with.

    Raises:
        NothingOpens: it has nothing; the hint names what is missing of the run's own keys.
    """
    if found := services.identities():
        return found
    if spec.kind is RunKind.ROTATE:
        raise NothingOpens(_SEALS_ONLY, hint=_ROTATE.format(policy=spec.policy))
    missing = "; or ".join(map(_setting, spec.recipients)) or "a key that opens them"
    instead = _OR.get(spec.kind, "").format(backup=spec.backup)
    raise NothingOpens(
        _SEALS_ONLY,
        hint=f"Give it, for as long as this takes, {missing} in its configuration.{instead}",
    )


def _setting(pin: RecipientPin) -> str:
    return _SETTING.get(pin.type, _OTHER).format(name=pin.name)
