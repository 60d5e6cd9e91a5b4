"""Replacing keys: one recipient for another, and the roles' signing keys once a year."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from msgspec import Struct

from strongroom.config import Settings
from strongroom.container.manifest import ManifestRecipient
from strongroom.errors import StrongroomError, UsageError
from strongroom.keys import Opener, Recipient, rolelist, roles
from strongroom.keys.rolelist import RoleKey
from strongroom.model import ApprovalAction
from strongroom.operations.engine.integrity import pin_recipient
from strongroom.operations.engine.services import CheckResult, Pinned, Services

# -- Swapping one recipient for another, all others staying -------------------------------------


class Swap(msgspec.Struct, frozen=True, kw_only=True):
    """The key to rotate away, and the one that takes its place. ``others`` are known besides."""

    current: Opener
    new: Recipient
    opener: Opener | None = None
    others: tuple[Recipient, ...] = ()

    @property
    def openers(self) -> tuple[Opener, ...]:
        """Who opens what there is, and, if at hand, what will be."""
        return (self.current,) if self.opener is None else (self.current, self.opener)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the key that is rotated away."""
        return self.current.recipient().fingerprint

    def concerns(self, fingerprints: Iterable[str]) -> bool:
        """Tell whether a backup with these recipients is sealed for either of the two keys."""
        return not {self.fingerprint, self.new.fingerprint}.isdisjoint(fingerprints)

    def over(self, recipients: Sequence[Recipient]) -> tuple[Recipient, ...]:
        """Return these recipients with the new key where the current one was."""
        return tuple(
            self.new if recipient.fingerprint == self.fingerprint else recipient for recipient in recipients
        )

    def applied(self, recipients: Sequence[ManifestRecipient]) -> tuple[Recipient, ...]:
        """Return whom a backup is to open for.

        Raises:
            UsageError: it also opens for somebody of whom nothing is known here but the name, and
                who must not lose it by the way.
        """
        known = {recipient.fingerprint: recipient for recipient in (*self.others, self.new)} | {
            self.fingerprint: self.new
        }
        lost = [recipient.describes for recipient in recipients if recipient.fingerprint not in known]
        if lost:
            raise UsageError(
                f"The backup also opens for {', '.join(lost)}, whose key is not configured here.",
                hint="Nothing was changed. Name that key with --recipient, or give the passphrase with "
                "--passphrase-file, so that it is kept.",
            )
        return tuple(dict.fromkeys(known[recipient.fingerprint] for recipient in recipients))


def swapped(services: Services, swap: Swap) -> Services:
    """Return services whose policies have the new key where they had the current one."""

    def pinned(policy: str) -> Pinned:
        found = services.pinned(policy)
        recipients = swap.over(found.recipients)
        pins = tuple(
            pin_recipient(pin.name, recipient) if pin.fingerprint == swap.fingerprint else pin
            for pin, recipient in zip(found.spec.recipients, recipients, strict=True)
        )
        return Pinned(
            spec=msgspec.structs.replace(found.spec, recipients=pins),
            recipients=recipients,
            index_recipients=swap.over(found.index_recipients),
        )

    identities = services.identities
    return replace(services, pinned=pinned, identities=lambda: (*swap.openers, *identities()))


# -- The yearly rotation of the roles' signing keys, which the calendar asks for ----------------
#
# Where the installation key and a role's private key are both on this host, the next key is announced a month
# before it signs, so that other hosts can have the list by then; what the old one signs counts for a grace
# after that. Elsewhere a person has to do it, and the calendar says so each day.


YEAR: Final = timedelta(days=365)
NOTICE: Final = timedelta(days=30)
"""How long before its time a next key is announced, and how long it waits at least before it signs."""


class _Due(Struct, frozen=True):
    """A role whose key is nearly a year old; its next key, if that is announced."""

    role: str
    key: RoleKey
    next: RoleKey | None

    @property
    def by(self) -> datetime:
        """When its next key is to sign."""
        year = datetime.fromisoformat(self.key.since) + YEAR
        return year if self.next is None else max(year, datetime.fromisoformat(self.next.since) + NOTICE)


