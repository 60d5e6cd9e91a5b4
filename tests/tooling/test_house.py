"""The house stays one that a person can hold in mind: few modules, and names that each say one thing."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = 530
LINES = 700
SMALL = 820
"""Private functions of three statements or fewer that one place uses: each is a name to follow."""


@cache
def modules() -> dict[str, ast.Module]:
    paths = sorted((ROOT / "strongroom").rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def test_a_class_name_is_that_of_one_class() -> None:
    names = Counter(
        node.name for tree in modules().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    )
    assert [name for name, times in names.items() if times > 1] == []


def test_no_variable_is_called_one() -> None:
    def names(tree: ast.Module) -> Iterator[tuple[str, int]]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id, node.lineno
            elif isinstance(node, ast.arg):
                yield node.arg, node.lineno

    found = [
        f"{path}:{line}" for path, tree in modules().items() for name, line in names(tree) if name == "one"
    ]
    assert found == []


def test_a_module_is_short_enough_to_be_read() -> None:
    long = {path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in modules()}
    assert [path for path, lines in long.items() if lines > LINES] == []


def test_there_are_no_more_modules_than_there_were() -> None:
    assert len(modules()) <= MODULES, "join the new one with the subject that it belongs to"


def test_small_private_functions_that_one_place_uses_do_not_grow_in_number() -> None:
    assert sum(len(list(_small_and_used_once(tree))) for tree in modules().values()) <= SMALL, (
        "write it where it is used, unless its name says what a comment would"
    )


def _small_and_used_once(tree: ast.Module) -> Iterator[str]:
    used = Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    used += Counter(node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("_") and not node.name.startswith("__"):
            documented = isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)
            statements = sum(isinstance(inner, ast.stmt) for inner in ast.walk(node)) - 1 - documented
            if statements <= 3 and used[node.name] == 1:
                yield node.name
