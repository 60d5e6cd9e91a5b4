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
from strongroom.container.errors import FormatError
from strongroom.errors import FAMILIES, MODULES, InstallationError, StrongroomError, by_name, meaning_of
from strongroom.operations.engine.run_log import error_text, parse_error

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
        assert meaning_of(kind) not in ("", meaning_of(kind.__mro__[1])), kind
        assert "\n" not in meaning_of(kind), kind


def test_an_error_of_the_installation_has_a_hint_of_its_own() -> None:
    for kind in leaves():
        if issubclass(kind, InstallationError):
            assert "default_hint" in vars(kind), f"{kind} would say what to do of another error"


def test_a_record_finds_every_error_by_its_name() -> None:
    known = [*FAMILIES, *leaves()]
    assert len({kind.__name__ for kind in known}) == len(known)
    assert {kind.__name__: by_name(kind.__name__) for kind in known} == {
        kind.__name__: kind for kind in known
    }
    assert by_name("Sequence") is by_name("NoSuchError") is None


def test_a_record_keeps_the_family_and_the_hint_of_every_error_that_can_be_raised() -> None:
    for kind in set(every()) - GROUPS:
        raised = kind("what happened")
        recorded = parse_error(f"capture/0: {raised.code}: {error_text(raised)}")
        assert recorded is not None, kind
        expected = (
            raised.family,
            raised.exit_code,
            raised.code,
            raised.message,
            raised.hint,
            raised.transient,
        )
        found = (recorded.family, recorded.exit_code, recorded.code, recorded.message, recorded.hint)
        assert (*found, recorded.transient) == expected, kind


def test_the_name_of_an_error_is_that_of_no_other() -> None:
    names = [kind.__name__ for kind in set(every())]
    assert sorted(names) == sorted(set(names))


def test_the_modules_of_errors_are_all_of_them() -> None:
    named = {kind.__module__ for kind in every() if kind.__module__.rpartition(".")[2] == "errors"}
    besides = {"strongroom.config.schema", "strongroom.keys.quorum.record"}
    assert {*MODULES, "strongroom.errors"} == named | besides
