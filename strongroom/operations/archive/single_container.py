"""One container alone: what is left where the file or target around it is lost. It opens by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from strongroom.container.certificate import require_in_time
from strongroom.container.manifest import Counts, Manifest, ManifestSelection
from strongroom.container.ranges import RangeReader
from strongroom.container.reader import Container
from strongroom.keys import Identity
from strongroom.model import Secret
from strongroom.operations.archive.open import Backup, Listed


class LoneContainer(Backup):
    """A container read as a backup. There is no manifest: its index says what it holds, and its own
    certificate who sealed it."""

    def __init__(self, container: Container, size: int) -> None:
        self.manifest = _manifest(container, size)
        self._container = container

    @classmethod
    def open(
        cls, reader: RangeReader, identities: Sequence[Identity], *, trusted: frozenset[str] | None
    ) -> LoneContainer:
        """Open it with whichever identity fits.

        Raises:
            FormatError: as :meth:`strongroom.container.reader.Container.open` does; UntrustedSigner, too, if
                a retired key sealed it after its time.
        """
        container = Container.open(reader, identities, trusted=trusted)
        require_in_time(container.certificate, container.about.created_at, trusted)
        return cls(container, reader.size)

    @property
    def described(self) -> str:
        """What of a backup it is."""
        about = self._container.about
        return f"one container, {about.piece + 1} of the {about.pieces} of backup {about.backup_id}"

    @property
    def aside(self) -> tuple[()]:
        return ()

    def unlock(self) -> None:
        """It is open."""

    def readers(self) -> Manifest:
        """Return the manifest: nothing is known of a rotation."""
        return self.manifest

    def containers(self) -> Iterator[Container]:
        yield self._container

    def rows(self) -> Iterator[Listed]:
        """Yield the metadata of every secret in it."""
        return self._container.rows()

    def secrets(self) -> Iterator[Secret]:
        """Yield every secret in it."""
        return self._container.secrets()

    def find(self, name: str) -> Secret | None:
        return self._container.find(name)


def _manifest(container: Container, size: int) -> Manifest:
    """Return what a manifest would say of this container alone."""
    about = container.about
    return Manifest(
        backup_id=about.backup_id,
        policy=about.policy,
        source=about.source,
        created_at=about.created_at,
        values=about.values,
        sealed=True,
        selection=ManifestSelection(),
        counts=Counts(secrets=container.secrets_count, versions=container.versions_count, size=size),
        recipients=(),
        targets=(),
        quorum=0,
        regions=0,
        providers=0,
        not_contained=(),
        containers=(),
        previous=None,
        trust=0,
    )