def renew(services: Services, settings: Settings, *, now: datetime | None = None) -> CheckResult:
    """Do what is due for the signing keys, as far as this host can; say what a person has to do."""
    moment, folder = now or datetime.now(UTC), settings.state_dir / "keys" / "roles"
    listed = rolelist.read(folder)
    here = rolelist.this_host(folder)
    found = [
        _due(role, listed.on(host, role), moment)
        for role, keys in sorted(listed.roles.items())
        for host in sorted({key.host for key in keys})
    ]
    due = [key for key in found if key is not None]
    if not roles.can_certify(folder) or _people_approve(settings):
        return _left_to_people(due)
    done, left = list[_Due](), list[_Due]()
    for due_key in due:
        if due_key.key.host != here:
            left.append(due_key)
            continue
        try:
            done += [due_key] * _advanced(services, settings, due_key, moment)
        except StrongroomError:  # its private key lies on another host, or is another user's
            left.append(due_key)
    return _told(done, _left_to_people(left), moment)


def _due(role: str, keys: tuple[RoleKey, ...], now: datetime) -> _Due | None:
    key = rolelist.current(keys)
    if key is None or not key.since or now < datetime.fromisoformat(key.since) + YEAR - NOTICE:
        return None
    announced = [role_key for role_key in keys if role_key.announced and not role_key.distrusted]
    return _Due(role, key, announced[-1] if announced else None)


def _people_approve(settings: Settings) -> bool:
    """Tell whether people have to approve it, whom no schedule may pass by."""
    return any(ApprovalAction.SIGNERS in rule.actions for rule in settings.approvals.rules.values())


def _advanced(services: Services, settings: Settings, due_key: _Due, now: datetime) -> bool:
    """Announce the next key, or have it sign if its time has come; tell whether anything was done."""
    folder = settings.state_dir / "keys" / "roles"
    if due_key.next is None:
        made, kind = roles.announce(folder, due_key.role, now=now), "signer.announced"
    elif now >= due_key.by:
        made, kind = roles.rotate(folder, due_key.role, now=now), "signer.rotated"
    else:
        return False
    services.store.event(kind, role=due_key.role, version=made.version, fingerprint=made.fingerprint)
    return True


def _told(done: list[_Due], left: CheckResult, now: datetime) -> CheckResult:
    """Say once what was done, since people have to do something after it."""
    announced = [due_key for due_key in done if due_key.next is None]
    rotated = [due_key for due_key in done if due_key.next is not None]
    bad, do = list(left.bad), [left.do] if left.do else []
    if announced:
        names, day = _names(announced), _day(now + NOTICE)
        bad.append(f"the next signing keys of {names} are announced, and sign from {day}")
        do.append(f"If roles work on other hosts, copy {roles.TRUSTED} there before that day.")
    if rotated:
        bad.append(f"{_names(rotated)} sign with new keys")
        do.append("Make a new escrow and print the recovery kit again: both still have the old keys.")
    return CheckResult(bad=tuple(bad), do=" ".join(do))


def _left_to_people(due: list[_Due]) -> CheckResult:
    if not due:
        return CheckResult()
    by = min(due_key.by for due_key in due)
    return CheckResult(
        bad=tuple(
            f"the key of role '{key.role}'{f' on {key.key.host}' if key.key.host else ''} signs since "
            f"{key.key.since[:10]}; the next is due {_day(key.by)}"
            for key in due
        ),
        do="Bring the installation key to where the roles work. There: 'strongroom keys signers rotate "
        f"{' '.join(dict.fromkeys(key.role for key in due))} --announce --installation-key FILE'. Repeat it "
        f"without --announce by {_day(by)}.",
    )


def _names(several: list[_Due]) -> str:
    return ", ".join(due_key.role for due_key in several)


def _day(moment: datetime) -> str:
    return moment.date().isoformat()
