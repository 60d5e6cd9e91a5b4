"""Keys' files that a passphrase seals: what they open, for whom, and what is said where they do not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from strongroom.container.wrapping import Identity, WrappingKey, unlock
from strongroom.errors import StrongroomError
from strongroom.keys import Opener, Recipient, passphrase
from strongroom.keys.errors import PassphraseNeeded, WrongPassphrase
from strongroom.keys.hpke import HpkeIdentity, Kem
from strongroom.keys.identityfile import load_identity
from strongroom.keys.keyfile import KeyFileRecipient, generate_key_file
from strongroom.keys.passphrase import SealedIdentity
from strongroom.plugins.conformance.recipients import CONTEXT, KEY
from strongroom.system import files
from strongroom.system.errors import KeyFileExposed, KeyFileUnreadable

WORDS = "CANARY-passphrase é"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passphrase, "DEFAULT_LOG_N", 15)


class Person:
    """Types these passphrases, one each time that is asked; notes for which file."""

    def __init__(self, *words: str) -> None:
        self._words = words
        self.asked: list[Path] = []

    def __call__(self, path: Path) -> Iterator[str]:
        for words in self._words:
            self.asked.append(path)
            yield words


def key_file(path: Path) -> Recipient:
    generate_key_file(path, passphrase=WORDS)
    return KeyFileRecipient.load(path)


def private_key(path: Path, kem: Kem = Kem.XWING) -> Recipient:
    identity = HpkeIdentity.generate(kem=kem)
    identity.save(path, passphrase=WORDS)
    return identity.recipient()


Make = Callable[[Path], Recipient]
KINDS: list[Make] = [key_file, private_key, lambda path: private_key(path, Kem.X25519)]


@pytest.fixture(params=KINDS, ids=["key file", "hybrid", "x25519"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Recipient]:
    path = tmp_path / "some.key"
    return path, request.param(path)


def test_the_right_passphrase_opens_what_was_sealed_to_the_key(tmp_path: Path) -> None:
    for number, make in enumerate(KINDS[1:]):
        path = tmp_path / f"{number}.key"
        stanza = make(path).wrap(KEY, context=CONTEXT)
        assert load_identity(path, Person(WORDS)).unwrap(stanza, context=CONTEXT) == KEY


def test_a_key_file_seals_and_opens_with_its_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "some.key"
    key_file(path)
    person = Person(WORDS)
    recipient = KeyFileRecipient.load(path, label="safe", passphrases=person)
    assert person.asked == []  # its name is known without

    stanzas = [recipient.wrap(KEY, context=CONTEXT) for _ in range(2)]
    opener = load_identity(path, Person("CANARY-no", WORDS))

    assert [opener.unwrap(each, context=CONTEXT) for each in stanzas] == [KEY] * 2
    assert person.asked == [path]
    assert opener.recipient().fingerprint == recipient.fingerprint


def test_nobody_is_asked_before_something_is_there_that_the_key_opens(made: tuple[Path, Recipient]) -> None:
    path, _ = made
    person = Person(WORDS)
    opener = load_identity(path, person)
    foreign = HpkeIdentity.generate().recipient().wrap(KEY, context=CONTEXT)

    assert isinstance(opener, SealedIdentity)
    assert opener.unwrap(foreign, context=CONTEXT) is None
    assert (person.asked, opener.answered) == ([], False)


def test_it_is_one_line_closed_to_others_that_shows_nothing_of_the_key(tmp_path: Path) -> None:
    path = tmp_path / "some.key"
    identity = HpkeIdentity.generate()
    identity.save(path, passphrase=WORDS)
    [line] = path.read_text().splitlines()

    assert line.startswith("strongroom-sealed-private-key-1 mlkem768-x25519 ")
    assert path.stat().st_mode & 0o777 == 0o600
    assert identity._seed.reveal().hex() not in line
    assert files.begins_a_key(line.encode())
    assert files.is_sealed(path)
    assert not files.is_sealed(tmp_path / "not there")


def test_a_wrong_passphrase_is_named_as_such_and_asked_for_once(tmp_path: Path) -> None:
    path = tmp_path / "some.key"
    stanza = private_key(path).wrap(KEY, context=CONTEXT)
    person = Person("CANARY-wrong", "CANARY-wrong too")
    opener = load_identity(path, person)

    for _ in range(2):
        with pytest.raises(WrongPassphrase) as caught:
            opener.unwrap(stanza, context=CONTEXT)
        assert "CANARY" not in str(caught.value) + caught.value.hint
        assert (str(path) in caught.value.message, caught.value.exit_code) == (True, 10)
    assert person.asked == [path] * 2


def test_threads_that_need_the_key_at_once_ask_once(tmp_path: Path) -> None:
    path = tmp_path / "some.key"
    recipient = private_key(path)
    stanzas = [recipient.wrap(KEY, context=CONTEXT) for _ in range(4)]
    person = Person(WORDS)
    opener = load_identity(path, person)

    with ThreadPoolExecutor(4) as threads:
        opened = list(threads.map(lambda stanza: opener.unwrap(stanza, context=CONTEXT), stanzas))

    assert (opened, person.asked) == ([KEY] * 4, [path])


def test_where_nobody_is_there_it_is_said_what_to_give(tmp_path: Path) -> None:
    path = tmp_path / "some.key"
    stanza = private_key(path).wrap(KEY, context=CONTEXT)

    with pytest.raises(PassphraseNeeded, match="sealed by a passphrase") as caught:
        load_identity(path).unwrap(stanza, context=CONTEXT)

    assert "STRONGROOM_PASSPHRASE_FILE" in caught.value.hint


def test_a_sealed_key_that_does_not_open_hides_no_other_that_does(tmp_path: Path) -> None:
    sealed, plain = tmp_path / "sealed.key", HpkeIdentity.generate()
    record = WrappingKey.create([private_key(sealed), plain.recipient()]).record
    several: list[Identity] = [load_identity(sealed), plain]

    assert unlock(record, several).id == record.id
    with pytest.raises(PassphraseNeeded):
        unlock(record, several[:1])


def test_a_key_is_never_overwritten(made: tuple[Path, Recipient]) -> None:
    path, _ = made
    before = path.read_bytes()

    for write in (
        lambda: generate_key_file(path, passphrase=WORDS),
        lambda: HpkeIdentity.generate().save(path, passphrase=WORDS),
    ):
        with pytest.raises(StrongroomError, match="never overwritten"):
            write()
    assert path.read_bytes() == before


def test_what_is_damaged_cut_or_open_to_others_is_refused_for_what_it_is(
    made: tuple[Path, Recipient],
) -> None:
    path, _ = made
    kind, name, content, check = path.read_text().split()
    for text in (f"{kind} {name} {content[:-2]} {check}", f"{kind} {name} {content}"):
        path.write_text(text)
        with pytest.raises(KeyFileUnreadable):
            load_identity(path)
    short = files.line(kind, name, bytes.fromhex(content)[:-1])
    odd = files.line(kind, name, b"\x15" + bytes.fromhex(content)[1:])
    other = files.line(kind, "unknown", bytes.fromhex(content))
    for text in (short, odd, other):
        path.write_text(text)
        with pytest.raises(StrongroomError, match="unknown kind"):
            load_identity(path)
    path.chmod(0o644)
    with pytest.raises(KeyFileExposed):
        load_identity(path)


def test_another_name_or_kind_in_its_line_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "some.key"
    stanza = private_key(path).wrap(KEY, context=CONTEXT)
    kind, _, content, _ = path.read_text().split()
    path.write_text(files.line(kind, "x25519", bytes.fromhex(content)))

    with pytest.raises(WrongPassphrase):
        load_identity(path, Person(WORDS)).unwrap(stanza, context=CONTEXT)


def test_neither_repr_nor_an_error_shows_a_key_or_a_passphrase(made: tuple[Path, Recipient]) -> None:
    path, _ = made
    opener: Opener = load_identity(path, given)
    opener.recipient()

    assert "CANARY" not in repr(opener)
    with pytest.raises(TypeError):
        opener.__reduce__()


def given(path: Path) -> Iterable[str]:
    assert path.name == "some.key"
    return (WORDS,)
