"""SOPS files, with a stand-in for the ``sops`` program: it shows how the program is run, and what is made
of what the real one (``tests/live/test_pass_and_sops.py``) would say only if it were damaged.

The stand-in takes the options that the real one has for this, opens what this test sealed (base64, and no
secret to anybody), and ends with the codes that the real one has.
"""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path

import pytest

from strongroom.errors import SourceError
from strongroom.model import Media, Secret
from strongroom.sources import sealed_files
from strongroom.sources.errors import EmptySource, SourceUnavailable
from strongroom.sources.files import open_files

STAND_IN = f"""#!{sys.executable}
import base64, sys
words = sys.argv[1:]
assert words[0] == "--decrypt" and words[1] == "--input-type" and words[3] == "--output-type", words
assert words[5] == "/dev/stdin", words
lines = sys.stdin.read().splitlines()
asked = (words[2], words[4])
if "hang" in lines or "dribble" in lines or "deaf" in lines:
    import os, time
    if "deaf" in lines:
        os.close(1)
        os.close(2)
    while True:
        time.sleep(0.1)
        if "dribble" in lines:
            print(end=".", file=sys.stderr, flush=True)
told = dict(line.split(" ", 1) for line in lines if " " in line)
if "status" in told:
    print("CANARY: what the real one quotes", file=sys.stderr)
    sys.exit(int(told["status"]))
assert asked == tuple(told["types"].split(",")), asked
sys.stdout.buffer.write(base64.b64decode(told.get("value", "")))
"""


@pytest.fixture(autouse=True)
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "sops").write_text(STAND_IN)
    (folder / "sops").chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def seal(path: Path, types: str, value: str | bytes) -> Path:
    raw = value.encode() if isinstance(value, str) else value
    path.write_text(f"types {types}\nvalue {base64.b64encode(raw).decode()}\n")
    return path


def read_all(path: Path) -> list[Secret]:
    source = open_files(path, "sops")
    entries = list(source.list(with_tags=True))
    assert [entry.tags for entry in entries] == [{}] * len(entries)
    return [held for held in source.read(entries) if held]


def told(path: Path) -> dict[str, tuple[bytes, Media]]:
    found = {}
    for held in read_all(path):
        assert held.current.value is not None
        found[held.name] = (held.current.value.reveal(), held.current.media)
    return found


YAML = """\
password: "CANARY p#ss"
pin: 0123
ratio: 1.50
nothing:
multi: |
    CANARY
    lines
db:
    user: me
    ports: [1, 2.5, true, null, 2026-01-01]
    odd: [1.50, 123456789012345678901234567890, 1e+06, 1e400, .inf, 0x1F, 1_000, 1:30, 0123, on, ~, !!int x]
---
second: CANARY-2
"""


def test_the_top_of_a_yaml_file_is_a_secret_each_in_all_its_documents(tmp_path: Path) -> None:
    assert told(seal(tmp_path / "a.sops.yaml", "yaml,yaml", YAML)) == {
        "password": (b"CANARY p#ss", Media.TEXT),
        "pin": (b"0123", Media.TEXT),
        "ratio": (b"1.50", Media.TEXT),
        "nothing": (b"null", Media.JSON),
        "multi": (b"CANARY\nlines\n", Media.TEXT),
        "db": (
            (
                b'{"user":"me","ports":[1,2.5,true,null,"2026-01-01"],'
                b'"odd":[1.50,123456789012345678901234567890,1e+06,1e400,".inf","0x1F","1_000","1:30","0123",'
                b'"on",null,"x"]}'
            ),
            Media.JSON,
        ),
        "second": (b"CANARY-2", Media.TEXT),
    }


@pytest.mark.parametrize(
    ("name", "types"), [("a.json", "json,json"), ("a.env", "dotenv,json"), ("a.ini", "ini,json")]
)
def test_others_with_keys_are_asked_for_as_json(tmp_path: Path, name: str, types: str) -> None:
    value = '{"A": "CANARY", "b": {"c":  1.50}}'
    assert told(seal(tmp_path / name, types, value)) == {
        "A": (b"CANARY", Media.TEXT),
        "b": (b'{"c":  1.50}', Media.JSON),
    }


def test_any_other_file_is_one_secret_byte_for_byte(tmp_path: Path) -> None:
    found = told(seal(tmp_path / "keystore.sops.jks", "binary,binary", b"CANARY\x00\xff\n"))
    assert found == {"keystore.jks": (b"CANARY\x00\xff\n", Media.BINARY)}


def test_a_section_that_an_ini_file_has_not_is_no_secret(tmp_path: Path) -> None:
    seal(tmp_path / "a.ini", "ini,json", '{"DEFAULT": {}, "s": {"A": "CANARY"}}')
    assert told(tmp_path / "a.ini").keys() == {"s"}
    seal(tmp_path / "a.ini", "ini,json", '{"DEFAULT": {"A": "CANARY"}}')
    assert told(tmp_path / "a.ini").keys() == {"DEFAULT"}


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (128, "no key that opens it"),
        (51, "checksum"),
        (25, "does not open"),
        (2, "could not read"),
        (7, "status 7"),
    ],
)
def test_a_refusal_is_named_and_its_words_are_not_repeated(tmp_path: Path, status: int, problem: str) -> None:
    (tmp_path / "a.yaml").write_text(f"status {status}\n")
    with pytest.raises(SourceError, match=problem) as caught:
        read_all(tmp_path / "a.yaml")
    assert "CANARY" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize(
    ("name", "types", "value", "problem"),
    [
        ("a.yaml", "yaml,yaml", "a: CANARY\na: CANARY\n", "the key 'a' twice"),
        ("a.yaml", "yaml,yaml", "a: &x CANARY\nb: *x\n", "aliases"),
        ("a.yaml", "yaml,yaml", "- CANARY\n", "no mapping"),
        ("a.yaml", "yaml,yaml", "a: {b: CANARY, b: CANARY}\n", "the key 'b' twice"),
        ("a.json", "json,json", '{"a": "CANARY", "a": "CANARY"}', "the key 'a' is there twice"),
        ("a.json", "json,json", '["CANARY"]', "made of"),
        ("a.json", "json,json", '{"a": CANARY}', "made of"),
        ("a.json", "json,json", '{"": "CANARY"}', "no name"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(
    tmp_path: Path, name: str, types: str, value: str, problem: str
) -> None:
    seal(tmp_path / name, types, value)
    with pytest.raises(SourceError, match=problem) as caught:
        read_all(tmp_path / name)
    error: BaseException | None = caught.value
    while error is not None:
        assert "CANARY" not in str(error)
        error = error.__cause__ or error.__context__


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    seal(tmp_path / "a.json", "json,json", "{}")
    with pytest.raises(EmptySource):
        read_all(tmp_path / "a.json")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"a\.sops\.yaml' does not exist"):
        read_all(tmp_path / "a.sops.yaml")


def test_without_sops_it_is_said_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    seal(tmp_path / "a.sops.yaml", "yaml,yaml", YAML)
    with pytest.raises(SourceError, match="'sops', which is not to be found"):
        read_all(tmp_path / "a.sops.yaml")


@pytest.mark.parametrize("how", ["hang", "dribble", "deaf"])
def test_a_program_that_does_not_end_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """It may say nothing, a little now and then, or close its pipes and stay."""
    monkeypatch.setattr(sealed_files, "SECONDS", 1.0)
    (tmp_path / "a.yaml").write_text(f"{how}\n")
    with pytest.raises(SourceUnavailable, match="did not end"):
        read_all(tmp_path / "a.yaml")
