"""What goes onto the recovery kit, gathered from configuration, keys and catalog; nothing secret."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice, product
from shlex import quote
from typing import TYPE_CHECKING

from cli.signers import manifest_signers
from strongroom.errors import StrongroomError

if TYPE_CHECKING:
    from pathlib import Path

    from cli.signers import Known
    from strongroom.config import PolicySettings, Settings
    from strongroom.config.keys import KeySettings, Pkcs11Key, QuorumKey
    from strongroom.container.manifest import Manifest, ManifestRecipient
    from strongroom.keys.quorum.record import Quorum
    from strongroom.operations.kit import Key, Kit, Section, Way
    from strongroom.operations.services import Services
    from strongroom.state.records import RecipientPin
    from strongroom.targets import Target

NEWEST = 3
MOST = 4
"""Ways through the spares of one all-of that are written out: more would hide the first."""
_UNKNOWN = "not seen here; write it down"


def kit(
    settings: Settings, built: Services, signs: Sequence[Known], *, made_at: str, beside: bool = False
) -> Kit:
    """Gather a recovery kit.

    Args:
        signs: every version of every role's signing key.
        made_at: RFC 3339.
        beside: whether the newest backup of each medium that answers is about to get its runbook.
    """
    from strongroom.operations.kit import Kit, Section  # noqa: PLC0415

    files = _files(built)
    sections = (
        _who(settings, built, files),
        Section(
            title="Where backups lie",
            head=("target", "kind", "address", "region", "provider"),
            rows=(*_targets(settings, built), *(("", "file", str(path), "", "") for path in files)),
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
        *_typed(settings, built, signs, beside=beside),
        *(_of_file(path, manifest, settings, signs) for path, manifest in files.items()),
        *_snippet(settings),
        Section(
            title="To fill in by hand",
            words=("Never a PIN, a passphrase or a share: those lie elsewhere, each with its keeper.",),
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
    yield from ("first call", "second call")


def _files(built: Services) -> dict[Path, Manifest]:
    """Return the newest sealed files that this installation wrote and that lie where it wrote them."""
    from strongroom.operations.rotate_files import file_manifest, written_files  # noqa: PLC0415

    found = {}
    for path in sorted(written_files(built), key=lambda path: path.stat().st_mtime, reverse=True):
        with suppress(StrongroomError):  # a file of somebody else's by now
            found[path] = file_manifest(path, trusted=built.signer_fingerprints)
        if len(found) == NEWEST:
            break
    return found


def _who(settings: Settings, built: Services, files: Mapping[Path, Manifest]) -> Section:
    from strongroom.operations.kit import Section  # noqa: PLC0415

    rows = []
    for name, policy in _policies(settings, built).items():
        pins = built.pinned(name).spec.recipients
        opens = "; or ".join(pin.describes for pin in pins) or "nobody has to: it is not sealed"
        rows.append((name, policy.source, ", ".join(policy.targets), opens))
    for path, manifest in files.items():
        rows.append(
            (path.name, manifest.source, "(a file)", "; or ".join(o.describes for o in manifest.recipients))
        )
    return Section(
        title="Who can open what",
        words=("Any one of those that 'or' divides is enough.",),
        head=("policy or file", "source", "targets", "opens for"),
        rows=tuple(rows),
    )


def _policies(settings: Settings, built: Services) -> dict[str, PolicySettings]:
    """Return the policies that concern a recovery: not one of metadata alone that has made nothing yet."""
    made = {name for name in settings.policies if next(iter(built.store.backups(policy=name, limit=1)), None)}
    return {name: one for name, one in settings.policies.items() if one.sealed or name in made}


def _targets(settings: Settings, built: Services) -> Iterator[tuple[str, ...]]:
    named = {name for policy in _policies(settings, built).values() for name in policy.targets}
    for name, target in built.targets.items():
        if name in named or _holds(target, "manifests/"):
            yield name, settings.targets[name].kind, target.address, target.region, target.provider


def _holds(target: Target, prefix: str) -> bool:
    with suppress(StrongroomError):  # one that is away shows nothing
        return next(iter(target.list(prefix)), None) is not None
    return False


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


def ways_of(readers: Sequence[ManifestRecipient] | Sequence[RecipientPin], settings: Settings) -> list[Way]:
    """Return what opens for these readers, each with the keys that are needed together with it."""
    from strongroom.config.keys import AllOfKey  # noqa: PLC0415

    ways: list[Way] = []
    for one in readers:
        known = settings.keys.get(one.name)
        if isinstance(known, AllOfKey):
            ways += [tuple(_key(n, settings) for n in names) for names in islice(product(*known.legs), MOST)]
        elif one.type != "all-of":
            ways.append((_key(one.name or one.fingerprint[-16:], settings, one.type.partition("-")[0]),))
    return ways


def _key(name: str, settings: Settings, kind: str | None = None) -> Key:
    from strongroom.operations.kit import Key  # noqa: PLC0415

    known = settings.keys.get(name)
    if known is None or kind not in (None, known.kind):
        return Key(name=name, kind=kind or "")
    module, token = getattr(known, "module", None), getattr(known, "token", None)
    return Key(name=name, kind=known.kind, module=str(module or ""), token=token or "")


def _typed(settings: Settings, built: Services, signs: Sequence[Known], *, beside: bool) -> Iterator[Section]:
    """Yield what to type for the newest backup of each policy, by the kind of its medium."""
    for name, policy in settings.policies.items():
        newest = next(iter(built.store.backups(policy=name, limit=1)), None)
        if newest is None or policy.kind != "full":
            continue
        target = policy.targets[0]
        medium = policy.offline and (beside or _furnished(built.target(target), newest.backup))
        lines = _from_medium if medium else _from_target
        ways = ways_of(built.pinned(name).spec.recipients, settings)
        yield _section(
            f"policy '{name}', from {'its medium' if medium else 'a copy of a target'} '{target}'",
            lines(_folder(settings, target), newest.backup, ways, signs),
            ways,
        )


def _furnished(medium: Target, backup: str) -> bool:
    """Tell whether runbook and program lie beside a backup; one that is away is taken to have them."""
    return _holds(medium, f"emergency/{backup}/") or not _holds(medium, "manifests/")


def _folder(settings: Settings, target: str) -> str:
    return str(getattr(settings.targets[target], "path", "/mnt/copy"))


def _section(what: str, lines: Iterable[str], ways: Sequence[Way]) -> Section:
    from strongroom.operations.kit import Section, asks  # noqa: PLC0415

    words = ["Put in the paths. A signer that is retired signed older backups: add its --signer for those."]
    if len(ways) > 1:
        words.append("Any one of the ways is enough.")
    if said := asks(ways):
        words.append(f"It asks for {said}.")
    return Section(title=f"What to type: {what}", words=tuple(words), commands=tuple(lines))


def _from_medium(folder: str, backup: str, ways: Sequence[Way], signs: Sequence[Known]) -> Iterator[str]:
    beside = f"emergency/{backup}"
    yield f"MEDIUM={quote(folder)}   # where the medium is mounted"
    yield 'cd "$MEDIUM"'
    yield "# is it whole? without any key:"
    yield f"sha256sum --check {beside}/SHA256SUMS"
    yield f"strongroom verify-backup . --backup {backup} --depth digest"
    yield from _everything(f"--from-target . --backup {backup}", ways, signs, beside=beside)
    yield from _without(f"{beside}/recover.py", f"containers/{backup}/*", ways, _sealers(signs))


def _from_target(folder: str, backup: str, ways: Sequence[Way], signs: Sequence[Known]) -> Iterator[str]:
    yield f"COPY={quote(folder)}   # where the target or a copy of it is mounted"
    yield 'cd "$COPY"'
    yield "# an unmarked copy is refused; mark it if the backups do lie here: touch .strongroom-target"
    yield "# is it whole? without any key:"
    yield f"strongroom verify-backup . --backup {backup} --depth digest"
    yield from _everything(f"--from-target . --backup {backup}", ways, signs)
    yield from _without('"$RECOVER"', f"containers/{backup}/*", ways, _sealers(signs))


def _of_file(path: Path, manifest: Manifest, settings: Settings, signs: Sequence[Known]) -> Section:
    ways = ways_of(manifest.recipients, settings)
    lines = [
        f"FILE={quote(str(path))}   # where it or a copy of it lies",
        "# is it whole? without any key:",
        'strongroom verify-backup "$FILE" --depth digest',
    ]
    if manifest.values:
        lines += _everything('--backup-file "$FILE"', ways, signs)
    lines += _without('"$RECOVER"', '"$FILE"', ways, manifest_signers(signs))
    return _section(f"the file {path.name}", lines, ways)


_PROGRAM = "RECOVER=/path/to/ops/recover/recover.py   # it comes with Strongroom's sources; keep a copy"


def _everything(
    where: str, ways: Sequence[Way], signs: Sequence[Known], *, beside: str | None = None
) -> Iterator[str]:
    from strongroom.operations.kit import CONFIGURED, named, paths, restore  # noqa: PLC0415

    yield from ("", "# everything back, on a clean machine with Strongroom:")
    yield from paths(ways, quorums=beside)
    if any(key.kind in CONFIGURED for way in ways for key in way):
        toml = f"$PWD/{beside}/strongroom.toml" if beside else "/path/to/strongroom.toml   # see below"
        yield f"export STRONGROOM_CONFIG={toml}"
    for way in ways:
        yield f"# with {named(way)}:"
        yield from restore(where, way, manifest_signers(signs), quorums=beside)


def _without(program: str, files: str, ways: Sequence[Way], signers: Sequence[str]) -> Iterator[str]:
    from strongroom.operations.kit import named, recover  # noqa: PLC0415

    yield from ("", "# without Strongroom; --out DIR in place of --list writes what it holds:")
    if program == '"$RECOVER"':
        yield _PROGRAM
    if files != '"$FILE"':  # which has its newer envelopes in itself
        yield "# if it was rotated since it was made, add: --newer keys/*/*"
    for way in ways:
        yield f"# with {named(way)}:"
        yield recover(program, files, way, signers)


def _sealers(signs: Sequence[Known]) -> list[str]:
    """Return the fingerprints of whoever signs a target's containers and their newer envelopes."""
    sealers = [one.key.fingerprint for one in signs if one.role == "seal" and one.key.signs]
    return [*sealers, *manifest_signers(signs)]


