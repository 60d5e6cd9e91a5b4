"""What every recipient and its identity must do. One suite, any pair, unchanged.

A test module subclasses :class:`RecipientConformance` and overrides the fixtures at its top.
"""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Iterator

import msgspec
import pytest

from strongroom.container import canonical
from strongroom.container.errors import Malformed, WrongKey
from strongroom.container.wrapping import Stanza, WrappingKey, unlock
from strongroom.errors import StrongroomError, UsageError
from strongroom.keys import Identity, Opener, Recipient

KEY = bytes(range(32))
CONTEXT = b"strongroom/v1/test/" + bytes(16)
_SPELLING = re.compile(r"([0-9a-f]{2})+")


def with_arg(stanza: Stanza, name: str, value: str | int) -> Stanza:
    """Return the stanza with one argument changed or added."""
    return msgspec.structs.replace(stanza, args=stanza.args | {name: value})


def outcome(identity: Identity, stanza: Stanza) -> bytes | type[StrongroomError] | None:
    """Return what unwrapping gives: a key, nothing, or the class of the failure."""
    try:
        return identity.unwrap(stanza, context=CONTEXT)
    except StrongroomError as error:
        return type(error)


def hex_args(stanza: Stanza) -> Iterator[tuple[str, bytes]]:
    for name, value in stanza.args.items():
        if isinstance(value, str):
            yield name, bytes.fromhex(value)


def shown(thing: object) -> str:
    """Return everything that a log line, a debugger or an error report would show of an object."""
    slots = {name for each in type(thing).__mro__ for name in getattr(each, "__slots__", ())}
    return " ".join([repr(thing), str(thing), *(repr(getattr(thing, name, "")) for name in slots)])


