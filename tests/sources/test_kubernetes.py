"""Kubernetes Secret manifests against the suite, and what manifests may hold besides."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.container.errors import DuplicateSecret
from strongroom.errors import SourceError
from strongroom.model import ListedSecret, Media, Secret
from strongroom.plugins.conformance.sources import Filled, SourceConformance
from strongroom.sources import Source, sealed_files
from strongroom.sources.errors import EmptySource
from strongroom.sources.files import open_files
from tests.sources.under import Under


def plain(held: Secret) -> bytes:
    assert held.current.value is not None
    return held.current.value.reveal()


class TestManifest(SourceConformance):
    """Each secret of the suite is a key of a manifest of its own."""

    @pytest.fixture
    def filled(self, tmp_path: Path) -> Filled:
        def fill(secrets: Sequence[Secret]) -> Source:
            manifests = [
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": "app", "labels": held.tags},
                    "data": {held.name: base64.b64encode(plain(held)).decode()},
                }
                for held in secrets
            ]
            (tmp_path / "secrets.yaml").write_text("".join(f"---\n{json.dumps(one)}\n" for one in manifests))
            return Under(open_files(tmp_path / "secrets.yaml", "kubernetes"), "default/app/")

        return fill

    def kept(self, held: Secret) -> Secret:
        return replace(held, type="Opaque")


MANIFESTS = """\
# of the team
apiVersion: v1
kind: Secret
metadata:
  name: db
  namespace: prod
  creationTimestamp: 2026-01-01T00:00:00Z
  labels: {team: blue, tier: "1"}
  annotations:
    owner: CANARY-owner
    kubectl.kubernetes.io/last-applied-configuration: '{"stringData": {"password": "CANARY-copy"}}'
type: kubernetes.io/basic-auth
immutable: true
data:
  username: YWRtaW4=
  password: b2xk
  key: |
    /wAB
    Ag==
stringData:
  password: CANARY new
---
apiVersion: v1
kind: ConfigMap
metadata: {name: not-a-secret}
data: {a: CANARY}
---
apiVersion: v1
kind: List
items:
- kind: Secret
  metadata: {name: one}
  stringData: {a: CANARY-1}
- kind: Deployment
  metadata: {name: no}
- kind: Secret
  metadata: {name: nothing}
  data: null
---
kind: SecretList
items:
- metadata: {name: two, namespace: prod}
  stringData: {b: CANARY-2}
---
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return tmp_path / "secrets.yaml"


def read_all(path: Path) -> dict[str, Secret]:
    source = open_files(path, "kubernetes")
    found = [held for held in source.read(list(source.list())) if held]
    return {held.name: held for held in found}


def test_every_key_of_every_secret_is_found(manifest: Path) -> None:
    manifest.write_text(MANIFESTS)
    found = read_all(manifest)
    assert {name: plain(held) for name, held in found.items()} == {
        "prod/db/username": b"admin",
        "prod/db/password": b"CANARY new",
        "prod/db/key": b"\xff\x00\x01\x02",
        "default/one/a": b"CANARY-1",
        "prod/two/b": b"CANARY-2",
    }
    assert found["prod/db/key"].current.media is Media.BINARY


def test_what_a_manifest_says_of_its_keys_is_kept(manifest: Path) -> None:
    manifest.write_text(MANIFESTS)
    held = read_all(manifest)["prod/db/password"]
    assert held.type == "kubernetes.io/basic-auth"
    assert held.tags == {"team": "blue", "tier": "1"}
    assert held.created_at == "2026-01-01T00:00:00Z"
    assert held.metadata == {"kubernetes": {"annotations": {"owner": "CANARY-owner"}, "immutable": True}}


def test_a_directory_of_manifests_is_read_whole_and_not_beyond(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "prod").mkdir(parents=True)
    secret = "kind: Secret\nmetadata: {{name: {0}}}\nstringData: {{a: CANARY-{0}}}\n"
    (tree / "prod" / "a.yaml").write_text(secret.format("a"))
    (tree / "b.yml").write_text(secret.format("b"))
    (tree / "c.json").write_text(
        json.dumps({"kind": "Secret", "metadata": {"name": "c"}, "stringData": {"a": "1"}})
    )
    (tree / "README.md").write_text("kind: Secret")
    (tmp_path / "outside.yaml").write_text(secret.format("outside"))
    (tree / "link.yaml").symlink_to(tmp_path / "outside.yaml")
    assert sorted(read_all(tree)) == ["default/a/a", "default/b/a", "default/c/a"]


def test_json_may_hold_what_yaml_may_not(manifest: Path) -> None:
    r"""Characters as two escapes, tabs between words; a backslash that is escaped begins no escape."""
    emoji, path = r"CANARY \ud83d\uDE00 a\/b \u00e9", r"C:\\ud83d\\ude00\ttab"
    values = f'{{"k": "{emoji}", "p": "{path}"}}'
    manifest.write_text(f'{{\n\t"kind":\t"Secret", "metadata": {{"name": "a"}}, "stringData": {values}}}')
    found = read_all(manifest)
    assert plain(found["default/a/k"]).decode() == "CANARY \U0001f600 a/b \u00e9"
    assert plain(found["default/a/p"]).decode() == "C:\\ud83d\\ude00\ttab"


def test_what_is_no_json_is_read_as_it_stands(manifest: Path) -> None:
    manifest.write_text("kind: Secret\nmetadata: {name: a}\nstringData: {k: '\\ud83d\\ude00'}\n")
    assert plain(read_all(manifest)["default/a/k"]).decode() == "\\ud83d\\ude00"


