"""Restores one key of a KV mount with check-and-set, and says what could not be reproduced."""

from __future__ import annotations

import re
from contextlib import suppress

from strongroom.errors import SourceError
from strongroom.model import Media, Secret
from strongroom.sources import SecretChange
from strongroom.sources.errors import SourceChanged
from strongroom.sources.vault import wrapping
from strongroom.sources.vault.explain import GO_ON
from strongroom.sources.vault.history import PLACEHOLDER, HistoryPlan, effective, plan
from strongroom.sources.vault.key import KeyMetadata, KvKey
from strongroom.sources.vault.kv_form import fitting, keeps_numbers, kept
from strongroom.sources.vault.losses import VaultLosses
from strongroom.sources.vault.reading import KeyReader
from strongroom.sources.vault.records import KeyInfo, Mount, MountConfig
from strongroom.sources.vault.secrets import VaultFacts, custom_of, data_of, facts_of
from strongroom.sources.vault.times import seconds_of
from strongroom.vault.client import Vault

PLAIN_ONLY = "KV version 1 keeps one version of a JSON object that is not empty, and nothing else"
INEXACT = "it holds a number that KV version 2 rounds; a mount of KV version 1 keeps it exactly"
_EMPTY = re.compile(rb"\s*\{\s*\}\s*")
TIMES = (
    "when secrets and versions were created, changed and deleted: the server sets these times itself, and a "
    "destroyed version no longer shows that it was deleted before"
)


class KeyWriter:
    """Writes keys of one mount."""

    def __init__(self, vault: Vault, mount: Mount, config: MountConfig | None, losses: VaultLosses) -> None:
        self._vault = vault
        self._mount = mount
        self._config = config or MountConfig()
        self._losses = losses
        self._reader = KeyReader(vault, mount, config, tag_metadata=frozenset())

    def write(self, change: SecretChange, path: str) -> None:
        """Write one secret, whose ``expected`` was just found to be true.

        Raises:
            Conflict: somebody else writes to the key at the same time.
            SourceError: the mount cannot keep such a secret.
        """
        if self._mount.version == 1:
            self._write_plain(change, path)
        elif not has_numbers_kept(change.secret):
            raise SourceError(f"secret {change.secret.name!r} was not written: {INEXACT}", hint=GO_ON)
        else:
            self._write_key(change, KvKey(self._vault, self._mount, path, name=change.secret.name), path)

    def _write_key(self, change: SecretChange, key: KvKey, path: str) -> None:
        secret = change.secret
        found = self._reader.read(secret.name, path) if change.expected is not None else None
        info = (key.info() if found else None) or KeyInfo()
        todo = plan(secret, found, self._config)
        facts = facts_of(secret) or VaultFacts()
        custom = _custom(secret, info)
        settings = KeyMetadata(key, info)
        settings.become(
            max_versions=todo.limit,
            cas_required=facts.cas_required,
            metadata_cas_required=facts.metadata_cas_required,
            custom_metadata=fitting(custom),
            delete_version_after=facts.delete_version_after if todo.is_stamped_first else "0s",
        )
        self._write_versions(key, settings, todo, facts, wrap=wrapping.MARK in custom)
        key.mark("delete", todo.delete)
        key.mark("destroy", todo.destroy)
        settings.become(max_versions=facts.max_versions, delete_version_after=facts.delete_version_after)
        self._ensure(settings, todo)
        settings.pad(facts.current_metadata_version if found is None else 0)
        if self._vault.reads_late:
            self._vault.wait_until(
                lambda: _shows(key.info(), todo, settings.now) and self._reads_back(secret, path)
            )
        self._report(secret, todo, facts, custom, settings)

    def _reads_back(self, secret: Secret, path: str) -> bool:
        """Say whether the newest version is there whole: its data may show later than its metadata."""
        with suppress(SourceChanged):
            found = self._reader.read(secret.name, path)
            wanted = kept(secret).current
            there = kept(found).current if found else None
            return there is not None and (there.value, there.state) == (wanted.value, wanted.state)
        return False

    def _write_versions(
        self, key: KvKey, settings: KeyMetadata, todo: HistoryPlan, facts: VaultFacts, *, wrap: bool
    ) -> None:
        """Set when versions delete themselves just before the first that does: it counts from there on."""
        for version in todo.write:
            if version.value is not None:
                after = facts.delete_version_after if version.number in todo.stamped else "0s"
                settings.become(delete_version_after=after)
            data = PLACEHOLDER if version.value is None else data_of(version, wrap=wrap)
            if version.number:
                key.put(version.number, data)

    def _ensure(self, settings: KeyMetadata, todo: HistoryPlan) -> None:
        """Make a key that has metadata and never had a version."""
        if not any(version.number for version in todo.write) and not settings.now.current_metadata_version:
            settings.pad(1)

    def _write_plain(self, change: SecretChange, path: str) -> None:
        secret = change.secret
        version = secret.current
        if not is_plain(secret):
            raise SourceError(
                f"secret {secret.name!r} was not written: {PLAIN_ONLY}",
                hint="Make the mount one of KV version 2. " + GO_ON,
            )
        if change.expected is not None:
            self._losses.add(
                f"{secret.name!r}: KV version 1 keeps no versions, so the former value was replaced"
            )
        self._vault.post(
            self._mount.path,
            path,
            body=data_of(version, wrap=False),
            namespace=self._mount.namespace,
            repeatable=True,
        )
        if self._vault.reads_late:
            self._vault.wait_until(lambda: self._reads_back(secret, path))

    def _report(
        self,
        secret: Secret,
        todo: HistoryPlan,
        facts: VaultFacts,
        custom: dict[str, str],
        settings: KeyMetadata,
    ) -> None:
        say, name = self._losses.of, secret.name
        if secret.created_at or any(version.created_at for version in secret.versions):
            self._losses.add(TIMES)
        say(
            name,
            todo.delete,
            "is marked as deleted again, but its data is gone: no backup can read deleted data",
        )
        self._report_gaps(secret, todo)
        self._report_stamps(secret, todo, facts)
        dropped = sorted(custom.keys() - fitting(custom).keys())
        if dropped:
            self._losses.add(
                f"{name!r}: custom metadata {', '.join(map(repr, dropped))} breaks the server's limits"
            )
        written = settings.now.current_metadata_version
        if facts.current_metadata_version and written != facts.current_metadata_version:
            self._losses.add(
                f"{name!r}: its metadata counts {written} writes, not {facts.current_metadata_version}"
            )

    def _report_gaps(self, secret: Secret, todo: HistoryPlan) -> None:
        known = {version.number for version in secret.versions}
        left = secret.current.number - effective(todo.limit, self._config)
        gaps = [number for number in todo.destroy if number not in known and number > left]
        if secret.current.number == (todo.write[-1].number if todo.write else 0):
            self._losses.of(secret.name, gaps, "shows as destroyed, and was not there at all")

    def _report_stamps(self, secret: Secret, todo: HistoryPlan, facts: VaultFacts) -> None:
        mount = seconds_of(self._config.delete_version_after)
        live = {version.number for version in todo.write if version.value is not None}
        if mount > 0:
            what = (
                f"will delete itself {self._config.delete_version_after} from now, as the mount says for all"
            )
            self._losses.of(secret.name, live - todo.stamped, what)
        timed = mount >= 0 and (mount > 0 or seconds_of(facts.delete_version_after) > 0)
        what = "will delete itself later than it would have" if timed else "will no longer delete itself"
        self._losses.of(secret.name, live & todo.stamped, what)


