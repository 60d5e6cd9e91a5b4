"""A store of ``pass`` against the suite, with the real gpg and made-up keys in homes of their own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from strongroom.errors import SourceError
from strongroom.model import ListedSecret, Media, Secret
from strongroom.plugins.conformance.sources import Filled, SourceConformance
from strongroom.sources import Source, sealed_files
from strongroom.sources.errors import EmptySource
from strongroom.sources.files import open_files
from tests.sources.gpg import KEY, end_agent, gpg, gpg_home

LOCKED = "locked@example.org"
Seal = Callable[[Path, bytes], None]


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """A home of gpg with a key without a passphrase, and one that nobody can unlock here."""
    with gpg_home({KEY: "", LOCKED: "CANARY-pass"}) as made:
        yield made


def sealed(home: Path, value: bytes, *, to: str = KEY) -> bytes:
    return gpg(home, "--trust-model", "always", "--recipient", to, "--encrypt", said=value)


@pytest.fixture
def store(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GNUPGHOME", str(home))
    made = tmp_path / "store"
    made.mkdir()
    (made / ".gpg-id").write_text(f"{KEY}\n")
    return made


def put(store: Path, home: Path, name: str, value: bytes, *, to: str = KEY) -> None:
    path = store / f"{name}.gpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(sealed(home, value, to=to))


class TestPassStore(SourceConformance):
    """What a file unpacks to nobody knows before: its size is guessed, so a packed one may be larger."""

    many = 20
    largest = 300

    @pytest.fixture
    def filled(self, store: Path, home: Path) -> Filled:
        def fill(secrets: Sequence[Secret]) -> Source:
            for held in secrets:
                assert held.current.value is not None
                put(store, home, held.name, held.current.value.reveal())
            return open_files(store)

        return fill

    def kept(self, held: Secret) -> Secret:
        return Secret(name=held.name, versions=held.versions)


def read(store: Path, *names: str) -> list[Secret | None]:
    return list(open_files(store).read([ListedSecret(name, 0) for name in names]))


def test_the_value_is_the_whole_file_byte_for_byte(store: Path, home: Path) -> None:
    value = b"CANARY-password\nuser: me\nurl: https://example.org\notpauth://totp/x?secret=CANARY\n\n"
    put(store, home, "web/example.org", value)
    put(store, home, "raw", b"CANARY\x00\xff")
    text, raw = read(store, "web/example.org", "raw")
    assert text is not None
    assert text.current.value is not None
    assert text.current.value.reveal() == value
    assert text.metadata == {}
    assert raw is not None
    assert raw.current.media is Media.BINARY


def test_only_what_gpg_sealed_is_listed(store: Path, home: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(store, home, "a/b", b"CANARY")
    put(store, home, ".git/objects/x", b"CANARY")
    put(store, home, ".extensions/y", b"CANARY")
    (store / "a" / "README").write_text("CANARY")
    assert [entry.name for entry in open_files(store).list()] == ["a/b"]
    assert "1 files" in caplog.text
    assert read(store, ".git/objects/x") == [None]


def test_a_link_out_of_the_store_is_left_out(store: Path, home: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.gpg").write_bytes(sealed(home, b"CANARY"))
    (store / "link.gpg").symlink_to(tmp_path / "outside.gpg")
    put(store, home, "inside", b"CANARY")
    (store / "alias.gpg").symlink_to("inside.gpg")
    assert sorted(entry.name for entry in open_files(store).list()) == ["alias", "inside"]
    assert read(store, "link", "../outside") == [None, None]


def test_a_locked_key_is_said_and_nobody_is_asked(store: Path, home: Path) -> None:
    put(store, home, "a", b"CANARY", to=LOCKED)
    with pytest.raises(SourceError, match="'a': the key is locked") as caught:
        read(store, "a")
    assert "gpg-preset-passphrase" in caught.value.hint


def test_a_missing_key_is_said(
    store: Path, home: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, home, "a", b"CANARY")
    with tempfile.TemporaryDirectory(prefix="sr-gpg-") as other:
        monkeypatch.setenv("GNUPGHOME", other)
        with pytest.raises(SourceError, match="'a': gpg has no secret key that opens it"):
            read(store, "a")
        end_agent(Path(other))


@pytest.mark.parametrize("at", [0.3, 0.6, 0.9, -1])
def test_a_damaged_file_gives_an_error_and_no_value(store: Path, home: Path, at: float) -> None:
    put(store, home, "a", b"CANARY" * 100)
    content = bytearray((store / "a.gpg").read_bytes())
    content[int(at * len(content)) if at > 0 else -1] ^= 1
    (store / "a.gpg").write_bytes(content)
    with pytest.raises(SourceError, match="'a': ") as caught:
        read(store, "a")
    assert "CANARY" not in str(caught.value)


def test_a_cut_file_gives_an_error_and_no_value(store: Path, home: Path) -> None:
    put(store, home, "a", b"CANARY" * 10_000)
    content = (store / "a.gpg").read_bytes()
    (store / "a.gpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(SourceError, match="'a': "):
        read(store, "a")


def test_a_file_that_is_not_sealed_is_said(store: Path) -> None:
    (store / "a.gpg").write_text("CANARY in the clear")
    with pytest.raises(SourceError, match="'a': the file is not sealed by gpg") as caught:
        read(store, "a")
    assert "CANARY" not in str(caught.value)


def test_what_unpacks_without_end_is_refused(
    store: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed_files, "LARGEST_SLICE", 1 << 20)
    put(store, home, "bomb", b"x" * (8 << 20))
    assert (store / "bomb.gpg").stat().st_size < 1 << 16
    with pytest.raises(SourceError, match="'bomb' holds more than 1 MiB"):
        read(store, "bomb")


def test_without_gpg_it_is_said_what_to_do(
    store: Path, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put(store, home, "a", b"CANARY")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="'gpg', which is not to be found"):
        read(store, "a")


def test_an_empty_store_is_an_error(store: Path) -> None:
    with pytest.raises(EmptySource, match=r"no file that ends with \.gpg"):
        list(open_files(store).list())


def test_nothing_that_was_opened_lies_on_a_disk(
    store: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="sr-tmp-") as scratch:
        monkeypatch.setenv("TMPDIR", scratch)
        put(store, home, "a", b"CANARY-opened")
        assert read(store, "a")[0] is not None
        places = [*store.rglob("*"), *home.rglob("*"), *Path(scratch).rglob("*")]
        assert not [path for path in places if path.is_file() and b"CANARY-opened" in path.read_bytes()]
