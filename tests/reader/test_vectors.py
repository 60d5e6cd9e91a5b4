"""The reader that was written from FORMAT.md alone, against every published vector."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

import pytest

from tests.reader.reader import RefusedError
from tests.reader.reading import contents, whole
from tests.vectors.vector import parse, stored

STORED = stored()


@pytest.mark.parametrize("name", sorted(STORED))
def test_a_published_vector_gives_what_it_says(name: str) -> None:
    vector = parse(STORED[name])
    if vector.one("expect") == "ok":
        parts = list(contents(vector))
        assert hashlib.sha256(b"".join(parts)).hexdigest() == vector.one("plaintext")
        assert vector.one("secrets") in (None, str(len(parts)))
        return
    with pytest.raises(RefusedError) as caught:
        list(contents(vector))
    assert caught.value.kind == vector.one("expect")


@pytest.mark.parametrize("name", sorted(name for name in STORED if name.startswith("target-")))
def test_what_is_left_aside_on_a_target_is_what_its_vector_says(name: str) -> None:
    vector = parse(STORED[name])
    if vector.one("expect") == "ok":
        found = whole(vector)
        assert found.aside == vector.all("aside")
        assert vector.one("taken") in (None, found.manifest["backup_id"])


def test_it_shares_no_code_with_the_product_or_recover() -> None:
    for name in ("reader.py", "jsontext.py"):
        tree = ast.parse(Path(__file__).with_name(name).read_text("utf-8"))
        modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        modules |= {
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        }
        assert not [
            each for each in modules if "strongroom" in each or "recover" in each or "msgspec" in each
        ]
        assert {each for each in modules if each.startswith("tests")} <= {"tests.reader.jsontext"}
