"""Restores one key of a KV mount with check-and-set, and says what could not be reproduced."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from strongroom.errors import SourceError
from strongroom.model import Media, Secret
from strongroom.sources import SecretChange
from strongroom.sources.errors import SourceChanged
from strongroom.sources.vault import secrets
from strongroom.sources.vault.reading import KeyReader
from strongroom.sources.vault.records import (
    DATA,
    GO_ON,
    KEY,
    WROTE,
    KeyInfo,
    KeyVersion,
    Mount,
    MountConfig,
    seconds_of,
)
from strongroom.sources.vault.secrets import (
    PLACEHOLDER,
    HistoryPlan,
    VaultFacts,
    canonical,
    custom_of,
    data_of,
    effective_limit,
    facts_of,
    fitting,
    keeps_numbers,
    kept,
    plan,
)
from strongroom.system.errors import Conflict
from strongroom.vault.answers import (
    MANY_STRINGS,
    NO_SPACE,
    OTHER_VERSION,
    Ambiguous,
    ServerAnswer,
    VaultRefused,
)
from strongroom.vault.client import DONE, Happened, Vault
from strongroom.words import plural

# -- The requests that change one KV v2 key, each safe to repeat after a lost reply -------------


_LARGE = "Most storages take 1 MiB in one entry, Consul 512 KiB. "
_FULL = "Give the server's disk room. "
PADDING = 64
"""Writes of metadata that are spent on reproducing how often it was written."""


class KvKey:
    """One key. ``name`` is for messages."""

    def __init__(self, vault: Vault, mount: Mount, path: str, *, name: str) -> None:
        self._vault = vault
        self._mount = mount
        self._path = path
        self.name = name

    def info(self) -> KeyInfo | None:
        """Return its metadata, or ``None`` if there is no such key."""
        answer = self._vault.get(self._mount.path, "metadata", self._path, namespace=self._mount.namespace)
        return answer.read(KEY).data if answer.found else None

    def put(self, number: int, data: bytes) -> ServerAnswer:
        """Write version ``number``, which must be the next one; return the answer, empty if it was lost.

        Args:
            data: a JSON object.

        Raises:
            Conflict: somebody else wrote that version.
        """
        body = b'{"options":{"cas":%d},"data":%b}' % (number - 1, data)
        lost = False

        def happened() -> bool:
            nonlocal lost
            lost = True
            return self._is_written(number, data)

        try:
            return self._post("data", body, happened=happened)
        except Ambiguous as ambiguous:
            raise SourceError(
                f"version {number} of secret {self.name!r} was not stored: {ambiguous.reason}",
                hint=(_FULL if ambiguous.reason == NO_SPACE else _LARGE) + GO_ON,
            ) from None
        except VaultRefused as refused:
            if refused.reason == MANY_STRINGS and self._is_next(number):
                return self._put_bare(number, data)
            if lost and refused.reason == OTHER_VERSION and self._shows(number, data):
                return DONE
            raise self._why(number, refused) from None

    def _put_bare(self, number: int, data: bytes) -> ServerAnswer:
        """Write without check-and-set, whose two strings are too many beside a secret of nearly a thousand.

        The answer says which version it became. If somebody was faster, theirs stays where it is.
        """
        try:
            answer = self._post("data", b'{"data":%b}' % data)
        except VaultRefused as refused:
            raise self._why(number, refused) from None
        if answer.data().get("version") != number:
            raise self._taken(number)
        return answer

    def configure(self, body: dict[str, Any]) -> None:
        """Write metadata, where its settings are as we know them."""
        before, lost = body["metadata_cas"], False

        def happened() -> bool:
            nonlocal lost
            lost = True
            return (self.info() or KeyInfo()).current_metadata_version not in (0, before)

        try:
            self._post("metadata", body, happened=happened)
        except VaultRefused as refused:
            if lost and refused.reason == OTHER_VERSION:
                return  # a standby that was asked did not show it yet
            raise SourceError(
                f"the settings of secret {self.name!r} were refused (status {refused.status})",
                hint="Somebody may be writing to it: look at its metadata. " + GO_ON,
            ) from None

    def mark(self, kind: str, numbers: Iterable[int]) -> None:
        """``delete`` or ``destroy`` versions; twice is the same as once."""
        versions = sorted(numbers)
        if versions:
            self._post(kind, {"versions": versions}, repeatable=True)

    def _post(
        self, kind: str, body: object, *, repeatable: bool = False, happened: Happened | None = None
    ) -> ServerAnswer:
        return self._vault.post(
            self._mount.path,
            kind,
            self._path,
            body=body,
            namespace=self._mount.namespace,
            repeatable=repeatable,
            happened=happened,
        )

    def _is_written(self, number: int, data: bytes) -> bool:
        """Look what became of a write whose reply was lost."""
        answer = self._vault.get(
            self._mount.path, "data", self._path, namespace=self._mount.namespace, version=number
        )
        version_data = answer.read(DATA).data if answer.found else None
        if version_data is None:
            return False
        if version_data.text is None or canonical(version_data.text) != canonical(data):
            raise self._taken(number)
        return True

    def _shows(self, number: int, data: bytes) -> bool:
        """Wait for a version that the server says is there: ours, if it is the data whose reply was lost. A
        standby that was asked for it may not have had it yet."""
        return self._vault.wait_until(lambda: self._is_written(number, data))

    def _why(self, number: int, refused: VaultRefused) -> Exception:
        """Tell "not the next version" from "I do not take such data"; not every server says which."""
        if refused.reason == OTHER_VERSION or not self._is_next(number):
            return self._taken(number)
        return SourceError(
            f"version {number} of secret {self.name!r} was refused (status {refused.status}"
            + (f": {refused.reason})" if refused.reason else ")"),
            hint="OpenBao takes at most 1,000 strings in one secret, Vault 1 MiB in one string. " + GO_ON,
        )

    def _is_next(self, number: int) -> bool:
        return (self.info() or KeyInfo()).current_version == number - 1

    def _taken(self, number: int) -> Conflict:
        return Conflict(f"somebody else wrote version {number} of secret {self.name!r} meanwhile")


class KeyMetadata:
    """A key's metadata as we know it to be; writes only what differs."""

    def __init__(self, key: KvKey, info: KeyInfo) -> None:
        self._key = key
        self.now = info

    def become(self, **wanted: Any) -> None:
        """Set what is not so already."""
        if changed := _differing(self.now, wanted):
            self._write(**changed)

    def pad(self, count: int) -> None:
        """Write until the metadata has been written so often, as far as that is reasonable."""
        missing = count - self.now.current_metadata_version
        for _ in range(missing if 0 < missing <= PADDING else 0):
            self._write(max_versions=self.now.max_versions)

    def _write(self, **fields: Any) -> None:
        self._key.configure(fields | {"metadata_cas": self.now.current_metadata_version})
        # Vault neither counts these writes nor looks at the number.
        self.now = replace(self.now, **fields, current_metadata_version=self.now.current_metadata_version + 1)


