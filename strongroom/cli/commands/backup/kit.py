"""recovery-kit: a page to print, with what recovery needs and no secret on it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice, product
from pathlib import Path
from shlex import quote

from msgspec.structs import replace

from strongroom.cli.commands.backup.arguments import WriteKit
from strongroom.cli.shared.installation_key import RoleKeyStatus, installation_fingerprints, list_role_keys
from strongroom.cli.shared.services import configured_keys, open_services
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.config import PolicySettings, Settings, load_settings
from strongroom.config.keys import AllOfKey, KmsKey, Pkcs11Key, QuorumKey, TransitKeySettings
from strongroom.container.manifest import Manifest, ManifestRecipient
from strongroom.errors import StrongroomError
from strongroom.keys.pkcs11.session import library, one_at_a_time
from strongroom.keys.quorum import record
from strongroom.keys.quorum.record import Quorum
from strongroom.model import Selection
from strongroom.operations.archive.quarantine import on_record
from strongroom.operations.backup.recovery_kit import (
    CONFIGURED,
    Kit,
    KitKey,
    KitSection,
    Way,
    asking,
    asks,
    configured,
    named,
    paths,
    recover,
    render,
    restore,
)
from strongroom.operations.engine.services import Services
from strongroom.operations.evidence.ledger import verify_chain
from strongroom.operations.keys.health import read_proofs
from strongroom.operations.keys.usage import survey
from strongroom.operations.rotation.single_file import file_manifest, written_files
from strongroom.sheet import Sheet
from strongroom.state.records import RecipientPin
from strongroom.system.files import write_whole
from strongroom.targets import Target

# -- What a new machine's strongroom.toml needs to reach keys that are elsewhere ----------------


def snippet(settings: Settings) -> Iterator[KitSection]:
    """Yield it as a section of the recovery kit, if there is anything in it."""
    if text := configuration(settings):
        yield KitSection(
            title="strongroom.toml",
            words=("What a new machine needs to reach these keys. A PIN is asked for.",),
            commands=tuple(text.splitlines()),
        )


def configuration(settings: Settings) -> str:
    """Return what a new machine's strongroom.toml needs to reach keys that are elsewhere; or nothing."""
    return "\n".join(_settings_lines(settings))


def _settings_lines(settings: Settings) -> Iterator[str]:
    kept = {Pkcs11Key: _HSM, KmsKey: _KMS, TransitKeySettings: _TRANSIT}
    for name, key in settings.keys.items():
        if fields := kept.get(type(key)):
            yield from _table(f"keys.{name}", key, fields)
    servers = {key.vault for key in settings.keys.values() if isinstance(key, TransitKeySettings)}
    for name in sorted(servers & settings.vaults.keys()):
        yield from _table(f"vaults.{name}", settings.vaults[name], _SERVER)
        yield from ("token_file = \"~/.vault-token\"   # where 'vault login' and 'bao login' leave it", "")


def _table(title: str, section: object, fields: tuple[str, ...]) -> Iterator[str]:
    yield f"[{title}]"
    values = {field: getattr(section, field) for field in fields}
    yield from (f"{field} = {_plain(value)}" for field, value in values.items() if value is not None)
    yield ""


_HSM = ("kind", "mechanism", "label", "version", "module", "token")
_TRANSIT = ("kind", "vault", "mount", "key")
_SERVER = ("address", "namespace", "ca_file")
_KMS = ("kind", "key_id", "region", "endpoint_url")


def _plain(value: object) -> str:
    return str(value) if isinstance(value, int) else json.dumps(str(value))


# -- What to type on the worst day: the commands on the recovery kit, by the kind of medium and of key


MOST = 4
"""Ways through the spares of one all-of that are written out: more would hide the first."""
_COPY = "/mnt/copy"
"""Where a person mounts a copy of a target that is no folder itself."""


def typed(
    settings: Settings, services: Services, signs: Sequence[RoleKeyStatus], *, beside: bool
) -> Iterator[KitSection]:
    """Yield what to type for the newest backup of each policy, by the kind of its medium."""
    aside = on_record(services.store)
    for name, policy in settings.policies.items():
        found = (entry for entry in services.store.backups(policy=name) if entry.backup not in aside)
        newest = next(found, None)
        if newest is None or policy.kind != "full":
            continue
        target = policy.targets[0]
        medium = policy.offline and (beside or _furnished(services.target(target), newest.backup))
        head = [*_medium(_folder(settings, target), newest.backup)] if medium else [*_copy(settings, target)]
        beside_it = f"emergency/{newest.backup}" if medium else None
        # Of a copy the newest on the day of need is meant, which paper cannot know.
        choice = f"--backup {newest.backup}" if medium else f"--policy {quote(name)}"
        part = policy.selection != Selection()
        ways = ways_of(services.pinned(name).spec.recipients, settings)
        yield _section(
            f"policy '{name}', from {'its medium' if medium else 'a copy of a target'} '{target}'",
            [*head, *_lines(choice, ways, signs, beside=beside_it, part=part)],
            ways,
        )


def _where(choice: str, *, part: bool) -> str:
    """Return the options that choose a backup; one of some secrets alone is restored only on that word."""
    return f"--from-target . {choice}" + (" --partial" if part else "")


def _furnished(medium: Target, backup: str) -> bool:
    """Tell whether runbook and program lie beside a backup; one that is away is taken to have them."""
    return holds(medium, f"emergency/{backup}/") or not holds(medium, "manifests/")


def holds(target: Target, prefix: str) -> bool:
    """Tell whether there is anything of such a name; one that is away shows nothing."""
    with suppress(StrongroomError):
        return next(iter(target.list(prefix)), None) is not None
    return False


def _folder(settings: Settings, target: str) -> str:
    return str(settings.targets[target].folder or _COPY)