def _snippet(settings: Settings) -> Iterator[Section]:
    from strongroom.operations.kit import Section  # noqa: PLC0415

    if text := configuration(settings):
        yield Section(
            title="strongroom.toml",
            words=("What a new machine needs to reach these keys. A PIN is asked for.",),
            commands=tuple(text.splitlines()),
        )


def configuration(settings: Settings) -> str:
    """Return what a new machine's strongroom.toml needs to reach keys that are elsewhere; or nothing."""
    return "\n".join(line for name, key in settings.keys.items() for line in _toml(name, key))


def _toml(name: str, key: KeySettings) -> Iterator[str]:
    from strongroom.config.keys import KmsKey, Pkcs11Key, TransitKey  # noqa: PLC0415

    if isinstance(key, TransitKey):
        yield f"# [keys.{name}]: the transit key '{key.key}' under '{key.mount}' of the Vault '{key.vault}';"
        yield f"# write it and [vaults.{key.vault}] anew, with a login of this machine."
        return
    if not isinstance(key, KmsKey | Pkcs11Key):
        return
    kept = _HSM if isinstance(key, Pkcs11Key) else _KMS
    yield f"[keys.{name}]"
    values = {field: getattr(key, field) for field in kept}
    yield from (f"{field} = {_plain(value)}" for field, value in values.items() if value is not None)
    yield ""


_HSM = ("kind", "mechanism", "label", "version", "module", "token")
_KMS = ("kind", "key_id", "region", "endpoint_url")


def _plain(value: object) -> str:
    return str(value) if isinstance(value, int) else json.dumps(str(value))
