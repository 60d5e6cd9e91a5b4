"""All of several keys: every leg is needed, any spare will do, and one that is away stops nobody."""

from __future__ import annotations

from itertools import product

import msgspec
import pytest

from strongroom.container.errors import Malformed, WrongKey
from strongroom.container.wrapping import Identity, Stanza, WrappingKey, unlock
from strongroom.errors import UsageError
from strongroom.keys import Opener
from strongroom.keys.allof import AllOfIdentity, AllOfRecipient, inner
from strongroom.keys.errors import KeyServiceUnavailable
from strongroom.keys.hpke import HpkeIdentity, HpkeRecipient, Kem
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.keys.quorum.ceremony import open_together
from strongroom.plugins.conformance.recipients import CONTEXT, KEY, RecipientConformance, outcome, with_arg
from tests.keys.quorum.made import made
from tests.keys.together import with_all_of

CLASSIC = HpkeIdentity(bytes(range(32)), kem=Kem.X25519)
HYBRID = HpkeIdentity(bytes(range(1, 33)))
SPARE = HpkeIdentity(bytes(range(2, 34)))
FILE = KeyFileIdentity(bytes(range(3, 35)))


class Away:
    """An identity whose key service does not answer."""

    def describe(self) -> str:
        return "the HSM that is away"

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:  # noqa: ARG002  # the Protocol's
        raise KeyServiceUnavailable("the token `backup` is not there")


class TestAllOf(RecipientConformance):
    post_quantum = True
    words = (
        "all of these together: the holder of the private key `hsm` (X25519, not post-quantum);"
        " and any 3 of 5 custodians of the quorum `board`: Ada, Björn, Chi, Dana, Eve"
    )

    @pytest.fixture
    def recipient(self) -> AllOfRecipient:
        classic = HpkeRecipient(CLASSIC.public, label="hsm")
        return AllOfRecipient([[classic], [self._quorum().recipient()]], label="recovery")

    @pytest.fixture
    def same(self, recipient: AllOfRecipient) -> AllOfRecipient:
        return AllOfRecipient(recipient.legs, label="recovery")

    @pytest.fixture
    def identity(self) -> AllOfIdentity:
        return AllOfIdentity([self._quorum(), CLASSIC])

    @pytest.fixture
    def stranger(self) -> AllOfIdentity:
        return AllOfIdentity([HYBRID, CLASSIC])

    @pytest.fixture
    def secrets(self) -> list[bytes]:
        return [bytes(range(32)), *(paper.encode() for paper in made()[1])]

    def _quorum(self) -> Opener:
        quorum, papers = made()
        return open_together(quorum, papers[:3])


def both() -> AllOfRecipient:
    """One of two, and one of two others."""
    return AllOfRecipient(
        [[CLASSIC.recipient(), SPARE.recipient()], [HYBRID.recipient(), FILE.recipient()]], label="both"
    )


@pytest.mark.parametrize(
    ("first", "second"), list(product([CLASSIC, SPARE], [HYBRID, FILE])), ids=lambda each: each.describe()
)
def test_any_spare_of_each_leg_opens(first: Identity, second: Identity) -> None:
    stanza = both().wrap(KEY, context=CONTEXT)

    assert AllOfIdentity([second, first]).unwrap(stanza, context=CONTEXT) == KEY


@pytest.mark.parametrize("some", [[CLASSIC, SPARE], [HYBRID, FILE], [CLASSIC], [FILE], []])
def test_one_leg_alone_opens_nothing_however_many_of_its_spares_are_there(some: list[Identity]) -> None:
    made_ = WrappingKey.create([both()])
    with pytest.raises(WrongKey, match="all-of \\(both\\)"):
        unlock(made_.record, with_all_of(some))


def test_a_share_does_not_open_by_itself_or_in_another_legs_place() -> None:
    recipient = AllOfRecipient([[FILE.recipient()], [FILE.recipient()]])
    stanza = recipient.wrap(KEY, context=CONTEXT)
    assert AllOfIdentity([FILE]).unwrap(stanza, context=CONTEXT) == KEY
    first, second = inner(stanza)
    assert FILE.unwrap(first[0], context=CONTEXT) is None
    legs = [b"strongroom/v1/wrap/all-of/leg/" + bytes([number, 2]) + CONTEXT for number in range(2)]
    assert FILE.unwrap(first[0], context=legs[0]) is not None
    assert FILE.unwrap(first[0], context=legs[1]) is None

    swapped = msgspec.json.encode((second, first), order="deterministic").hex()
    twice = msgspec.json.encode((first, first), order="deterministic").hex()
    for legs in (swapped, twice):
        assert outcome(AllOfIdentity([FILE]), with_arg(stanza, "legs", legs)) is None


def test_a_key_service_that_is_away_stops_no_spare_and_is_named_if_there_is_none() -> None:
    record = WrappingKey.create([both()]).record

    assert unlock(record, with_all_of([Away(), SPARE, FILE])).id == record.id
    with pytest.raises(KeyServiceUnavailable, match="is not there"):
        unlock(record, with_all_of([Away(), SPARE]))


def test_it_withstands_a_quantum_computer_if_every_spare_of_one_leg_does() -> None:
    classic, hybrid, file = CLASSIC.recipient(), HYBRID.recipient(), FILE.recipient()

    assert AllOfRecipient([[classic], [hybrid]]).post_quantum
    assert AllOfRecipient([[classic], [hybrid, file]]).post_quantum
    assert not AllOfRecipient([[classic], [hybrid, classic]]).post_quantum


def test_the_fingerprint_depends_on_every_leg_and_spare() -> None:
    legs = [[CLASSIC.recipient(), SPARE.recipient()], [HYBRID.recipient()]]
    others = [[legs[0][:1], legs[1]], [legs[1], legs[0]], [*legs, legs[1]], [legs[0][::-1], legs[1]]]

    assert len({AllOfRecipient(each).fingerprint for each in (legs, *others)}) == 5


def test_legs_and_spares_have_their_limits_and_none_is_an_all_of() -> None:
    one = FILE.recipient()
    for legs in ([], [[one]], [[one]] * 9, [[one], []], [[one], [one] * 9]):
        with pytest.raises(UsageError):
            AllOfRecipient(legs)
    with pytest.raises(UsageError, match="cannot hold another"):
        AllOfRecipient([[both()], [one]])


def test_a_stanza_with_such_legs_is_malformed() -> None:
    stanza = both().wrap(KEY, context=CONTEXT)
    legs = inner(stanza)
    nested = (legs[0], (stanza,))
    for wrong in ((), legs[:1], (*legs, ()), legs * 5, (legs[0] * 5, legs[1]), nested):
        encoded = msgspec.json.encode(wrong, order="deterministic").hex()
        assert outcome(AllOfIdentity([FILE]), with_arg(stanza, "legs", encoded)) is Malformed, wrong
