"""What a person gives beside the configuration to open with: key files, private keys, a passphrase."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from strongroom.cli.shared import identities, passphrases
from strongroom.cli.shared.options import FurtherOpeningOptions, OpeningOptions
from strongroom.cli.terminal.output import Output
from strongroom.keys.passphrase import PassphraseIdentity

if TYPE_CHECKING:
    from strongroom.keys import Opener
    from strongroom.operations.engine.services import Services


def with_identities(services: Services, given: FurtherOpeningOptions, output: Output) -> Services:
    """Return the services of this process, which open with what was given as well."""
    return opening_with(services, tuple(typed_identities(given, output)))


def opening_with(services: Services, given: tuple[Opener, ...]) -> Services:
    """Return the services of this process, which open with these keys as well."""
    return dataclasses.replace(services, identities=lambda: (*services.identities(), *given))


def typed_identities(given: FurtherOpeningOptions | OpeningOptions, output: Output) -> Iterator[Opener]:
    """Yield what was given on the command line, or in the environment."""
    yield from (identities.load_key(path) for path in given.identity)
    if (passphrase := passphrases.read_given(given.passphrase_file, output)) is not None:
        yield PassphraseIdentity(passphrase)
