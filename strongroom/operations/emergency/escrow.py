"""escrow: what a machine needs to be rebuilt, as secrets that are sealed like any others.

It holds the installation's own keys (the local store's master key, the digests' key, the
roles' signing keys), the configuration, and who may approve. With it, the store's database is readable again
from a copy, old backups can still be compared, and new ones are trusted as before.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from strongroom.errors import ConfigError
from strongroom.model import Media, Secret, SecretBytes, SecretVersion
from strongroom.sources.errors import EmptySource
from strongroom.sources.memory import MemoryStore
from strongroom.system.atomic_file import write_whole
from strongroom.system.errors import WouldOverwrite

SOURCE = "escrow"
CONFIGURATION = "strongroom.toml"
ALLOWED_SIGNERS = "allowed_signers"
_PATTERNS = ("keys/*.key", "keys/roles/*.key", "keys/roles/trusted.json", "keys/roles/trust/*.json")
_HINT = "Nothing was changed. Open the escrow into an empty state directory."


def gather(state_dir: Path, config_file: Path | None, *, allowed_signers: Path | None = None) -> MemoryStore:
    """Return everything that goes into an escrow, as a source.

    Raises:
        EmptySource: there is no key, so there is nothing to keep yet.
        ConfigError: a file cannot be read.
    """
    paths = {str(path.relative_to(state_dir)): path for path in _own_files(state_dir)}
    if not paths:
        raise EmptySource(
            f"There is no key under {state_dir} yet: nothing was stored or signed here.",
            hint="Nothing was written. Check STRONGROOM_STATE_DIR.",
        )
    if config_file is not None:
        paths[CONFIGURATION] = config_file
    if (
        allowed_signers is not None and allowed_signers.is_file()
    ):  # what has to be approved could not be, on the new machine
        paths[ALLOWED_SIGNERS] = allowed_signers
    return MemoryStore((_secret(name, path) for name, path in paths.items()), name=SOURCE)


def put_back(secrets: Iterable[Secret], state_dir: Path) -> list[Path]:
    """Write what an escrow holds under a state directory; return what was written.

    Raises:
        ConfigError: it holds a name that no escrow has.
        WouldOverwrite: something else is there under one of the names; nothing was written.
    """
    wanted = {_checked(secret.name): _value(secret) for secret in secrets}
    missing = list(_missing(wanted, state_dir))
    for path, content in missing:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, content)
    return [path for path, _ in missing]


def _own_files(state_dir: Path) -> Iterator[Path]:
    for pattern in _PATTERNS:
        yield from sorted(path for path in state_dir.glob(pattern) if path.is_file())


def _secret(name: str, path: Path) -> Secret:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"'{path}' cannot be read: {os.strerror(error.errno or 0)}.") from None
    version = SecretVersion(number=1, value=SecretBytes(content), media=Media.BINARY)
    return Secret(name=name, type="installation", versions=(version,))


def _checked(name: str) -> str:
    # A name becomes a path: only those that an escrow can hold.
    if name not in (CONFIGURATION, ALLOWED_SIGNERS) and not any(
        _fits(name, pattern) for pattern in _PATTERNS
    ):
        raise ConfigError(
            f"{name!r} is not part of an escrow.", hint="This is another kind of backup: use 'restore'."
        )
    return name


def _fits(name: str, pattern: str) -> bool:
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts and str(path) == name and path.match(pattern)


def _value(secret: Secret) -> bytes:
    value = secret.current.value
    return b"" if value is None else value.reveal()


def _missing(wanted: Mapping[str, bytes], state_dir: Path) -> Iterator[tuple[Path, bytes]]:
    for name, content in wanted.items():
        path = state_dir / name
        if not path.exists():
            yield path, content
        elif path.read_bytes() != content:
            raise WouldOverwrite(f"'{path}' exists and is another than the escrow's.", hint=_HINT)
