"""What every destination holds to when it writes a secret."""

from __future__ import annotations

from msgspec.structs import replace

from strongroom.container.errors import VerificationFailed
from strongroom.errors import SourceError, StrongroomError
from strongroom.model import Media, Secret, SecretBytes, SecretVersion, VersionState
from strongroom.sources import Refuse, SecretChange
from strongroom.sources.errors import SourceChanged, SourceClosed
from strongroom.system.errors import Conflict


def concerns_one(error: StrongroomError) -> bool:
    """Say whether an error is about one secret, so that others can still be read and written."""
    if isinstance(error, SourceError):
        return isinstance(error, SourceChanged) or not (error.transient or isinstance(error, SourceClosed))
    return isinstance(error, Conflict | VerificationFailed)


class Refusing:
    """Hands an error about one secret to ``refuse``, if there is one; lets any other pass."""

    def __init__(self, name: str, refuse: Refuse | None) -> None:
        self._name = name
        self._refuse = refuse

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if self._refuse is None or not isinstance(error, StrongroomError) or not concerns_one(error):
            return False
        self._refuse(self._name, error)
        return True


def check_writable(secret: Secret) -> None:
    """Refuse what could not be read back as it was: no version, no order, no value, no name."""
    check_name(secret.name)
    if not secret.versions:
        raise SourceError(f"secret {secret.name!r} has no version to write")
    last = -1
    for version in secret.versions:
        if version.number <= last:
            raise SourceError(f"the versions of secret {secret.name!r} do not ascend")
        if version.value is None and version.state is VersionState.LIVE:
            raise SourceError(
                f"version {version.number} of secret {secret.name!r} has no value to write",
                hint="A metadata-only backup holds no values. Restore from a full one.",
            )
        last = version.number


def check_name(name: str) -> None:
    """Refuse a name that is empty or that not every store can keep."""
    if not name or "\x00" in name or not is_text(name):
        raise SourceError(f"{name!r} cannot be the name of a secret", hint="Use printable text.")


def is_text(name: str) -> bool:
    """Say whether a string is Unicode text, and not undecoded bytes in disguise."""
    try:
        return name.isascii() or bool(name.encode())
    except UnicodeEncodeError:
        return False


def media_of(value: bytes) -> Media:
    """Say how a value's bytes are to be read when nobody said so."""
    try:
        value.decode()
    except UnicodeDecodeError:
        return Media.BINARY
    return Media.TEXT


def only(name: str, value: bytes) -> Secret:
    """Make a secret of mere bytes: one version, and nothing else known of it."""
    return Secret(
        name=name, versions=(SecretVersion(number=1, value=SecretBytes(value), media=media_of(value)),)
    )


def check_expected(change: SecretChange, actual: int | None) -> None:
    """Refuse a change whose writer saw another version than there is now."""
    if change.expected != actual:
        saw, have = (_words(number) for number in (change.expected, actual))
        raise Conflict(f"secret {change.secret.name!r} has {have}, but the writer expected {saw}")


def on_top(versions: tuple[SecretVersion, ...], head: int) -> tuple[SecretVersion, ...]:
    """Renumber ``versions`` so that they follow version ``head``."""
    return tuple(replace(version, number=head + step) for step, version in enumerate(versions, 1))


def _words(number: int | None) -> str:
    return "no version" if number is None else f"version {number}"
