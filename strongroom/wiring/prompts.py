"""Asking a person: only where one sits, which a worker never does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Ask:
    """How a person is asked for what neither a file nor the environment gives.

    ``pin`` is shown which token it is for, and how many tries are left.
    """

    passphrase: Callable[[], str]
    pin: Callable[[str], str]