def _section(what: str, lines: Iterable[str], ways: Sequence[Way]) -> KitSection:
    words = ["Put in the paths. The --signer is this installation's: it opens every backup, old and new."]
    if len(ways) > 1:
        words.append("Any one of the ways is enough.")
    if said := asks(ways):
        words.append(f"It asks for {said}.")
    return KitSection(title=f"What to type: {what}", words=tuple(words), commands=tuple(lines))


def _medium(folder: str, backup: str) -> Iterator[str]:
    yield f"MEDIUM={quote(folder)}   # where the medium is mounted"
    yield 'cd "$MEDIUM"'
    yield "# is it whole? without any key:"
    yield f"sha256sum --check emergency/{backup}/SHA256SUMS"


def _copy(settings: Settings, target: str) -> Iterator[str]:
    if copied := settings.targets[target].copied_by('"$COPY"'):
        yield f"COPY={_COPY}   # a folder for a copy of the target"
        yield from (*copied, 'cd "$COPY"', "touch .strongroom-target")
    else:
        yield f"COPY={quote(_folder(settings, target))}   # where the target or a copy of it is mounted"
        yield 'cd "$COPY"'
        yield "# an unmarked copy is refused; mark it if the backups do lie here: touch .strongroom-target"
    yield "# is it whole? without any key:"


def _lines(
    choice: str, ways: Sequence[Way], signs: Sequence[RoleKeyStatus], *, beside: str | None, part: bool
) -> Iterator[str]:
    yield _verify(f". {choice}", signs)
    yield from _everything(_where(choice, part=part), ways, signs, beside=beside)
    program = f"{beside}/recover.py" if beside else '"$RECOVER"'
    yield from _without(program, f". {choice}", ways, installation_fingerprints(signs))


def _verify(what: str, signs: Sequence[RoleKeyStatus]) -> str:
    signers = "".join(f" --signer {each}" for each in installation_fingerprints(signs))
    return f"strongroom backups verify {what} --depth digest{signers}"


def of_file(path: Path, manifest: Manifest, settings: Settings, signs: Sequence[RoleKeyStatus]) -> KitSection:
    ways = ways_of(manifest.recipients, settings)
    lines = [
        f"FILE={quote(str(path))}   # where it or a copy of it lies",
        "# is it whole? without any key:",
        _verify('"$FILE"', signs),
    ]
    if manifest.values:
        lines += _everything('--backup-file "$FILE"', ways, signs)
    lines += _without('"$RECOVER"', '"$FILE"', ways, installation_fingerprints(signs))
    return _section(f"the file {path.name}", lines, ways)


_PROGRAM = "RECOVER=/path/to/ops/recover/recover.py   # with recover_extra.py beside it; keep a copy of both"


def _everything(
    where: str, ways: Sequence[Way], signs: Sequence[RoleKeyStatus], *, beside: str | None = None
) -> Iterator[str]:
    yield from ("", "# everything back, on a clean machine with Strongroom:")
    yield from paths(ways, quorums=beside)
    if any(key.kind in CONFIGURED for way in ways for key in way):
        toml = f"$PWD/{beside}/strongroom.toml" if beside else "/path/to/strongroom.toml   # see below"
        yield f"export STRONGROOM_CONFIG={toml}"
    for way in ways:
        yield f"# with {named(way)}:"
        yield from restore(where, way, installation_fingerprints(signs), quorums=beside)


def _without(program: str, files: str, ways: Sequence[Way], signers: Sequence[str]) -> Iterator[str]:
    yield from ("", "# without Strongroom; --out DIR in place of --list writes what it holds:")
    if program == '"$RECOVER"':
        yield _PROGRAM
    for way in ways:
        yield f"# with {named(way)}:"
        yield from asking(program, files, way, signers)
        yield recover(program, files, way, signers)


def ways_of(readers: Sequence[ManifestRecipient] | Sequence[RecipientPin], settings: Settings) -> list[Way]:
    """Return what opens for these readers, each with the keys that are needed together with it."""
    ways: list[Way] = []
    for recipient in readers:
        known = settings.keys.get(recipient.name)
        if isinstance(known, AllOfKey):
            ways += [tuple(_key(n, settings) for n in names) for names in islice(product(*known.legs), MOST)]
        elif recipient.type != "all-of":
            ways.append(
                (
                    _key(
                        recipient.name or recipient.fingerprint[-16:],
                        settings,
                        recipient.type.partition("-")[0],
                    ),
                )
            )
    return ways


def _key(name: str, settings: Settings, kind: str | None = None) -> KitKey:
    known = settings.keys.get(name)
    return configured(name, kind or (known.kind if known else ""), tomllib.loads(configuration(settings)))


# -- What goes onto the recovery kit, gathered from configuration, keys and catalog; nothing secret ---


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


# -- recovery-kit: a page to print, with what recovery needs and no secret on it ----------------


def write_recovery_kit(given: WriteKit, output: Output) -> Answer:
    settings = load_settings()
    html = render_kit(settings, open_services(settings), beside=False)
    write_whole(given.output, html.encode(), replace=given.force)
    said = f"{given.output} is the recovery kit. Print it, fill in what is blank, keep it with each medium."
    about = "It contains no secret. Print it again when keys, custodians, targets or signers change."
    return Answer(record={"file": given.output}, sheet=Sheet(verdict=said, about=about))


def render_kit(settings: Settings, services: Services, *, beside: bool = True) -> str:
    """Return the kit as HTML; ``beside``: it will lie on an emergency medium, with all that belongs there."""
    now = datetime.now(UTC)
    made_at = now.isoformat(timespec="seconds").replace("+00:00", "Z")
    return render(kit(settings, services, list_role_keys(now), made_at=made_at, beside=beside))
