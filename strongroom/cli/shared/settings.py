"""The full configuration, and how a person is asked for what it does not say."""

from __future__ import annotations

from functools import cache

from strongroom.cli.shared import passphrases
from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.output import Output
from strongroom.config import Settings, load_settings
from strongroom.wiring.prompts import Ask


def settings() -> Settings:
    """Return the configuration. Raises ConfigProblems, with every problem at once."""
    return load_settings()


def asking(output: Output | None = None) -> Ask:
    """Return how a person is asked for what opens.

    Args:
        output: given to seal with a passphrase that is asked for: twice, and with a warning
            if it is weak. Without it one is asked for once, to open.
    """
    passphrase = cache(lambda: _ask_passphrase() if output is None else passphrases.ask_new(output))
    return Ask(passphrase=passphrase, pin=lambda words: prompts.hidden(f"{words}: "))


def _ask_passphrase() -> str:
    return prompts.hidden("Passphrase: ")
