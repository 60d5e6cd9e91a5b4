"""What the suites catch: Acme's plug-ins, each with one mistake that an author makes, and without it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from strongroom.model import Secret
from strongroom.plugins.conformance import (
    ChannelConformance,
    SettingsConformance,
    SharedConformance,
    SourceConformance,
)
from tests.process import ROOT

SAMPLE = ROOT / "tests" / "plugins" / "sample" / "acme_strongroom"
Acme = Callable[..., Any]


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Acme]:
    """Give what imports a module of Acme's, with a piece of its text replaced."""

    def load(module: str, old: str = "", new: str = "") -> Any:
        text = (SAMPLE / f"{module}.py").read_text()
        assert old in text
        name = f"acme_{'wrong' if old else 'right'}_{module}"
        (tmp_path / f"{name}.py").write_text(text.replace(old, new) if old else text)
        return importlib.import_module(name)

    monkeypatch.syspath_prepend(tmp_path)
    yield load
    for name in [name for name in sys.modules if name.startswith(("acme_wrong_", "acme_right_"))]:
        del sys.modules[name]


def caught(check: Callable[[Any], None], wrong: Any, right: Any) -> None:
    check(right)
    with pytest.raises(Exception):  # noqa: B017, PT011 - an assertion, or what the mistake itself raises
        check(wrong)


KEPT = """    def _open(self):
        class Kept:
            def __init__(self, database): self.database = database
            def __enter__(self): return self.database.__enter__()
            def __exit__(self, *error): return self.database.__exit__(*error)
            def __getattr__(self, name): return getattr(self.database, name)
            def close(self): pass
        if not hasattr(self, "_kept"):
            self._kept = Kept(self._connect())
        return self._kept

    def _connect(self):
"""
SHOWN = """self._ask("INSERT OR IGNORE INTO objects VALUES (?, ?, ?)", name, upload, size)
                self._ask("INSERT INTO pieces"""
CACHED = "values = self.kept = getattr(self, 'kept', None) or self._values()"
SHOWING = """    def __repr__(self):
        return str([bytes.fromhex(value) for value in self._path.read_text().split()[1::2]])

    def _values(self):"""
NOT_CONTAINED = """    def not_contained(self):
        return "nothing"

    def _values(self):"""


@pytest.mark.parametrize(
    ("old", "new", "test"),
    [
        ("substr(name, 1, ?) = ? ORDER", "? > -1 AND name LIKE ? || '%' ORDER", "test_a_prefix_stands"),
        ("objects (name TEXT", "objects (name TEXT COLLATE NOCASE", "test_a_prefix_stands"),
        ("    def _open(self):\n", KEPT, "test_an_instance_that_was_used"),
        ("except sqlite3.Error", "except sqlite3.OperationalError", "test_what_its_store_raises"),
        ('self._ask("INSERT INTO pieces', SHOWN, "test_an_object_is_not_there_before"),
    ],
    ids=["LIKE", "case", "one connection", "a raw error", "shown too early"],
)
def test_a_target_with_a_mistake_is_caught(acme: Acme, tmp_path: Path, old: str, new: str, test: str) -> None:
    suite: Any = SharedConformance()
    check = getattr(suite, next(name for name in dir(suite) if name.startswith(test)))

    def made(module: Any, path: Path) -> Any:
        path.write_bytes(b"CANARY" * 1000 if "store_raises" in test else b"")
        target = module.DrawerTarget("drawer", module.Drawer(kind="drawer", path=path, region="office"))
        return [target] if "store_raises" in test else target

    caught(check, made(acme("drawer", old, new), tmp_path / "1"), made(acme("drawer"), tmp_path / "2"))


