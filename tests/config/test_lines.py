"""Each problem of a file is told with its line."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.config.lines import line_of, lines_of
from strongroom.config.schema import KeyPath, toml_value
from tests.config.loading import Place

TEXT = '''\
# a comment with [brackets] = "and quotes"
state_dir = "a # b"

[policies."weekly critical"]    # [not a table]
targets = [
    "near",   # first, ] and "

    'far',
]
tags = { "a.b" = "}", c = [
    1, 2] }
keep.monthly = 24
keep.yearly = 7
text = """
[nothing] = 1
\\""" more ""\\"""""
literal = \'\'\'
[nothing]
x = 1\'\'\'\'
at = 1979-05-27 07:32:00

[[lists]]
name = "first"
[[lists]]
name = "second"
[lists.inner]
deep = true
[[lists.more]]
x = 1
[[lists.more]]
y = 2
'''
LINES: dict[KeyPath, int] = {
    ("state_dir",): 2,
    ("policies",): 4,
    ("policies", "weekly critical", "targets"): 5,
    ("policies", "weekly critical", "targets", 0): 6,
    ("policies", "weekly critical", "targets", 1): 8,
    ("policies", "weekly critical", "tags", "a.b"): 10,
    ("policies", "weekly critical", "tags", "c", 1): 11,
    ("policies", "weekly critical", "keep", "yearly"): 13,
    ("policies", "weekly critical", "literal"): 17,
    ("policies", "weekly critical", "at"): 20,
    ("lists", 0, "name"): 23,
    ("lists", 1, "name"): 25,
    ("lists", 1, "inner", "deep"): 27,
    ("lists", 1, "more", 0, "x"): 29,
    ("lists", 1, "more", 1, "y"): 31,
}


def paths(raw: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    inner = raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ()
    for part, value in inner:
        yield (*path, part)
        yield from paths(value, (*path, part))


def test_each_key_table_and_item_has_its_line() -> None:
    found = lines_of(TEXT)
    assert {key: found.get(key) for key in LINES} == LINES
    assert set(found) == set(paths(tomllib.loads(TEXT)))


VALUES = st.recursive(
    st.integers() | st.booleans() | st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc"))),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.text("ab\"'.# ]=", min_size=1), st.dictionaries(st.text("xy.", min_size=1), VALUES))
)
def test_whatever_the_reader_accepts_is_found_where_it_stands(raw: dict[str, dict[str, Any]]) -> None:
    lines, line = [], 0
    expected: dict[KeyPath, int] = {}
    for name, entries in raw.items():
        lines.append(f"[{toml_value(name)}] # ]")
        expected[(name,)] = line = line + 1
        for key, value in entries.items():
            lines.append(f"{toml_value(key)} = {toml_value(value)}")
            line += 1
            expected |= {(name, key, *path): line for path in ((), *paths(value))}
    text = "\n".join(lines)
    assert tomllib.loads(text) == raw
    assert lines_of(text) == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("# first\n[brokr]\n", 2),
        ("[workers]\nseal = 2\ntransfer = 'x'\n", 3),
        ('[targets.a]\nkind = "directory"\npath = "a"\n', 1),
        ('\n[policies.p]\nkind = "metadata"\ntargets = [\n  "region-a",\n  7,\n]\n', 6),
        ('[policies.p]\nkind = "metadata"\n\ntargets = ["nowhere"]\nquorum = 1\n', 4),
    ],
    ids=["a section", "a key", "the table that lacks a key", "an item of a list", "what does not fit"],
)
def test_a_problem_names_the_line_of_its_key(place: Place, text: str, line: int) -> None:
    (found,) = place.problems(text)

    assert (found.where, found.line) == (str(place.file), line)
    assert str(found).startswith(f"{place.file}:{line}: {found.key}: ")


def test_a_problem_of_a_variable_names_the_variable_and_no_line(place: Place) -> None:
    (found,) = place.problems("[workers]\nseal = 2\n", {"STRONGROOM_WORKERS__SEAL": "many"})

    assert (found.where, found.line) == ("environment STRONGROOM_WORKERS__SEAL", None)


def test_what_stands_nowhere_in_the_file_has_no_line() -> None:
    assert line_of(("alerts", "email"), lines_of("[broker]\n")) is None
