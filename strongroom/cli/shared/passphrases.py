"""Where a passphrase comes from, and whether it is worth having."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.output import Output
from strongroom.errors import ConfigError, UsageError
from strongroom.keys.passphrase import may_ask
from strongroom.system.files import is_exposed, read_private

if TYPE_CHECKING:
    from strongroom.wiring.keys import Ask

LEAST_BITS: Final = 60
"""What 600,000 rounds of PBKDF2, or scrypt, keep out of reach of many graphics cards for years."""

_COMMON = ("password", "passwort", "passphrase", "qwerty", "12345", "letmein", "secret", "strongroom")


_TRIES: Final = 3
_given: list[str] = []
"""What was given to this process by its option or environment: tried on the sealed files of keys, too."""


def read_given(file: Path | None, output: Output) -> str | None:
    """Return the passphrase that ``--passphrase-file`` or the environment gives, or ``None``."""
    passphrase = from_environment(output) if file is None else read_file(file, output)
    if passphrase is not None:
        _given[:] = [passphrase]
    return passphrase


def for_key_file(path: Path) -> Iterator[str]:
    """Yield the passphrases to try on the sealed file of a key: what is given, then what a person types."""
    if not _given and (file := os.environ.get("STRONGROOM_PASSPHRASE_FILE")):
        yield read_private(Path(file)).rstrip("\r\n")
    else:
        yield from _given or filter(None, [os.environ.get("STRONGROOM_PASSPHRASE")])
    if may_ask() and prompts.somebody_there():
        for _ in range(_TRIES):
            yield prompts.hidden(f"Passphrase of '{path}': ")


def from_environment(output: Output) -> str | None:
    """Return the passphrase of the environment, or ``None``; the file counts first."""
    if file := os.environ.get("STRONGROOM_PASSPHRASE_FILE"):
        return read_file(Path(file), output)
    return os.environ.get("STRONGROOM_PASSPHRASE") or None


def read_file(path: Path, output: Output) -> str:
    """Return what a file holds, without the line feed at its end.

    It may be a pipe, as ``<(pass show backup)`` is.

    Raises:
        ConfigError: it cannot be read, or has nothing in it.
    """
    try:
        with path.open(encoding="utf-8") as file:
            passphrase = file.read(65_536).rstrip("\r\n")
            exposed = is_exposed(os.fstat(file.fileno()))
    except (OSError, UnicodeDecodeError):
        raise ConfigError(
            f"The passphrase file {path} cannot be read.", hint="Check its path and mode."
        ) from None
    if not passphrase:
        raise ConfigError(f"The passphrase file {path} is empty.", hint="Write the passphrase into it.")
    if exposed:
        output.warn(f"Others on this machine may read {path}. Run: chmod 600 '{path}'")
    return passphrase


def warn_if_weak(passphrase: str, output: Output) -> str:
    """Return a passphrase, warning if it could be guessed."""
    if estimate_bits(passphrase) < LEAST_BITS:
        output.warn(
            "This passphrase is weak: anyone who gets what it seals can try guesses for years. "
            "Use six random words or 20 random letters."
        )
    return passphrase


def for_new_key(file: Path | None, output: Output, *, ask: bool) -> str | None:
    """Return the passphrase that shall seal a new key's file, ``None`` if none shall."""
    if file is not None:
        return warn_if_weak(read_file(file, output), output)
    if not ask:
        return None
    if not prompts.somebody_there():
        raise UsageError(
            "There is no terminal to ask for the new key's passphrase on.",
            hint="Nothing was written. Give --passphrase-file FILE.",
        )
    return _ask_twice("Passphrase for the new key's file", output)


def ask_new(output: Output) -> str:
    """Ask for a passphrase to seal with."""
    if not prompts.somebody_there():
        raise UsageError(
            "Nobody would be able to open this backup: no recipient and no passphrase is given.",
            hint="Give --recipient or --passphrase-file, or set STRONGROOM_PASSPHRASE_FILE.",
        )
    return _ask_twice("Passphrase for the backup", output)


def _ask_twice(prompt: str, output: Output) -> str:
    passphrase = prompts.hidden_twice(prompt)
    if not passphrase:
        raise UsageError("An empty passphrase protects nothing.", hint="Nothing was written. Repeat.")
    return warn_if_weak(passphrase, output)


def estimate_bits(passphrase: str) -> float:
    """Estimate, generously, how many bits of guessing a passphrase costs."""
    words = passphrase.lower()
    for common in _COMMON:
        words = words.replace(common, common[:1])
    several = words.split()
    if len(several) > 2:
        return len(set(several)) * 11.0
    return len(words) * math.log2(max(2, min(len(set(words)) * 2, _alphabet(passphrase))))


def _alphabet(text: str) -> int:
    kinds = ((str.islower, 26), (str.isupper, 26), (str.isdigit, 10))
    size = sum(many for is_kind, many in kinds if any(map(is_kind, text)))
    return size + (30 if any(not c.isalnum() for c in text) else 0)


# -- How a person is asked for what the configuration does not say ----------------------------------


def asking(output: Output | None = None) -> Ask:
    """Return how a person is asked for what opens.

    Args:
        output: given to seal with a passphrase that is asked for: twice, and with a warning
            if it is weak. Without it one is asked for once, to open.
    """
    from strongroom.wiring.keys import Ask

    passphrase = cache(lambda: _ask_passphrase() if output is None else ask_new(output))
    return Ask(
        passphrase=passphrase,
        pin=lambda words: prompts.hidden(f"{words}: "),
        key_file=for_key_file,
    )


def _ask_passphrase() -> str:
    return prompts.hidden("Passphrase: ")