@pytest.mark.parametrize(
    ("old", "new", "test"),
    [
        ("{} if with_tags else None", "{}", "test_tags_are_listed_only"),
        ("values = self._values()", CACHED, "test_what_changes_is_read"),
        ("    def _values(self):", SHOWING, "test_it_has_a_name"),
        ("{self._path} cannot be read", "{line} cannot be read", "test_what_its_store_raises"),
        ("except OSError as error", "except IsADirectoryError as error", "test_what_its_store_raises"),
        ("    def _values(self):", NOT_CONTAINED, "test_what_no_backup_contains"),
    ],
    ids=["unasked tags", "kept for ever", "values shown", "a line quoted", "a raw error", "a string"],
)
def test_a_source_with_a_mistake_is_caught(acme: Acme, tmp_path: Path, old: str, new: str, test: str) -> None:
    class Suite(SourceConformance):
        refilled = True

        def kept(self, held: Secret) -> Secret:
            return replace(held, tags={})

    suite: Any = Suite()
    check = getattr(suite, next(name for name in dir(suite) if name.startswith(test)))

    def made(module: Any, path: Path) -> Any:
        def fill(secrets: Sequence[Secret]) -> Any:
            rows = [(held.name, held.versions[0].value) for held in secrets]
            path.write_text("".join(f"{name}\t{value.reveal().hex()}\n" for name, value in rows if value))
            return module.SheetSource("sheet", path)

        if "store_raises" not in test:
            return fill
        path.write_text("CANARY without a tab\n")
        return [module.SheetSource("sheet", path), module.SheetSource("sheet", path / "no")]

    caught(check, made(acme("sheet", old, new), tmp_path / "1"), made(acme("sheet"), tmp_path / "2"))


def test_a_channel_that_leaves_the_document_out_is_caught(acme: Acme, tmp_path: Path) -> None:
    class Suite(ChannelConformance):
        machines = True

    def check(module: Any) -> None:
        path = tmp_path / module.__name__.replace(".", "-")
        channel = module.BellChannel("mine", path)
        Suite().test_a_message_comes_with_all_that_it_says(channel, lambda: path.read_text().splitlines())

    caught(check, acme("bell"), acme("bell", "{message.text!r}", "{message.text!r} {message.document}"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("drawer:make", "drawer:no_such"),
        ("acme_strongroom.drawer:make", "no_such.drawer:make"),
        ("def make(name, own, settings):", "def make(name, own):"),
        ("    return DrawerTarget(name, own)", "    return {}[name]"),
        ("        return self.path\n", "        return None\n"),
        ("frozen=True", "frozen=False"),
        ("Annotated[AbsolutePath, Meta", "Annotated[dict[str, int], Meta"),
    ],
)
def test_settings_with_a_mistake_are_caught(acme: Acme, tmp_path: Path, old: str, new: str) -> None:
    def check(module: Any) -> None:
        class Suite(SettingsConformance):
            section = "targets"
            record = module.Drawer

            def load(self, folder: Path, text: str) -> Any:  # noqa: ARG002 - as the suite has it
                own = module.Drawer(kind="drawer", path=folder / "drawer.db", region="office")
                return SimpleNamespace(targets={"mine": own})

            example = ""

        suite = Suite()
        suite.test_it_is_frozen_and_so_is_all_that_it_holds()
        suite.test_what_makes_a_thing_takes_what_it_is_given_and_connects_to_nothing(tmp_path)
        suite.test_what_lies_on_this_machine_says_so(tmp_path)

    right = acme("drawer", "acme_strongroom.drawer:", "acme_wrong_drawer:")
    check(right)
    del sys.modules["acme_wrong_drawer"]
    text = (SAMPLE / "drawer.py").read_text().replace(old, new)
    text = text.replace("acme_strongroom.drawer:", "acme_wrong_drawer:")
    (tmp_path / "acme_wrong_drawer.py").write_text(text)
    importlib.invalidate_caches()
    with pytest.raises(Exception):  # noqa: B017, PT011 - an assertion, or what the mistake itself raises
        check(importlib.import_module("acme_wrong_drawer"))