# -- Collects what a restore could not reproduce ------------------------------------------------


MOST = 10_000
"""Lines kept; of the rest there is a count."""


class VaultLosses:
    """Lines, each once, in the order in which they came; no value is in them. Threads may share it."""

    def __init__(self) -> None:
        self._lines: dict[str, None] = {}
        self._more = 0

    def add(self, line: str) -> None:
        """Note one."""
        if len(self._lines) < MOST:
            self._lines[line] = None
        else:
            self._more += 1

    def of(self, name: str, numbers: Iterable[int], what: str) -> None:
        """Note what became of versions of a secret, if there are any."""
        listed = spans(numbers)
        if listed:
            self.add(f"{name!r}, version {listed}: {what}")

    @property
    def lines(self) -> tuple[str, ...]:
        """All of them."""
        more = (f"and {plural(self._more, 'line')} more of this kind",) if self._more else ()
        return (*self._lines, *more)


def spans(numbers: Iterable[int]) -> str:
    """Write numbers as ``1-3, 7``."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in found)


# -- Restores one key of a KV mount with check-and-set, and says what could not be reproduced ---


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

    def write(self, change: SecretChange, path: str) -> tuple[KeyInfo, datetime] | None:
        """Write one secret, whose ``expected`` was just found to be true, or is by the writing itself.

        Returns the metadata of a new key, as far as the answers told all of it, and the server's clock then.

        Raises:
            Conflict: somebody else writes to the key at the same time.
            SourceError: the mount cannot keep such a secret.
        """
        if self._mount.version == 1:
            self._write_plain(change, path)
            return None
        if not has_numbers_kept(change.secret):
            raise SourceError(f"secret {change.secret.name!r} was not written: {INEXACT}", hint=GO_ON)
        return self._write_key(change, KvKey(self._vault, self._mount, path, name=change.secret.name), path)

    def _write_key(self, change: SecretChange, key: KvKey, path: str) -> tuple[KeyInfo, datetime] | None:
        secret = change.secret
        found = self._reader.read(secret.name, path) if change.expected is not None else None
        info = (key.info() if found else None) or KeyInfo()
        todo = plan(secret, found, self._config)
        facts = facts_of(secret) or VaultFacts()
        custom = _custom(secret, info)
        settings = KeyMetadata(key, info)
        settings.become(**_settings(todo, facts, custom))
        answers = self._write_versions(key, settings, todo, facts, wrap=secrets.MARK in custom)
        key.mark("delete", todo.delete)
        key.mark("destroy", todo.destroy)
        settings.become(max_versions=facts.max_versions, delete_version_after=facts.delete_version_after)
        # Make a key that has metadata and never had a version.
        if not any(version.number for version in todo.write) and not settings.now.current_metadata_version:
            settings.pad(1)
        settings.pad(facts.current_metadata_version if found is None else 0)
        if self._vault.reads_late:
            self._vault.wait_until(
                lambda: _shows(key.info(), todo, settings.now) and self._reads_back(secret, path)
            )
        self._report(secret, todo, facts, custom, settings)
        is_new = change.expected is None and not todo.delete and not todo.destroy
        return _told(answers, settings.now) if is_new else None

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
    ) -> list[ServerAnswer]:
        """Set when versions delete themselves just before the first that does: it counts from there on."""
        answers = []
        for version in todo.write:
            if version.value is not None:
                after = facts.delete_version_after if version.number in todo.stamped else "0s"
                settings.become(delete_version_after=after)
            data = PLACEHOLDER if version.value is None else data_of(version, wrap=wrap)
            if version.number:
                answers.append(key.put(version.number, data))
        return answers

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
        left = secret.current.number - effective_limit(todo.limit, self._config)
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


def _settings(todo: HistoryPlan, facts: VaultFacts, custom: Mapping[str, str]) -> dict[str, Any]:
    """Return what a key's metadata has to say before its versions are written."""
    return {
        "max_versions": todo.limit,
        "cas_required": facts.cas_required,
        "metadata_cas_required": facts.metadata_cas_required,
        "custom_metadata": fitting(custom),
        "delete_version_after": facts.delete_version_after if todo.is_stamped_first else "0s",
    }