class RecipientConformance:
    """The contract of :class:`strongroom.keys.Recipient` and :class:`strongroom.keys.Identity`."""

    post_quantum: bool
    words: str
    """What ``describe`` of the recipient labelled ``recovery`` says."""
    opaque: frozenset[str] = frozenset()
    """Arguments whose length is a service's business: another length opens nothing, as it may."""
    refusals: tuple[type[StrongroomError], ...] = ()
    """What a service may say of an opaque argument that was changed."""

    @pytest.fixture
    def recipient(self) -> Recipient:
        """Give a recipient with the label ``recovery``."""
        raise NotImplementedError

    @pytest.fixture
    def same(self) -> Recipient:
        """Give another object of the same key and label."""
        raise NotImplementedError

    @pytest.fixture
    def identity(self) -> Opener:
        """Give what opens."""
        raise NotImplementedError

    @pytest.fixture
    def stranger(self) -> Opener:
        """Give an identity of the same type that holds another key."""
        raise NotImplementedError

    @pytest.fixture
    def secrets(self) -> list[bytes]:
        """Give the bytes that must not show."""
        raise NotImplementedError

    @pytest.fixture
    def stanza(self, recipient: Recipient) -> Stanza:
        return recipient.wrap(KEY, context=CONTEXT)

    # -- wrapping and unwrapping ---------------------------------------------

    def test_what_was_wrapped_unwraps(self, stanza: Stanza, identity: Identity) -> None:
        assert identity.unwrap(stanza, context=CONTEXT) == KEY

    def test_the_sealing_side_of_an_identity_seals_for_it(self, identity: Opener, stranger: Opener) -> None:
        stanza = identity.recipient().wrap(KEY, context=CONTEXT)

        assert identity.unwrap(stanza, context=CONTEXT) == KEY
        assert stranger.unwrap(stanza, context=CONTEXT) is None

    def test_two_wraps_of_one_key_have_no_ciphertext_in_common(
        self, recipient: Recipient, stanza: Stanza
    ) -> None:
        again = recipient.wrap(KEY, context=CONTEXT)

        last = {"wrapped", "sealed", "blob"} & stanza.args.keys()
        assert last
        assert all(again.args[name] != stanza.args[name] for name in last)

    @pytest.mark.parametrize("context", [b"", CONTEXT[:-1], CONTEXT + b"\0", b"x" + CONTEXT])
    def test_another_context_opens_nothing(self, stanza: Stanza, identity: Identity, context: bytes) -> None:
        assert identity.unwrap(stanza, context=context) is None

    def test_another_key_opens_nothing(self, stanza: Stanza, stranger: Identity) -> None:
        assert stranger.unwrap(stanza, context=CONTEXT) is None

    def test_a_stanza_of_another_type_is_passed_over_unread(self, stanza: Stanza, identity: Identity) -> None:
        other = Stanza(type="from-the-future", label="", args={"anything": "zz"})
        renamed = msgspec.structs.replace(stanza, type="from-the-future")

        assert identity.unwrap(other, context=CONTEXT) is None
        assert identity.unwrap(renamed, context=CONTEXT) is None

    @pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
    def test_only_a_key_of_32_bytes_is_wrapped(self, recipient: Recipient, size: int) -> None:
        with pytest.raises(UsageError, match="32 bytes"):
            recipient.wrap(bytes(size), context=CONTEXT)

    # -- damage --------------------------------------------------------------

    def test_every_flipped_byte_of_every_argument_opens_nothing(
        self, stanza: Stanza, identity: Identity
    ) -> None:
        for name, value in hex_args(stanza):
            for position in range(len(value)):
                flipped = bytearray(value)
                flipped[position] ^= 1 << position % 8
                found = outcome(identity, with_arg(stanza, name, flipped.hex()))
                refused = name in self.opaque and found in self.refusals
                assert found in (None, Malformed) or refused, (name, position)

    def test_every_changed_number_opens_nothing(self, stanza: Stanza, identity: Identity) -> None:
        for name, value in stanza.args.items():
            if isinstance(value, int):
                for changed in (value + 1, value - 1, 0, -value, 1 << 63, 1 << 70):
                    found = outcome(identity, with_arg(stanza, name, changed))
                    assert found in (None, Malformed), (name, changed)

    def test_every_argument_has_one_length_and_one_spelling(self, stanza: Stanza, identity: Identity) -> None:
        for name, value in hex_args(stanza):
            text = value.hex()
            letter = re.search("[a-f]", text)
            assert letter is not None
            upper = text[: letter.start()] + letter[0].upper() + text[letter.end() :]
            spaced = text[:2] + " " + text[3:]
            others = (text[:-2], text + "00")
            for wrong in ("", text[:-1], upper, spaced, "é" + text[1:], 7, *others):
                found = outcome(identity, with_arg(stanza, name, wrong))
                length = name in self.opaque and wrong in others
                assert found is Malformed or (length and found is None), (name, wrong)

    def test_a_number_given_as_anything_else_is_malformed(self, stanza: Stanza, identity: Identity) -> None:
        for name, value in stanza.args.items():
            if isinstance(value, int):
                for wrong in (str(value), f"{value:x}", "", True):
                    assert outcome(identity, with_arg(stanza, name, wrong)) is Malformed, (name, wrong)

    def test_an_argument_too_few_is_malformed(self, stanza: Stanza, identity: Identity) -> None:
        for name in stanza.args:
            fewer = {other: value for other, value in stanza.args.items() if other != name}
            assert outcome(identity, msgspec.structs.replace(stanza, args=fewer)) is Malformed, name

    def test_an_argument_too_many_is_malformed(self, stanza: Stanza, identity: Identity) -> None:
        assert outcome(identity, with_arg(stanza, "more", "00")) is Malformed
        assert outcome(identity, with_arg(stanza, "nonce", 0)) is Malformed

    def test_arguments_of_two_wraps_do_not_mix(
        self, recipient: Recipient, stanza: Stanza, identity: Identity
    ) -> None:
        other = recipient.wrap(bytes(32), context=CONTEXT + b"other")
        for name, value in other.args.items():
            if value != stanza.args[name]:
                assert outcome(identity, with_arg(stanza, name, value)) is None, name

    # -- what others see -----------------------------------------------------

    def test_a_stanza_is_hex_and_numbers_and_encodes_one_way(
        self, recipient: Recipient, stanza: Stanza
    ) -> None:
        encoded = canonical.encode(stanza)

        assert canonical.decode(encoded, Stanza, "A stanza") == stanza
        assert (stanza.kind, stanza.label) == (recipient.type, "recovery")
        assert all(type(value) is int or _SPELLING.fullmatch(str(value)) for value in stanza.args.values())

    def test_the_fingerprint_is_that_of_the_key_and_label_and_stays(
        self, recipient: Recipient, same: Recipient, stranger: Opener
    ) -> None:
        before = recipient.fingerprint
        recipient.wrap(KEY, context=CONTEXT)

        assert recipient.fingerprint == before == same.fingerprint
        assert recipient.fingerprint != stranger.recipient().fingerprint
        assert recipient.fingerprint.startswith(f"{recipient.type}:")

    def test_it_says_in_words_who_can_open(self, recipient: Recipient, identity: Identity) -> None:
        assert recipient.describe() == self.words
        assert identity.describe() in repr(identity)

    def test_it_says_whether_it_withstands_a_quantum_computer(self, recipient: Recipient) -> None:
        assert recipient.post_quantum is self.post_quantum

    def test_a_key_shows_nowhere(
        self, recipient: Recipient, identity: Opener, stanza: Stanza, secrets: list[bytes]
    ) -> None:
        identity.unwrap(stanza, context=CONTEXT)

        seen = shown(recipient) + shown(identity) + repr(stanza) + recipient.fingerprint
        for secret in [*secrets, KEY]:
            for form in (secret.hex(), repr(secret)[2:-1], str(list(secret))):
                assert form not in seen
        assert not hasattr(recipient, "__dict__")
        assert not hasattr(identity, "__dict__")

    def test_what_holds_a_key_is_neither_pickled_nor_copied(
        self, recipient: Recipient, identity: Identity
    ) -> None:
        for thing in (recipient, identity):
            for carried in (pickle.dumps, copy.copy, copy.deepcopy):
                with pytest.raises(TypeError, match="must not be pickled"):
                    carried(thing)

    # -- in its place --------------------------------------------------------

    def test_a_wrapping_key_opens_for_it_and_for_nobody_else(
        self, recipient: Recipient, identity: Identity, stranger: Identity
    ) -> None:
        made = WrappingKey.create([recipient])
        wrap = made.wrap_file_key(KEY, bytes(32))

        assert unlock(made.record, [stranger, identity]).unwrap_file_key(wrap, bytes(32)) == KEY
        with pytest.raises(WrongKey) as caught:
            unlock(made.record, [stranger])
        assert stranger.describe() in caught.value.message
        assert "recovery" in caught.value.message
