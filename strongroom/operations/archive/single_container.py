"""One container alone: what is left where the file or target around it is lost. It opens by itself."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.container.certificate import require_in_time
from strongroom.container.manifest import ContainerEntry, Counts, Manifest, ManifestSelection
from strongroom.container.ranges import RangeReader
from strongroom.container.reader import Container
from strongroom.keys import Identity
from strongroom.operations.archive.open import Backup


class LoneContainer(Backup):
    """A container read as a backup. There is no manifest: its index says what it holds, and its own
    certificate who sealed it."""

    def __init__(self, container: Container, size: int) -> None:
        self.manifest = _manifest(container, size)
        self._container = container
        self._name_key = container.about.name_key

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

    def container(self, entry: ContainerEntry) -> Container:  # noqa: ARG002 - there is no other
        """It is the only one."""
        return self._container


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
        containers=(_entry(container, size),),
        previous=None,
        trust=0,
    )


def _entry(container: Container, size: int) -> ContainerEntry:
    """Return what a manifest's entry would say of it, but for its receipt: any name may be in it."""
    return ContainerEntry(
        piece=container.about.piece,
        sha256="",
        size=size,
        secrets=container.secrets_count,
        versions=container.versions_count,
        first="0" * 32,
        last="f" * 32,
        wrapping_key=container.record.id,
        signer="",
        container_signature="",
        signature="",
    )
