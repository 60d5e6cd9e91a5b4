"""Patterns and tags."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from strongroom.model import ListedSecret, Selection
from strongroom.plugins.conformance.sources import secret
from strongroom.sources.batches import matches


def selected(selection: Selection, name: str, tags: Mapping[str, str] | None = None) -> bool:
    return matches(selection, ListedSecret(name, 1, (), dict(tags) if tags is not None else None))


def test_an_empty_selection_means_everything() -> None:
    assert selected(Selection(), "anything/at/all")


def test_any_include_pattern_selects() -> None:
    selection = Selection(include=("prod/*", "DB_?"))
    assert selected(selection, "prod/a/b")
    assert selected(selection, "DB_1")
    assert not selected(selection, "staging/a")


def test_an_exclude_pattern_wins_over_an_include_pattern() -> None:
    selection = Selection(include=("prod/*",), exclude=("*/test-*",))
    assert selected(selection, "prod/real")
    assert not selected(selection, "prod/test-1")


def test_patterns_tell_upper_from_lower_case() -> None:
    assert not selected(Selection(include=("prod/*",)), "PROD/a")


def test_every_tag_must_be_there_with_its_value() -> None:
    selection = Selection(tags={"priority": "critical", "team": "data"})
    assert selected(selection, "a", {"priority": "critical", "team": "data", "more": "x"})
    assert not selected(selection, "a", {"priority": "critical"})
    assert not selected(selection, "a", {"priority": "low", "team": "data"})
    assert not selected(selection, "a", {})


def test_tags_of_an_entry_listed_without_them_are_never_guessed() -> None:
    with pytest.raises(ValueError, match="listed with their tags"):
        selected(Selection(tags={"priority": "critical"}), "a", None)


def test_a_secret_is_selected_like_an_entry() -> None:
    held = secret("prod/a", tags={"priority": "critical"})
    assert matches(Selection(include=("prod/*",), tags={"priority": "critical"}), held)
    assert not matches(Selection(tags={"priority": "low"}), held)
