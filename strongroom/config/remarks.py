"""What is right in a configuration, and will not do on this host alone.

A host that only seals is how it should be, and its configuration says what is done elsewhere, too: so these
are no problems, which would keep every command from running.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from strongroom.config.keys import AllOfKey, HpkeKey, KeySettings, Pkcs11Key, QuorumKey
from strongroom.config.model import Settings
from strongroom.model import Depth

_OPENING = (Depth.OPENED, Depth.COMPARED, Depth.LIVE)


def remarks(settings: Settings) -> Iterator[str]:
    """Yield what needs a key that opens backups and has none here, and rules of one person alone."""
    for name, rule in settings.approvals.rules.items():
        if rule.k == 1:
            yield (
                f"approvals.rules.{name}.k = 1: an attacker with the account of one of its people can ask "
                "under another name and approve that alone."
            )
    for name, policy in settings.policies.items():
        if policy.sealed and policy.verify in _OPENING and not opens(settings, policy.recipients):
            yield (
                f"policies.{name}.verify = {policy.verify}, and this host opens none of its keys. A backup "
                f"made here is whole and degraded, as not verified. {_needed(settings, policy.recipients)}"
            )


def opens(settings: Settings, names: Sequence[str]) -> bool:
    """Tell whether this host opens what is sealed to these keys: any one is enough."""
    return any(_is_opener(settings, settings.keys[name]) for name in names if name in settings.keys)


def _is_opener(settings: Settings, key: KeySettings) -> bool:
    match key:
        case HpkeKey():
            return key.identity_file is not None
        case Pkcs11Key():
            return key.module is not None
        case QuorumKey():
            return False  # its custodians are
        case AllOfKey():
            return all(opens(settings, leg) for leg in key.legs)
    return True


def _needed(settings: Settings, names: Sequence[str]) -> str:
    pairs = [name for name in names if isinstance(settings.keys.get(name), HpkeKey)]
    setting = f"keys.{pairs[0]}.identity_file" if pairs else "its opening side"
    return f"It needs a host that has {setting}."
