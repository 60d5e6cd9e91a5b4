"""Asking a person: only where one sits, which a worker never does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from strongroom.keys.prompting import Passphrases


@dataclass(frozen=True, kw_only=True)
class Ask:
    """How a person is asked for what neither a file nor the environment gives.

    ``pin`` is shown which token it is for, and how many tries are left. ``key_file`` gives the passphrases to
    try on the sealed file of a key.
    """

    passphrase: Callable[[], str]
    pin: Callable[[str], str]
    key_file: Passphrases
