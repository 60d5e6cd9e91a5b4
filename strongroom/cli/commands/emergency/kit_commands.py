"""What to type on the worst day: the commands on the recovery kit, by the kind of medium and of key."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice, product
from pathlib import Path
from shlex import quote

from strongroom.cli.commands.emergency.kit_configuration import configuration
from strongroom.cli.shared.role_keys import RoleKeyStatus, installation_fingerprints
from strongroom.config import Settings
from strongroom.config.keys import AllOfKey
from strongroom.container.manifest import Manifest, ManifestRecipient
from strongroom.errors import StrongroomError
from strongroom.model import Selection
from strongroom.operations.archive.quarantine import on_record
from strongroom.operations.emergency.kit import (
    CONFIGURED,
    KitKey,
    KitSection,
    Way,
    asking,
    asks,
    configured,
    named,
    paths,
    recover,
    restore,
)
from strongroom.operations.services import Services
from strongroom.state.records import RecipientPin
from strongroom.targets import Target

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