def begins_with_version(secret: Secret, config: MountConfig) -> bool:
    """Say whether writing a new key begins with its first version, which the server takes only if there is
    none: nobody needs to look before. Vault would take metadata also of a key that somebody just made."""
    todo, facts = plan(secret, None, config), facts_of(secret) or VaultFacts()
    first = todo.write[0] if todo.write else None
    if first is None or not first.number or (first.value is not None and first.number in todo.stamped):
        return False
    return not _differing(KeyInfo(), _settings(todo, facts, custom_of(secret) or {}))


def _differing(info: KeyInfo, wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in wanted.items() if (getattr(info, name) or None) != (value or None)}


def _told(answers: Sequence[ServerAnswer], written: KeyInfo) -> tuple[KeyInfo, datetime] | None:
    """Put a new key's metadata together from what the server answered to the writing of its versions.

    What only metadata shows has to be read again if it was written: all but the custom metadata, which comes
    with the data too.
    """
    if replace(written, custom_metadata=None, current_metadata_version=0) != KeyInfo():
        return None
    told = [answer.read(WROTE).data for answer in answers]
    moment = answers[0].moment if answers else None
    if moment is None or None in told:
        return None
    versions = {
        version.version: KeyVersion(
            created_time=version.created_time,
            deletion_time=version.deletion_time,
            destroyed=version.destroyed,
        )
        for version in told
        if version is not None
    }
    last = max(versions)
    return (
        replace(
            written,
            versions=versions,
            current_version=last,
            created_time=versions[min(versions)].created_time,
            updated_time=versions[last].created_time,
        ),
        moment,
    )


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
    if (key_info.custom_metadata or {}).get(secrets.MARK) == "true":
        custom[secrets.MARK] = "true"
    return custom


def has_numbers_kept(secret: Secret) -> bool:
    """Say whether KV version 2 gives back every number of a secret as it is."""
    values = (version.value for version in secret.versions if version.media is Media.JSON)
    return all(value is None or keeps_numbers(value.reveal()) for value in values)


def is_plain(secret: Secret) -> bool:
    """Say whether KV version 1 can keep a secret."""
    version = secret.current
    is_object = version.media is Media.JSON and not secrets.needs_wrapping(secret.versions)
    return (
        is_object
        and version.value is not None
        and not _EMPTY.fullmatch(version.value.reveal())
        and len(secret.versions) == 1
        and not (custom_of(secret) or {})
    )
