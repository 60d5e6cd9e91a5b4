"""Every error has the exit code of its family, and says what it means and what to do."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module

import pytest

import strongroom
import tasks
import workers
from strongroom.cli.reference import leaves
from strongroom.cli.terminal import failures
from strongroom.container.errors import FormatError
from strongroom.errors import FAMILIES, MODULES, StrongroomError, by_name

GROUPS = {FormatError}
"""What only groups errors of several families, and is never raised itself."""


def every(kind: type[StrongroomError] = StrongroomError) -> Iterator[type[StrongroomError]]:
    for one in kind.__subclasses__():
        if one.__module__.partition(".")[0] in ("strongroom", "tasks", "workers"):
            yield one
            yield from every(one)


@pytest.fixture(scope="module", autouse=True)
def everything_loaded() -> None:
    for package in (strongroom, tasks, workers):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not (module.name.endswith("__main__") or ".migrations." in module.name):
                import_module(module.name)


def test_the_families_are_the_direct_subclasses_with_an_exit_code_each() -> None:
    assert set(FAMILIES) == set(StrongroomError.__subclasses__()) - GROUPS
    assert (
        len({kind.exit_code for kind in FAMILIES}) == len({kind.family for kind in FAMILIES}) == len(FAMILIES)
    )
    assert [kind.exit_code for kind in FAMILIES] == sorted(kind.exit_code for kind in FAMILIES)
    assert all(1 < kind.exit_code < 126 for kind in FAMILIES), "the shell has the others"


def test_an_error_belongs_to_one_family_and_has_its_exit_code() -> None:
    for kind in set(every()) - GROUPS - set(FAMILIES):
        assert len([family for family in FAMILIES if issubclass(kind, family)]) == 1, kind
        assert not {"exit_code", "family"} & vars(kind).keys(), kind


def test_an_error_says_what_it_means_and_what_to_do() -> None:
    for kind in leaves():
        assert kind.default_hint, kind
        assert failures.meaning_of(kind) not in ("", failures.meaning_of(kind.__mro__[1])), kind
        assert "\n" not in failures.meaning_of(kind), kind


def test_a_record_finds_every_error_by_its_name() -> None:
    known = [*FAMILIES, *leaves()]
    assert len({kind.__name__ for kind in known}) == len(known)
    found = {name: by_name(name) for name in (kind.__name__ for kind in known)}
    above = ("strongroom.cli.", "strongroom.config.", "workers.")  # what only these raise is in no record
    assert found == {kind.__name__: None if kind.__module__.startswith(above) else kind for kind in known}
    made = [kind("what happened", hint=None) for kind in filter(None, found.values())]
    assert [error.hint for error in made] == [type(error).default_hint for error in made]
    assert by_name("Sequence") is by_name("NoSuchError") is None


def test_the_name_of_an_error_is_that_of_no_other() -> None:
    names = [kind.__name__ for kind in set(every())]
    assert sorted(names) == sorted(set(names))


def test_the_modules_of_errors_are_all_of_them() -> None:
    named = {kind.__module__ for kind in every() if kind.__module__.rpartition(".")[2] == "errors"}
    assert named == {
        *MODULES,
        *("strongroom.errors", "strongroom.cli.errors", "workers.errors"),
    }
