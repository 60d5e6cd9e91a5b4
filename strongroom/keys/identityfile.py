"""A file that opens: a key file, or a private key; which of them, it says itself."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from strongroom.errors import UsageError
from strongroom.keys import Opener
from strongroom.keys.passphrase import Passphrases, nobody
from strongroom.system import files
from strongroom.system.lazy import lazy

# Each kind is imported by who has it: half of what opening a backup imports would be for the other.
_KINDS = {
    "strongroom-key-": lazy("strongroom.keys.keyfile:load_identity"),
    "strongroom-private-key-": lazy("strongroom.keys.hpke:load_identity"),
}


def load_identity(path: Path, passphrases: Passphrases = nobody) -> Opener:
    """Return what a file opens with.

    Args:
        passphrases: what a file that is sealed by one is tried with, once it is needed.

    Raises:
        UsageError, ConfigError: it is no key, or is damaged or open to others.
    """
    # Say so before anything else does, for its mode would be complained about first.
    with suppress(OSError), path.open("rb") as file:
        if file.read(5) == b"srpub":
            raise UsageError(
                f"{path} is the public half, which opens nothing.", hint="Give the private half."
            )
    kind = files.kind_of(path).replace(files.SEALED, "strongroom-", 1)
    for beginning, load in _KINDS.items():
        if kind.startswith(beginning):
            opener: Opener = load(path, passphrases)
            return opener
    raise UsageError(f"'{path}' is neither a key file nor a private key.", hint="Check the path.")
