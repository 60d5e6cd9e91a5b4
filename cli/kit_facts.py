"""What goes onto the recovery kit, gathered from configuration, keys and catalog; nothing secret."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from cli.signers import manifest_signers
from strongroom.errors import StrongroomError

if TYPE_CHECKING:
    from pathlib import Path

    from cli.signers import Known
    from strongroom.config import Settings
    from strongroom.config.keys import Pkcs11Key, QuorumKey
    from strongroom.keys.quorum.record import Quorum
    from strongroom.operations.kit import Kit, Section
    from strongroom.operations.services import Services

NEWEST = 3
_UNKNOWN = "not seen here; write it down"


def kit(settings: Settings, built: Services, signs: Sequence[Known], *, made_at: str) -> Kit:
    """Gather a recovery kit.

    Args:
        signs: every version of every role's signing key.
        made_at: RFC 3339.
    """
    from strongroom.operations.kit import Kit, Section  # noqa: PLC0415

    sections = (
        _who(settings, built),
        Section(
            title="Where backups lie",
            head=("target", "kind", "address", "region", "provider"),
            rows=tuple(_targets(settings, built)),
        ),
        Section(
            title="Whose signature to believe",
            words=("Compare every digit. A backup that somebody else signed is not yours.",),
            head=("role", "version", "state", "fingerprint"),
            rows=tuple((o.role, str(o.key.version), o.state, o.key.fingerprint) for o in signs),
        ),
        *_hsm(settings),
        *_quorums(settings),
        _newest(settings, built),
        _record(built),
        _commands(settings, signs),
        Section(
            title="To fill in by hand",
            words=("Never a PIN, a passphrase or a share: those lie elsewhere, each with its keeper.",),
            blanks=(
                "where the media lie",
                "where the HSM token lies",
                "who keeps its PIN",
                "first call",
                "second call",
            ),
        ),
    )
    return Kit(title="Strongroom recovery kit", made_at=made_at, sections=sections)


def quorum_files(settings: Settings) -> dict[str, bytes]:
    """Return the public files of the configured quorums: a restore asks for them."""
    return {f"{name}.quorum": key.file.read_bytes() for name, key in _quorum_keys(settings)}


def _who(settings: Settings, built: Services) -> Section:
    from strongroom.operations.kit import Section  # noqa: PLC0415

    rows = []
    for name, policy in settings.policies.items():
        pins = built.pinned(name).spec.recipients
        opens = "; or ".join(pin.describes for pin in pins) or "nobody has to: it is not sealed"
        rows.append((name, policy.source, ", ".join(policy.targets), opens))
    return Section(
        title="Who can open what",
        words=("Any one of those that 'or' divides is enough.",),
        head=("policy", "source", "targets", "opens for"),
        rows=tuple(rows),
    )


def _targets(settings: Settings, built: Services) -> Iterator[tuple[str, ...]]:
    for name, target in built.targets.items():
        kind = settings.targets[name].kind
        yield name, kind, target.address, target.region, target.provider


def _hsm(settings: Settings) -> Iterator[Section]:
    from strongroom.operations.kit import Section  # noqa: PLC0415

    if keys := dict(_hsm_keys(settings)):
        yield Section(
            title="Keys in an HSM",
            words=("The key never leaves the device. Without it, its spare or its own backup, it is gone.",),
            head=("key", "label", "version", "token", "serial number", "module"),
            rows=tuple(_hsm_row(name, key) for name, key in keys.items()),
        )


def _hsm_keys(settings: Settings) -> Iterator[tuple[str, Pkcs11Key]]:
    from strongroom.config.keys import Pkcs11Key  # noqa: PLC0415

    return ((name, key) for name, key in settings.keys.items() if isinstance(key, Pkcs11Key))


def _hsm_row(name: str, key: Pkcs11Key) -> tuple[str, ...]:
    serial = _serial(key.module, key.token) if key.module and key.token else None
    return name, key.label, str(key.version), key.token or "", serial or _UNKNOWN, str(key.module or "")


def _serial(module: Path, label: str) -> str | None:
    """Ask the module for a token's serial number; that needs no PIN."""
    from strongroom.keys.pkcs11.library import library  # noqa: PLC0415
    from strongroom.keys.pkcs11.lock import one_at_a_time  # noqa: PLC0415

    with suppress(StrongroomError), one_at_a_time():
        for slot in library(module).handle().get_slots(token_present=True):
            token = slot.get_token()
            if str(token.label).strip() == label:
                return str(token.serial.decode("ascii", "replace").strip("\0 "))
    return None


def _quorum_keys(settings: Settings) -> Iterator[tuple[str, QuorumKey]]:
    from strongroom.config.keys import QuorumKey  # noqa: PLC0415

    return ((name, key) for name, key in settings.keys.items() if isinstance(key, QuorumKey))


