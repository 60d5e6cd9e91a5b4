"""How a person is asked for what the configuration does not say."""

from __future__ import annotations

from functools import cache

from strongroom.cli.shared import passphrases
from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.output import Output
from strongroom.wiring.keys import Ask


def asking(output: Output | None = None) -> Ask:
    """Return how a person is asked for what opens.

    Args:
        output: given to seal with a passphrase that is asked for: twice, and with a warning
            if it is weak. Without it one is asked for once, to open.
    """
    passphrase = cache(lambda: _ask_passphrase() if output is None else passphrases.ask_new(output))
    return Ask(
        passphrase=passphrase,
        pin=lambda words: prompts.hidden(f"{words}: "),
        key_file=passphrases.for_key_file,
    )


def _ask_passphrase() -> str:
    return prompts.hidden("Passphrase: ")
