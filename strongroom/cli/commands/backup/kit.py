"""What goes onto the recovery kit, gathered from configuration, keys and catalog; nothing secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from strongroom.cli.commands.emergency.kit_commands import holds, of_file, typed
from strongroom.cli.commands.emergency.kit_configuration import snippet
from strongroom.cli.shared.configured_keys import configured_keys
from strongroom.cli.shared.role_keys import RoleKeyStatus, installation_fingerprints
from strongroom.config import PolicySettings, Settings
from strongroom.config.keys import Pkcs11Key, QuorumKey
from strongroom.container.manifest import Manifest
from strongroom.errors import StrongroomError
from strongroom.keys.pkcs11.library import library
from strongroom.keys.pkcs11.lock import one_at_a_time
from strongroom.keys.quorum import record
from strongroom.keys.quorum.record import Quorum
from strongroom.operations.emergency.kit import Kit, KitSection
from strongroom.operations.evidence.ledger import verify_chain
from strongroom.operations.key_management.proofs import read_proofs
from strongroom.operations.key_management.usage import survey
from strongroom.operations.rotation.single_file import file_manifest, written_files
from strongroom.operations.services import Services

NEWEST = 3
_UNKNOWN = "not seen here; write it down"


def kit(
    settings: Settings,
    services: Services,
    signs: Sequence[RoleKeyStatus],
    *,
    made_at: str,
    beside: bool = False,
) -> Kit:
    """Gather a recovery kit.

    Args:
        signs: every version of every role's signing key.
        made_at: RFC 3339.
        beside: whether the newest backup of each medium that answers is about to get its runbook.
    """
    files = _files(services)
    settings = _with_keys_that_open(settings, services)
    sections = (
        *_contacts(settings),
        _who(settings, services, files),
        KitSection(
            title="Where backups lie",
            head=("target", "kind", "address", "region", "provider"),
            rows=(*_targets(settings, services), *(("", "file", str(path), "", "") for path in files)),
        ),
        KitSection(
            title="Whose signature to believe",
            words=(
                "Compare every digit. A backup of another installation is not yours.",
                "The keys of the roles change; this line stays.",
                "Which of them leaked since, the trust lists beside the backups say.",
            ),
            head=("installation", ""),
            rows=(
                *((fingerprint, "") for fingerprint in installation_fingerprints(signs)),
                *(
                    (fingerprint, "trust.signers: a spare, or another")
                    for fingerprint in settings.trust.signers
                ),
            ),
        ),
        *_distrusted(signs),
        *_hsm(settings),
        *_quorums(settings),
        _newest(settings, services),
        _record(services),
        *typed(settings, services, signs, beside=beside),
        *(of_file(path, manifest, settings, signs) for path, manifest in files.items()),
        *snippet(settings),
        KitSection(
            title="To fill in by hand",
            words=("Never a PIN, a passphrase or a share. Each custodian keeps those elsewhere.",),
            blanks=tuple(_blanks(settings)),
        ),
    )
    return Kit(title="Strongroom recovery kit", made_at=made_at, sections=sections)


def quorum_files(settings: Settings) -> dict[str, bytes]:
    """Return the public files of the configured quorums: a restore asks for them."""
    return {f"{name}.quorum": key.file.read_bytes() for name, key in _quorum_keys(settings)}


def _blanks(settings: Settings) -> Iterator[str]:
    yield "where the media and the files lie"
    yield from (f"where the key '{name}' lies, and who keeps it" for name in settings.keys)
    if any(_hsm_keys(settings)):
        yield "who keeps the HSM's PIN"
    if not settings.contacts.lines:
        yield from ("first call", "second call")


def _contacts(settings: Settings) -> Iterator[KitSection]:
    """Yield whom to call, as the configuration names them; else there are lines to fill in by hand."""
    if lines := settings.contacts.lines:
        yield KitSection(title="Whom to call", head=("", "call"), rows=tuple(lines.items()))


def _with_keys_that_open(settings: Settings, services: Services) -> Settings:
    """Return the settings without the keys that open nothing any more.

    A retired key was found needless then, and is used by no policy since. Where a backup cannot be looked at,
    as on a medium in its safe, any other key may open it.
    """
    named, _ = configured_keys(settings)
    looked, retired = survey(services, services.store.backups()), read_proofs(services.store).retired
    opening = {use.key for use in looked.keys if use.backups or use.together}
    needless = {
        name
        for name, configured_key in named.items()
        if not configured_key.policies
        and configured_key.key not in opening
        and (configured_key.key in retired or not looked.unread)
    }
    return replace(settings, keys={name: key for name, key in settings.keys.items() if name not in needless})


def _distrusted(signs: Sequence[RoleKeyStatus]) -> Iterator[KitSection]:
    """Yield the keys that leaked: another machine knows nothing of that."""
    rows = tuple((o.role, o.key.fingerprint, o.state) for o in signs if o.key.distrusted)
    if rows:
        words = "These keys leaked. Where this kit is all there is, believe nothing that one of them signed."
        yield KitSection(
            title="Keys not to believe", words=(words,), head=("role", "key", "state"), rows=rows
        )


def _files(services: Services) -> dict[Path, Manifest]:
    """Return the newest sealed files that this installation wrote and that lie where it wrote them."""
    found = {}
    for path in sorted(written_files(services), key=lambda path: path.stat().st_mtime, reverse=True):
        with suppress(StrongroomError):  # a file of somebody else's by now
            found[path] = file_manifest(path, trusted=services.signer_fingerprints)
        if len(found) == NEWEST:
            break
    return found


def _who(settings: Settings, services: Services, files: Mapping[Path, Manifest]) -> KitSection:
    rows = []
    for name, policy in _policies(settings, services).items():
        pins = services.pinned(name).spec.recipients
        opens = "; or ".join(pin.describes for pin in pins) or "nobody has to: it is not sealed"
        rows.append((name, policy.source, ", ".join(policy.targets), opens))
    for path, manifest in files.items():
        rows.append(
            (path.name, manifest.source, "(a file)", "; or ".join(o.describes for o in manifest.recipients))
        )
    return KitSection(
        title="Who can open what",
        words=("Any one of those that 'or' divides is enough.",),
        head=("policy or file", "source", "targets", "opens for"),
        rows=tuple(rows),
    )


def _policies(settings: Settings, services: Services) -> dict[str, PolicySettings]:
    """Return the policies that concern a recovery: not one of metadata alone that has made nothing yet."""
    made = {
        name for name in settings.policies if next(iter(services.store.backups(policy=name, limit=1)), None)
    }
    return {
        name: policy_settings
        for name, policy_settings in settings.policies.items()
        if policy_settings.sealed or name in made
    }


def _targets(settings: Settings, services: Services) -> Iterator[tuple[str, ...]]:
    named = {name for policy in _policies(settings, services).values() for name in policy.targets}
    for name, target in services.targets.items():
        if name in named or holds(target, "manifests/"):
            yield name, settings.targets[name].kind, target.address, target.region, target.provider


def _hsm(settings: Settings) -> Iterator[KitSection]:
    if keys := dict(_hsm_keys(settings)):
        yield KitSection(
            title="Keys in an HSM",
            words=("The key never leaves the device. Without it, its spare or its own backup, it is gone.",),
            head=("key", "label", "version", "token", "serial number", "module"),
            rows=tuple(_hsm_row(name, key) for name, key in keys.items()),
        )


def _hsm_keys(settings: Settings) -> Iterator[tuple[str, Pkcs11Key]]:
    return ((name, key) for name, key in settings.keys.items() if isinstance(key, Pkcs11Key))


def _hsm_row(name: str, key: Pkcs11Key) -> tuple[str, ...]:
    serial = _serial(key.module, key.token) if key.module and key.token else None
    return name, key.label, str(key.version), key.token or "", serial or _UNKNOWN, str(key.module or "")


def _serial(module: Path, label: str) -> str | None:
    """Ask the module for a token's serial number; that needs no PIN."""
    with suppress(StrongroomError), one_at_a_time():
        for slot in library(module).handle().get_slots(token_present=True):
            token = slot.get_token()
            if str(token.label).strip() == label:
                return str(token.serial.decode("ascii", "replace").strip("\0 "))
    return None


