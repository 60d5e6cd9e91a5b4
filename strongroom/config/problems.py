"""What can be wrong with a configuration, said so that a person can put it right."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from msgspec import Struct

from strongroom import words
from strongroom.errors import ConfigError
from strongroom.words import nearest, plural

KeyPath = tuple[str | int, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


class ConfigProblem(Struct, frozen=True, kw_only=True):
    """One thing to put right.

    Args:
        where: the file, or the environment variable.
        key: the setting, e.g. ``policies.weekly.targets[1]``; empty if it is the file.
        what: what is wrong. It repeats names at most, never a value: somebody may have
            written a passphrase into the wrong place.
        right: what would be right.
    """

    where: str
    key: str
    what: str
    right: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.key, self.what) if part) + f". {self.right}"


class ConfigProblems(ConfigError):
    """The configuration is wrong; nothing was read or written.

    ``problems`` has every single thing that is wrong.
    """

    default_hint = "Put all of it right, then run 'strongroom check config'."

    def __init__(
        self, message: str, *, hint: str | None = None, problems: Sequence[ConfigProblem] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)

    @classmethod
    def of(cls, problems: Sequence[ConfigProblem]) -> ConfigProblems:
        """Return the error that names each problem."""
        first = f"The configuration has {plural(len(problems), 'problem')}:"
        return cls("\n  ".join([first, *map(str, problems)]), problems=problems)


def dotted(path: KeyPath) -> str:
    """Write a path as in TOML: ``policies.weekly.targets[1]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE.fullmatch(part) else f'"{part}"')
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Name the closest of the known words, else all of them."""
    known = sorted(known)
    return words.did_you_mean(word, known).strip() or nearest(word, known)