def _quorums(settings: Settings) -> Iterator[Section]:
    from strongroom.keys.quorum import record  # noqa: PLC0415
    from strongroom.operations.kit import Section  # noqa: PLC0415

    for name, key in _quorum_keys(settings):
        found: Quorum = record.load(key.file)
        yield Section(
            title=f"Quorum '{found.name}'",
            words=(
                f"Key {name}, id {found.id}, made {found.created_at}.",
                f"Any {found.threshold} of these {len(found.custodians)} people, each with their paper:",
            ),
            head=("custodian", "reached at"),
            rows=tuple((custodian.name, "") for custodian in found.custodians),
        )


def _newest(settings: Settings, built: Services) -> Section:
    from strongroom.operations.kit import Section  # noqa: PLC0415

    entries = [
        entry for name in settings.policies for entry in built.store.backups(policy=name, limit=NEWEST)
    ]
    return Section(
        title="The newest backups when this was printed",
        words=("An older manifest than the newest of these, on every target at once, is a rollback.",),
        head=("backup", "policy", "made", "secrets", "SHA-256 of its manifest"),
        rows=tuple((e.backup, e.policy, e.created_at, str(e.secrets), e.manifest_sha256) for e in entries),
    )


def _record(built: Services) -> Section:
    from strongroom.operations.kit import Section  # noqa: PLC0415
    from strongroom.operations.ledger import look  # noqa: PLC0415

    found = look(built.store)
    head = found.head
    words = ["A record that does not lead to this digest at this number was changed afterwards. At a drill:"]
    if found.broken is not None:  # the kit is needed all the same
        words.insert(0, f"Event {found.broken} had been changed, or one before it removed, by then.")
    return Section(
        title="The head of the record of events when this was printed",
        words=tuple(words),
        head=("number", "time", "event", "SHA-256 over all up to it"),
        rows=((str(head.id), head.at, head.kind, head.sha256),) if head else (),
        commands=(f"strongroom ledger check --id {head.id} --sha256 {head.sha256}",) if head else (),
    )


def _commands(settings: Settings, signs: Sequence[Known]) -> Section:
    from strongroom.operations.kit import Section  # noqa: PLC0415

    trust = [f"    --signer {one} \\" for one in manifest_signers(signs)]
    opens = [f"    --quorum /mnt/medium/emergency/ID/{name}.quorum \\" for name, _ in _quorum_keys(settings)]
    lines = [
        "# is the medium whole? without any key; ID is the backup's name:",
        "cd /mnt/medium && sha256sum --check emergency/ID/SHA256SUMS",
        "strongroom verify-backup /mnt/medium",
        "",
        "# everything back, on a clean machine with Strongroom, from a medium or a copy of a target:",
        *(
            ["export STRONGROOM_CONFIG=/mnt/medium/emergency/ID/strongroom.toml"]
            if configuration(settings)
            else []
        ),
        "strongroom restore --from-target /mnt/medium --full-restore \\",
        *opens,
        *trust,
        "    --verify-after-restore",
        "",
        "# without Strongroom, from the medium itself:",
        f"cd /mnt/medium && python3 emergency/ID/recover.py containers/ID/*{_opening(settings)} --list",
        *_snippets(settings),
    ]
    return Section(
        title="What to type",
        words=("A signer that is retired signed older backups: add its --signer for those.",),
        commands=tuple(lines),
    )


def _pointing(settings: Settings) -> Iterator[str]:
    if configuration(settings):
        yield "export STRONGROOM_CONFIG=/mnt/medium/emergency/ID/strongroom.toml"


def _opening(settings: Settings) -> str:
    """Return what the one-file program is told to open with."""
    tokens = [f" --hsm {key.module} --token {key.token}" for _, key in _hsm_keys(settings) if key.token]
    return "".join((*tokens[:1], *[" --shares" for _ in list(_quorum_keys(settings))[:1]]))


def _snippets(settings: Settings) -> Iterator[str]:
    if text := configuration(settings):
        yield from ("", "# that strongroom.toml, if the medium's cannot be read; the PIN is asked for:")
        yield from text.splitlines()


def configuration(settings: Settings) -> str:
    """Return what a new machine's strongroom.toml needs to reach the HSM's keys; nothing if there is none."""
    return "\n".join(line for name, key in _hsm_keys(settings) for line in _toml(name, key))


def _toml(name: str, key: Pkcs11Key) -> Iterator[str]:
    yield f"[keys.{name}]"
    fields = {
        "kind": "pkcs11",
        "mechanism": key.mechanism,
        "label": key.label,
        "version": key.version,
        "module": str(key.module),
        "token": key.token,
    }
    yield from (f"{field} = {json.dumps(value)}" for field, value in fields.items() if value is not None)
    yield ""