def _shows(info: KeyInfo | None, todo: HistoryPlan, written: KeyInfo) -> bool:
    """Say whether a key is as it was written: each of the writes is a change of its metadata."""
    if info is None or info.max_versions != written.max_versions:
        return False
    versions = info.versions
    return (
        all(version.number <= info.current_version for version in todo.write)
        and all(versions[number].destroyed for number in todo.destroy if number in versions)
        and all(versions[number].deletion_time for number in todo.delete if number in versions)
    )


def _custom(secret: Secret, key_info: KeyInfo) -> dict[str, str]:
    """Return the custom metadata to write. Older versions that were wrapped stay so."""
    custom = custom_of(secret) or {}
    if (key_info.custom_metadata or {}).get(wrapping.MARK) == "true":
        custom[wrapping.MARK] = "true"
    return custom


def has_numbers_kept(secret: Secret) -> bool:
    """Say whether KV version 2 gives back every number of a secret as it is."""
    values = (version.value for version in secret.versions if version.media is Media.JSON)
    return all(value is None or keeps_numbers(value.reveal()) for value in values)


def is_plain(secret: Secret) -> bool:
    """Say whether KV version 1 can keep a secret."""
    version = secret.current
    is_object = version.media is Media.JSON and not wrapping.needs_wrapping(secret.versions)
    return (
        is_object
        and version.value is not None
        and not _EMPTY.fullmatch(version.value.reveal())
        and len(secret.versions) == 1
        and not (custom_of(secret) or {})
    )