def _quorum_keys(settings: Settings) -> Iterator[tuple[str, QuorumKey]]:
    return ((name, key) for name, key in settings.keys.items() if isinstance(key, QuorumKey))


def _quorums(settings: Settings) -> Iterator[KitSection]:
    for name, key in _quorum_keys(settings):
        found: Quorum = record.load(key.file)
        yield KitSection(
            title=f"Quorum '{found.name}'",
            words=(
                f"Key {name}, id {found.id}, made {found.created_at}.",
                f"Any {found.threshold} of these {len(found.custodians)} people, each with their paper:",
            ),
            head=("custodian", "reached at"),
            rows=tuple((custodian.name, "") for custodian in found.custodians),
        )


def _newest(settings: Settings, services: Services) -> KitSection:
    entries = [
        entry for name in settings.policies for entry in services.store.backups(policy=name, limit=NEWEST)
    ]
    return KitSection(
        title="The newest backups when this was printed",
        words=("An older manifest than the newest of these, on every target at once, is a rollback.",),
        head=("backup", "policy", "made", "secrets", "SHA-256 of its manifest"),
        rows=tuple((e.backup, e.policy, e.created_at, str(e.secrets), e.manifest_sha256) for e in entries),
    )


def _record(services: Services) -> KitSection:
    found = verify_chain(services.store)
    head = found.head
    words = ["A record that does not lead to this digest at this number was changed afterwards. At a drill:"]
    if found.broken is not None:  # the kit is needed all the same
        words.insert(0, f"Event {found.broken} had been changed, or one before it removed, by then.")
    return KitSection(
        title="The head of the record of events when this was printed",
        words=tuple(words),
        head=("number", "time", "event", "SHA-256 over all up to it"),
        rows=((str(head.id), head.at, head.kind, head.sha256),) if head else (),
        commands=(f"strongroom ledger check --id {head.id} --sha256 {head.sha256}",) if head else (),
    )
