"""Swapping one recipient for another, all others staying."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import msgspec

from strongroom.container.manifest import ManifestRecipient
from strongroom.errors import UsageError
from strongroom.keys import Opener, Recipient
from strongroom.operations.run_integrity import pin_recipient
from strongroom.operations.services import Pinned, Services


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
