"""Loading a configuration given as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from strongroom.config import ConfigProblem, ConfigProblems, Settings, load_settings


class Place:
    """A directory with a ``strongroom.toml`` and an otherwise empty environment."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / "strongroom.toml"
        self.env = {"HOME": str(path / "home")}

    def load(self, text: str = "", env: Mapping[str, str] | None = None) -> Settings:
        self.file.write_text(text)
        return load_settings({**self.env, **(env or {})}, self.file)

    def problems(self, text: str = "", env: Mapping[str, str] | None = None) -> list[ConfigProblem]:
        return problems_from(lambda: self.load(text, env))


def problems_from(load: Callable[[], Settings]) -> list[ConfigProblem]:
    try:
        load()
    except ConfigProblems as error:
        return list(error.problems)
    return []
