"""A machine to break: a local store of made-up secrets, three regions, a recovery key.

Everything is as shipped but the size of a container, which is as small as it may be so that
a run has many of them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Final

from msgspec import Struct

from strongroom.keys.hpke import HpkeIdentity
from strongroom.model import Secret, SecretBytes, SecretVersion
from strongroom.operations.engine.layout import INDEXES
from strongroom.operations.engine.stage import kept_prefix
from strongroom.sources.local import LocalStore
from strongroom.targets.directory import MARKER, DirectoryTarget

POLICY: Final = "weekly-critical"
REGIONS: Final = ("region-a", "region-b", "region-c")
CONTAINER: Final = 64 * 1024
VALUES_A_CONTAINER: Final = 4
OVERHEAD: Final = 130
"""What the plan counts for a secret beyond its value, rounded up: N containers stay N."""

_CONFIG: Final = """\
[sources.local]
kind = "local"

[keys.recovery]
kind = "hpke"
{key}
{targets}
[policies.{policy}]
kind = "full"
source = "local"
targets = {regions}
recipients = ["recovery"]
quorum = 2
regions = 2
{policy_more}
[limits]
container_bytes = {container}
{limits}{state}"""

_TARGET: Final = """
[targets.{name}]
kind = "directory"
path = "{path}"
region = "{name}"
create = true
"""


class Place(Struct, frozen=True, kw_only=True, dict=True):
    """Where everything of one machine lies, all of it under ``root``."""

    root: Path
    database: str

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.root / "state"

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.root / "strongroom.toml"

    @property
    def stage(self) -> Path:
        """The stage's directory."""
        return self.state / "stage"

    @property
    def recovery_key(self) -> Path:
        """The private key's file."""
        return self.root / "recovery.key"

    def region(self, name: str) -> Path:
        """A target's directory."""
        return self.root / "regions" / name

    def target(self, name: str) -> DirectoryTarget:
        """A target."""
        return DirectoryTarget(self.region(name), name=name, region=name)

    @cached_property
    def identity(self) -> HpkeIdentity:
        """What opens the backups."""
        return HpkeIdentity.load(self.recovery_key)

    @property
    def environment(self) -> Mapping[str, str]:
        """What tells a process of this machine."""
        return {"STRONGROOM_CONFIG": str(self.config), "STRONGROOM_STATE_DIR": str(self.state)}


def make_place(
    root: Path,
    secrets: Iterable[Secret],
    *,
    opens: bool = False,
    depth: str | None = None,
    limits: str = "",
    database: str | None = None,
) -> Place:
    """Make a machine that holds ``secrets``.

    Args:
        opens: whether it holds the private key too, as a host that verifies deeply must.
        depth: how deep each backup is verified; as shipped if left out.
        limits: more lines of the configuration's ``[limits]``.
        database: the state database's address; SQLite as shipped if left out.
    """
    place = Place(root=root, database=database or f"sqlite:///{root / 'state' / 'state.db'}")
    root.mkdir(parents=True, exist_ok=True)
    HpkeIdentity.generate().save(place.recovery_key)
    place.config.write_text(_config(place, opens=opens, depth=depth, limits=limits))
    LocalStore(place.state).import_(secrets)
    return place


def _config(place: Place, *, opens: bool, depth: str | None, limits: str) -> str:
    key = f'public_key = "{place.identity.public}"\n'
    return _CONFIG.format(
        key=key + (f'identity_file = "{place.recovery_key}"\n' if opens else ""),
        targets="".join(_TARGET.format(name=name, path=place.region(name)) for name in REGIONS),
        policy=POLICY,
        regions=list(REGIONS),
        policy_more=f'verify = "{depth}"\n' if depth else "",
        container=CONTAINER,
        limits=limits,
        state="" if place.database.startswith("sqlite") else f'[state]\nurl = "{place.database}"\n',
    )


def files_under(folder: Path) -> set[str]:
    """Every file, provisional ones and those of no backup included."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def files_of_backups(folder: Path) -> set[str]:
    """The same without the indexes of names, which have a rule of their own."""
    return {name for name in files_under(folder) if not name.startswith(INDEXES)}


RECEIPT: Final = ".json"
"""What the name of an index's receipt ends with."""


def odd_indexes(folder: Path) -> list[str]:
    """Return what lies among a target's indexes of names and is none, lacks its receipt or is one without
    an index, or continues one that is not there."""
    names = {name for name in files_under(folder) if name.startswith(INDEXES)}
    indexes = {name: name.split("/") for name in names if not name.endswith(RECEIPT)}
    first = {parts[1] for parts in indexes.values() if parts[1] == parts[2]}
    return [name for name in names if name.endswith(RECEIPT) and name.removesuffix(RECEIPT) not in names] + [
        name
        for name, parts in indexes.items()
        if parts[1] not in first
        or name + RECEIPT not in names
        or sha256((folder / name).read_bytes()).hexdigest() != parts[-1]
    ]


def left_on_stage(stage: Path) -> set[str]:
    """Return what lies on the stage and is not what the next index of names is held against."""
    kept = kept_prefix(POLICY)
    return {name for name in files_under(stage) - {MARKER} if not name.startswith(kept) or "/." in name}


def made_up(containers: int, seed: int) -> list[Secret]:
    """Return secrets whose values fill so many containers."""
    source = random.Random(seed)
    size = CONTAINER // VALUES_A_CONTAINER - OVERHEAD
    return [
        Secret(
            name=f"app/{number:05}",
            type="api_key",
            versions=(SecretVersion(number=1, value=SecretBytes(_value(source, number, size))),),
        )
        for number in range(containers * VALUES_A_CONTAINER)
    ]


def _value(source: random.Random, number: int, size: int) -> bytes:
    start = f"CANARY-{number:05}-".encode()
    return start + source.randbytes((size - len(start)) // 2).hex().encode().ljust(size - len(start), b"x")
