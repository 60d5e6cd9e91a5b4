"""What every record of settings must be: found, read, checked and described as ours are."""

from __future__ import annotations

import tomllib
from inspect import signature
from pathlib import Path
from typing import ClassVar, get_args

import pytest

from strongroom.config import ConfigProblems, Settings, load_settings
from strongroom.config.kinds import KindSection
from strongroom.config.reference import kind_markdown
from strongroom.config.registry import API, OWN, find_kind, loaded_plugins
from strongroom.config.schema import fields_of, is_table, kind_of
from strongroom.system.lazy import resolve


class SettingsConformance:
    """The contract of a record of settings, in an environment in which its package is installed.

    ``section`` is the section of the configuration that names it, such as ``targets``, and ``example`` what
    stands in its table, as TOML, with every setting that has no default.
    """

    section: ClassVar[str]
    record: ClassVar[type[KindSection]]
    example: ClassVar[str]

    def load(self, folder: Path, text: str) -> Settings:
        file = folder / "strongroom.toml"
        file.write_text(f"[{self.section}.mine]\n{text}\n")
        return load_settings({"STRONGROOM_STATE_DIR": str(folder / "state")}, file)

    def test_the_installed_package_declares_it_by_its_kind(self) -> None:
        kind = kind_of(self.record)
        assert kind is not None
        assert find_kind(self.section, kind, KindSection) is self.record

    def test_it_is_listed_with_its_version_and_file_once_it_is_loaded(self, tmp_path: Path) -> None:
        self.load(tmp_path, self.example)
        kind = kind_of(self.record) or ""
        listed = [each for each in loaded_plugins() if (each.section, each.kind) == (self.section, kind)]
        assert bool(listed) != (kind in OWN[self.section])
        assert all(each.version and Path(each.file).is_file() for each in listed)

    def test_it_says_for_which_version_it_was_written(self) -> None:
        own = kind_of(self.record) in OWN[self.section]
        assert own or self.record.PLUGIN_API == API

    def test_it_is_frozen_and_so_is_all_that_it_holds(self) -> None:
        assert self.record.__struct_config__.frozen
        for name, field in fields_of(self.record).items():
            assert not is_table(field.kind) or get_args(field.kind) == (str, str), (
                f"{name}: a setting is one thing, a tuple of such, or a table of texts"
            )

    def test_what_makes_a_thing_takes_what_it_is_given_and_connects_to_nothing(self, tmp_path: Path) -> None:
        if self.section == "keys":  # to make one may need its file
            for by in (self.record.MADE_BY, getattr(self.record, "OPENED_BY", "")):
                if by:
                    signature(resolve(by)).bind("mine", None, None, None)
            return
        settings = self.load(tmp_path, self.example)
        made = resolve(self.record.MADE_BY)("mine", getattr(settings, self.section)["mine"], settings)
        assert made is not None

    def test_what_lies_on_this_machine_says_so(self, tmp_path: Path) -> None:
        found = getattr(self.load(tmp_path, self.example), self.section)["mine"]
        if self.section == "targets" and not found.REMOTE:
            named = {name for name, field in fields_of(self.record).items() if field.kind is Path}
            places = {getattr(found, name) for name in named - set(self.record.SECRET_FILES)} - {None}
            assert not places or found.folder in places, "folder says where it is: no key may be stored there"

    def test_its_example_is_read(self, tmp_path: Path) -> None:
        settings = self.load(tmp_path, self.example)
        assert type(getattr(settings, self.section)["mine"]) is self.record

    def test_an_unknown_key_is_a_problem(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigProblems, match="unknown key"):
            self.load(tmp_path, f"{self.example}\nno_such_key = 1")

    def test_what_has_no_default_is_asked_for(self, tmp_path: Path) -> None:
        given = tomllib.loads(self.example)
        for name, field in fields_of(self.record).items():
            if field.required and name != "kind":
                lines = [line for line in self.example.splitlines() if line.partition("=")[0].strip() != name]
                assert name in given
                with pytest.raises(ConfigProblems, match=rf"{name}: missing"):
                    self.load(tmp_path, "\n".join(lines))

    def test_every_setting_is_described_with_an_example(self) -> None:
        assert (self.record.__doc__ or "").strip()
        for name, field in fields_of(self.record).items():
            assert field.description, f"{name} says nothing of its meaning: Meta(description=…)"
            assert field.examples, f"{name} has no example: Meta(examples=[…])"
            assert f"`{name} = " in kind_markdown(self.record) or name == "kind"

    def test_no_setting_holds_a_secret(self) -> None:
        for name, field in fields_of(self.record).items():
            secret = any(word in name for word in ("password", "secret", "token", "passphrase"))
            assert not secret or field.kind is Path, f"{name} is to name a file that holds it"

    def test_what_names_a_secret_file_is_checked_for_its_mode(self) -> None:
        for name in self.record.SECRET_FILES:
            assert fields_of(self.record)[name].kind is Path
