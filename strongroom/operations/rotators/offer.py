"""A new value that its source has and whatever checks it may not know yet: it is accepted, or withdrawn."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from strongroom.model import Secret, SecretBytes, SecretVersion
from strongroom.operations.rotators.place import SecretPlace
from strongroom.operations.rotators.values import value_in, with_value
from strongroom.sources import Destination
from strongroom.state.records import SecretRotation


class Withdrawn(NamedTuple):
    """What is current after a value was refused, and what a person can do."""

    happened: str
    to_do: str


class Offer(Protocol):
    """A new value at its source."""

    @property
    def value(self) -> SecretBytes: ...

    @property
    def replaced_for_good(self) -> bool:
        """Whether the source keeps no former version."""
        ...

    def accept(self) -> Secret:
        """Let the value be what everybody reads; return the secret."""
        ...

    def withdraw(self) -> Withdrawn:
        """Let the former value be what everybody reads."""
        ...


def make_offer(
    place: SecretPlace, there: Secret, value: SecretBytes, begun: SecretRotation, *, checked: bool
) -> Offer:
    """Bring a value to the source: beside the current one, if something checks it and the source can do that.

    Raises:
        Conflict: somebody else wrote to the secret, or rotates it.
    """
    if checked and place.destination.stage(there, with_value(there, value, place.field)):
        return _Beside(place, place.look(), place.destination)
    return _Current(place, place.write(there, value), there.current, begun.was)


def find_offer(place: SecretPlace, there: Secret, begun: SecretRotation) -> Offer | None:
    """Return the offer that a process made, by the digests of its record, before it died."""
    if place.digest(place.value_of(there)) == begun.becomes:
        return _Current(place, there, None, begun.was)
    beside = place.destination.staged(there)
    if beside is not None and place.is_value(there, beside, begun.becomes):
        return _Beside(place, there, place.destination)
    return None


class _Current(NamedTuple):
    """The value is current already: such a source has no place beside it."""

    place: SecretPlace
    there: Secret
    former: SecretVersion | None
    was: str

    @property
    def value(self) -> SecretBytes:
        return self.place.value_of(self.there)

    @property
    def replaced_for_good(self) -> bool:
        return self.former is not None and self.former.number == self.there.current.number

    def accept(self) -> Secret:
        return self.there

    def withdraw(self) -> Withdrawn:
        former = self.place.put_back(self.there, self.was, known=self.former)
        if former is None:
            return Withdrawn(
                "The source kept no former value, so the new one stays current",
                "Perhaps nothing knows the new value yet. Set it where it is checked, or bring the former "
                "one back from a backup: 'strongroom restore'.",
            )
        return Withdrawn(
            f"The former value is current again, as version {former.current.number}",
            f"Version {self.there.current.number} at the source has the value that was refused, in case that "
            "it was taken all the same. Remove the cause, then rotate this secret again.",
        )


class _Beside(NamedTuple):
    """The value lies beside the current one, and nobody reads it by itself."""

    place: SecretPlace
    there: Secret
    destination: Destination

    @property
    def value(self) -> SecretBytes:
        beside = self.destination.staged(self.there)
        assert beside is not None
        return value_in(self.there, beside, self.place.field)

    @property
    def replaced_for_good(self) -> bool:
        return False

    def accept(self) -> Secret:
        offered = self.value
        self.destination.promote(self.there)
        return self.place.look_for(offered)

    def withdraw(self) -> Withdrawn:
        self.destination.unstage(self.there)
        return Withdrawn(
            "The former value was current all the time, and still is",
            "What was refused lies at the source as a version without a label for a while, in case that it "
            "was taken all the same. Remove the cause, then rotate this secret again.",
        )
