"""The file format is bytes in and bytes out: it opens, locks and renames nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import strongroom.container

FILES = sorted(Path(strongroom.container.__file__).parent.glob("*.py"))


def touched(source: str) -> Iterator[str]:
    """Yield what a module uses of the operating system, but for its random bytes."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open":
            yield "open"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            yield f"os.{node.attr}"
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from (f"os.{name.name}" for name in node.names)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_module_of_the_format_takes_nothing_from_the_operating_system_but_random_bytes(file: Path) -> None:
    assert set(touched(file.read_text(encoding="utf-8"))) <= {"os.urandom"}


def test_a_module_that_opens_a_file_would_be_found() -> None:
    source = "import os\nfrom os import rename\nopen('x')\nos.open('x', 0)\n"
    assert set(touched(source)) == {"open", "os.open", "os.rename"}
