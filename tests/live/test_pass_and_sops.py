"""Stores of the real ``pass`` and files of the real ``sops``, sealed to a made-up key of gpg's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.errors import SourceError
from strongroom.model import ListedSecret, Media
from strongroom.sources.files import detect, open_files
from tests.process import beside_python
from tests.sources.gpg import KEY, fingerprint, gpg_home


@pytest.fixture(scope="module")
def shared_home() -> Iterator[Path]:
    with gpg_home({KEY: ""}) as made:
        yield made


@pytest.fixture
def home(shared_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GNUPGHOME", str(shared_home))
    return shared_home


def told(path: Path, layout: str | None = None) -> dict[str, tuple[bytes, Media]]:
    source = open_files(path, layout)
    found = {}
    for held in source.read(list(source.list())):
        assert held is not None
        assert held.current.value is not None
        found[held.name] = (held.current.value.reveal(), held.current.media)
    return found


# -- pass ----------------------------------------------------------------------


@pytest.fixture
def store(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if shutil.which("pass") is None:
        pytest.skip("there is no pass here")
    monkeypatch.setenv("PASSWORD_STORE_DIR", str(tmp_path / "store"))
    _pass("init", KEY)
    return tmp_path / "store"


def _pass(*words: str, said: str = "") -> bytes:
    return subprocess.run(["pass", *words], input=said.encode(), check=True, capture_output=True).stdout


VALUES = {
    "web/example.org": "CANARY-password\nuser: me\nurl: https://example.org/?a=b&c\n",
    "Straße/пароль": "CANARY-пароль",
    "two words/a'b\"c$(d)": "CANARY-odd",
    "-dash": "CANARY-dash\n",
    "deep/er/and/deeper.gpg": "CANARY-ending",
}


def test_what_pass_shows_is_what_is_backed_up(store: Path) -> None:
    for name, value in VALUES.items():
        _pass("insert", "--multiline", "--", name, said=value)
    _pass("generate", "made", "40")
    _pass("insert", "--multiline", "gone", said="CANARY-gone")
    _pass("rm", "--force", "gone")
    assert detect(str(store)) == "pass"
    found = told(store)
    assert found.keys() == {*VALUES, "made"}
    for name, (value, media) in found.items():
        assert value == _pass("show", "--", name), name
        assert media is Media.TEXT
    assert {name: value.encode() for name, value in VALUES.items()}.items() <= {
        name: value for name, (value, _) in found.items()
    }.items()


# -- sops ----------------------------------------------------------------------


@pytest.fixture
def sops(home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The sealing command's words: what is sealed here, the source has to open."""
    program = beside_python("sops")
    if program is None:
        pytest.skip("sops is not installed: it is one of the development requirements")
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return fingerprint(home, KEY)


def seal(path: Path, content: str | bytes, key: str, *words: str) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    subprocess.run(["sops", "--encrypt", "--in-place", "--pgp", key, *words, path], check=True)
    assert b"CANARY" not in path.read_bytes()
    return path


YAML = """\
# CANARY in a comment
password: "CANARY p#ss"
pin: "0123"
port: 5432
nothing:
"yes": "on"
multi: |
    CANARY
    lines
db:
    user: CANARY-me
    list: [1, 2.5, true, null, 2026-01-01, "1e5", 12345678901]
---
second: CANARY-2
"""


def test_a_yaml_file_comes_back_as_it_was_sealed(sops: str, tmp_path: Path) -> None:
    path = seal(tmp_path / "values.yaml", YAML, sops)
    assert detect(str(path)) == "sops"
    assert told(path) == {
        "password": (b"CANARY p#ss", Media.TEXT),
        "pin": (b"0123", Media.TEXT),
        "port": (b"5432", Media.TEXT),
        "nothing": (b"null", Media.JSON),
        "yes": (b"on", Media.TEXT),
        "multi": (b"CANARY\nlines\n", Media.TEXT),
        "db": (
            b'{"user":"CANARY-me","list":[1,2.5,true,null,"2026-01-01T00:00:00Z","1e5",12345678901]}',
            Media.JSON,
        ),
        "second": (b"CANARY-2", Media.TEXT),
    }


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "a.json",
            '{"A": "CANARY", "b": {"c": 1.5, "d": null}, "n": null}',
            {"A": b"CANARY", "b": {"c": 1.5, "d": None}, "n": b"null"},
        ),
        (
            "b.env",
            'A=CANARY\n# CANARY\nB="x"\nC=a\\nb\n',
            {"A": b"CANARY", "B": b'"x"', "C": b"a\nb"},
        ),
        ("c.sops.ini", "[s]\nA=CANARY\n[t]\nB = 1\n", {"s": {"A": "CANARY"}, "t": {"B": "1"}}),
        ("d.sops.jks", b"CANARY\x00\xff\n", {"d.jks": b"CANARY\x00\xff\n"}),
    ],
)
def test_files_of_every_kind_come_back(
    sops: str, tmp_path: Path, name: str, content: str | bytes, expected: dict[str, object]
) -> None:
    """Found out without a format: a sealed JSON or dotenv file is none of names and values."""
    path = seal(tmp_path / name, content, sops)
    found = told(path)
    assert {
        name: value if media is not Media.JSON or value == b"null" else json.loads(value)
        for name, (value, media) in found.items()
    } == expected


MANIFEST = """\
apiVersion: v1
kind: Secret
metadata:
    name: {name}
    namespace: prod
data:
    key: Q0FOQVJZLWtleQ==
stringData:
    user: CANARY-{name}
"""


def test_sealed_manifests_are_opened_and_not_taken_for_values(sops: str, tmp_path: Path) -> None:
    only = ("--encrypted-regex", "^(data|stringData)$")
    one = seal(tmp_path / "one.yaml", MANIFEST.format(name="one"), sops, *only)
    (tmp_path / "two.yaml").write_text(MANIFEST.format(name="two"))
    assert detect(str(one)) == "kubernetes"
    alone = {"prod/one/key": (b"CANARY-key", Media.TEXT), "prod/one/user": (b"CANARY-one", Media.TEXT)}
    assert told(one) == alone
    assert told(tmp_path, "kubernetes") == alone | {
        "prod/two/key": (b"CANARY-key", Media.TEXT),
        "prod/two/user": (b"CANARY-two", Media.TEXT),
    }


def refused(path: Path) -> str:
    with pytest.raises(SourceError) as caught:
        list(open_files(path, "sops").read([ListedSecret("password", 0)]))
    assert "CANARY" not in f"{caught.value}{caught.value.hint}"
    return str(caught.value)


def test_what_does_not_open_is_told_apart(sops: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = seal(tmp_path / "values.yaml", YAML, sops)
    sealed = path.read_text()
    path.write_text(sealed.replace("password: ENC[AES256_GCM,data:", "password: ENC[AES256_GCM,data:AAAA"))
    assert "a value of it does not open" in refused(path)
    lines = [line for line in sealed.splitlines() if not line.startswith("port:")]
    path.write_text("\n".join(lines))
    assert "its checksum is not the one" in refused(path)
    path.write_text("password: CANARY\n")
    assert "was not sealed by sops" in refused(path)
    path.write_text(sealed)
    monkeypatch.setenv("GNUPGHOME", str(tmp_path / "none"))
    assert "no key that opens it" in refused(path)