def test_two_secrets_of_one_name_are_both_listed_and_not_chosen_between(manifest: Path) -> None:
    one = "kind: Secret\nmetadata: {name: a}\nstringData: {k: CANARY}\n"
    manifest.write_text(f"{one}---\n{one}")
    source = open_files(manifest)
    assert [entry.name for entry in source.list()] == ["default/a/k"] * 2
    with pytest.raises(DuplicateSecret):
        list(source.read([ListedSecret("default/a/k", 0)]))


BOMB = "a: &a [CANARY, CANARY]\n" + "".join(
    f"{after}: &{after} [*{before}, *{before}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (f"kind: Secret\n{BOMB}", 3, "aliases"),
        ("kind: Secret\nmetadata: {name: a}\ndata: {k: CANARY!}\n", 3, "'k' is not base64"),
        ("kind: Secret\nmetadata: {name: a}\ndata: {k: QQ}\n", 3, "'k' is not base64"),
        ("kind: Secret\nmetadata: {name: a}\ndata: {k: Q Q==}\n", 3, "'k' is not base64"),
        ("kind: Secret\nmetadata: {name: a}\ndata: {k: CANARY, k: QQ==}\n", 3, "the key 'k' twice"),
        ("kind: Secret\nmetadata: {name: a}\nkind: Secret\n", 3, "the key 'kind' twice"),
        ("kind: Secret\nmetadata: {name: a}\nstringData: {k: 12345}\n", 3, "not text; put it in quotes"),
        ("kind: Secret\nmetadata: {name: a}\nstringData: {k: yes}\n", 3, "not text; put it in quotes"),
        ("kind: Secret\nmetadata: {name: a}\nstringData: {k: {CANARY: x}}\n", 3, "not text"),
        ("kind: Secret\nmetadata: {name: a}\nstringData: [CANARY]\n", 3, "no mapping"),
        ("kind: Secret\nmetadata: {}\n", 1, "a Secret has no name"),
        ("kind: Secret\nmetadata: {name: 1}\n", 2, "name is not text"),
        ("kind: List\nitems: CANARY\n", 2, "no list"),
        ("kind: Secret\nmetadata: {name: a/b}\nstringData: {k: CANARY}\n", 1, "no slash: 'a/b'"),
        ("kind: Secret\nmetadata: {name: a, namespace: ''}\nstringData: {k: CANARY}\n", 1, "not empty"),
        ('kind: Secret\nmetadata: {name: "a\\nb"}\nstringData: {k: CANARY}\n', 1, "no slash"),
        ("kind: Secret\nmetadata: {name: a}\nstringData: {'': CANARY}\n", 1, "not empty"),
        ("kind: List\nitems: [{kind: List, items: [{kind: Secret}]}]\n", 2, "a Secret has no name"),
        ("- CANARY\n", 1, "no mapping"),
        ("a: 1\nb: 'CANARY never closed\n", 3, "broken YAML"),
        ("a: 1\nb: [CANARY\nc: d\n", 3, "broken YAML"),
        ("a: *CANARY\n", 1, "aliases"),
        ("a: \x07CANARY\n", 1, "broken YAML"),
        ("a: !!python/object/apply:os.system [CANARY]\nb: " + "[" * 100, 2, "nested deeper"),
    ],
)
def test_a_bad_manifest_names_the_line_and_no_value(
    manifest: Path, text: str, line: int, problem: str
) -> None:
    manifest.write_text(text)
    with pytest.raises(SourceError, match=f"secrets.yaml', line {line}: .*{problem}") as caught:
        list(open_files(manifest, "kubernetes").list())
    error: BaseException | None = caught.value
    while error is not None:
        assert "CANARY" not in str(error)
        error = error.__cause__ or error.__context__


def test_a_type_of_a_program_is_never_made(manifest: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    call = f"!!python/object/apply:os.mkdir ['{made}']"
    manifest.write_text(
        f"kind: Secret\nmetadata: {{name: a}}\nimmutable: {call}\nstringData: {{k: {call}}}\n"
    )
    with pytest.raises(SourceError, match=r"no mapping|not text"):
        read_all(manifest)
    assert not made.exists()


def test_a_manifest_that_is_too_large_is_refused(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest.write_bytes(b"#" * (sealed_files.LARGEST + 1))
    with pytest.raises(SourceError, match="larger than 16 MiB"):
        list(open_files(manifest, "kubernetes").list())


def test_no_secret_at_all_is_an_error(manifest: Path) -> None:
    manifest.write_text("kind: ConfigMap\nmetadata: {name: a}\n---\n# nothing\n---\nnull\n")
    with pytest.raises(EmptySource, match="holds no Secret manifest"):
        list(open_files(manifest, "kubernetes").list())


def test_a_manifest_that_is_not_utf_8_is_refused(manifest: Path) -> None:
    manifest.write_bytes(b"kind: \xff\xfeCANARY\n")
    with pytest.raises(SourceError, match=r"secrets\.yaml', line 1"):
        list(open_files(manifest, "kubernetes").list())


def test_a_manifest_whose_name_the_server_makes_up_goes_by_what_that_begins_with(tmp_path: Path) -> None:
    """It stopped the whole file."""
    file = tmp_path / "secrets.yaml"
    file.write_text(
        "kind: Secret\nmetadata: {generateName: token-}\nstringData: {a: CANARY}\n---\n"
        "kind: Secret\nmetadata: {name: other}\nstringData: {b: CANARY}\n"
    )
    found = [entry.name for entry in open_files(file, "kubernetes").list()]
    assert found == ["default/token-/a", "default/other/b"]
