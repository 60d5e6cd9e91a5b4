"""Passphrases that tests seal with cost the least that the format allows, not a quarter of a second each.

``tests/warm_server.py`` does the same for command lines. What a passphrase costs outside of tests is held by
``tests/keys/test_passphrase.py``, which asks for :data:`REAL`.
"""

from __future__ import annotations

from strongroom.container.wrapping import LOG_N
from strongroom.keys import passphrase

REAL = passphrase.DEFAULT_LOG_N


def pytest_configure() -> None:
    """Have scrypt cost little in this process and in those that it forks."""
    passphrase.DEFAULT_LOG_N = LOG_N[0]
