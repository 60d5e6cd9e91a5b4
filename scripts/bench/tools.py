"""The commands that are measured: one table, each entry a tool doing one job its usual way."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

WITH_PASSPHRASE = "strongroom, passphrase"
PASSPHRASE = "gravel lantern oboe thicket marble ferry quilt anvil"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one measurement finds its data and leaves what it makes."""

    data: Path
    scratch: Path
    one: str

    @property
    def tree(self) -> Path:
        return self.data / "tree"

    @property
    def jsonl(self) -> Path:
        return self.data / "secrets.jsonl"

    @property
    def one_file(self) -> Path:
        """The chosen secret's file, relative to the data."""
        return next(self.tree.glob(f"*/{self.one.replace('/', '__')}.json")).relative_to(self.data)

    @property
    def passphrase_file(self) -> Path:
        return self.scratch / "passphrase"

    @property
    def out(self) -> Path:
        """A path that exists neither before nor after a measurement."""
        return self.scratch / "out"


Command = Callable[[Place], list[str]]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One thing to measure.

    ``before`` runs untimed ahead of every run; ``shell`` marks pipelines; ``shows`` says
    that the output has to hold the chosen secret's name, so that a command that does
    nothing cannot win.
    """

    job: str
    tool: str
    layout: str
    command: Command
    before: tuple[Command, ...] = ()
    in_data: bool = False
    keeps: str | None = None
    shows: bool = False

    @property
    def label(self) -> str:
        return f"{self.tool} {self.layout}"


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A program, how to tell its version, and its environment."""

    name: str
    version: tuple[str, ...]
    env: Callable[[Place], Mapping[str, str]] = field(default=lambda place: {})


def base_env(place: Place) -> dict[str, str]:
    """Return an environment that holds nothing of the person who measures."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(place.scratch / "home"),
        "LC_ALL": "C.UTF-8",
    }


def _restic_env(place: Place) -> dict[str, str]:
    return {"RESTIC_PASSWORD_FILE": str(place.passphrase_file)}


def _borg_env(place: Place) -> dict[str, str]:
    return {
        "BORG_PASSPHRASE": PASSPHRASE,
        "BORG_BASE_DIR": str(place.scratch / "borg"),
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
    }


def _strongroom_env(state: str) -> Callable[[Place], Mapping[str, str]]:
    return lambda place: {"STRONGROOM_STATE_DIR": str(place.scratch / state)}


TOOLS = (
    Tool(name="strongroom", version=("strongroom", "--version"), env=_strongroom_env("state")),
    Tool(name=WITH_PASSPHRASE, version=("strongroom", "--version"), env=_strongroom_env("other-state")),
    Tool(name="restic", version=("restic", "version"), env=_restic_env),
    Tool(name="borg", version=("borg", "--version"), env=_borg_env),
    Tool(name="age", version=("age", "--version")),
)


def at_hand(tool: Tool) -> str | None:
    """Return the version of an installed tool, or ``None``."""
    if not shutil.which(tool.version[0]):
        return None
    done = subprocess.run(tool.version, capture_output=True, text=True, check=False)
    found = re.search(r"[0-9]+\.[0-9.]+\S*", done.stdout)
    return found.group() if found and done.returncode == 0 else None


# -- shared pieces --------------------------------------------------------------------------


def _wipe(*names: str) -> Command:
    return lambda place: ["rm", "-rf", "--", *(str(place.scratch / name) for name in names)]


def _mkdir(name: str) -> Command:
    return lambda place: ["mkdir", "-p", str(place.scratch / name)]


def _sh(line: str, *arguments: Callable[[Place], str]) -> Command:
    return lambda place: ["sh", "-c", line, "sh", *(argument(place) for argument in arguments)]


# -- strongroom -----------------------------------------------------------------------------
# Sealed to a key pair, as its first page says, and beside that to a passphrase, as restic and borg are.
# What is measured beside others is named here alone.


def _strongroom(*words: str | Command) -> Command:
    def build(place: Place) -> list[str]:
        return [
            "strongroom",
            *(part for word in words for part in ([word] if isinstance(word, str) else word(place))),
        ]

    return build


def _strongroom_jobs(layout: str, *, tool: str = "strongroom") -> list[Job]:
    in_tree, with_key = layout == "tree", tool == "strongroom"
    kept = f"{layout}-{'key' if with_key else 'passphrase'}.strongroom"
    sealed: Command = lambda place: [str(place.scratch / kept)]
    key: Command = lambda place: [str(place.scratch / "recovery.key")]
    passphrase: Command = lambda place: ["--passphrase-file", str(place.passphrase_file)]
    seals: Command = lambda place: ["--recipient", f"{key(place)[0]}.pub"] if with_key else passphrase(place)
    opens: Command = lambda place: ["--identity", *key(place)] if with_key else passphrase(place)
    source: Command = lambda place: ["--source", f"files:{place.tree if in_tree else place.jsonl}"]
    # In a tree the path below it is the name, as with mounted secrets.
    name: Command = lambda place: [str(place.one_file.relative_to("tree")) if in_tree else place.one]
    backup = _strongroom("backup", sealed, source, "--include-values", "--force", seals)
    verify = _strongroom("backups", "verify", sealed, "--depth", "opened", opens)
    one = _strongroom("get", name, "--backup-file", sealed, "--show-value", "--json", opens)
    restore = _strongroom(
        "restore", "--backup-file", sealed, "--full-restore", "--overwrite-existing", "--force", opens
    )
    make_key = _sh(
        'test -e "$1" || exec strongroom keys new --output "$1"',
        lambda place: str(place.scratch / "recovery.key"),
    )
    wipe = _wipe(kept, "state" if with_key else "other-state")
    made = [
        Job(
            job="backup",
            tool=tool,
            layout=layout,
            command=backup,
            # As the peers' repositories, its state is there before; what is timed is a backup.
            before=(wipe, make_key, _strongroom("backups", "list")),
            keeps=kept,
        ),
        Job(job="verify", tool=tool, layout=layout, command=verify),
        Job(job="one secret", tool=tool, layout=layout, command=one, shows=True),
        Job(job="restore", tool=tool, layout=layout, command=restore, before=(_wipe("state/store"),)),
    ]
    return made if with_key else [made[0], made[2]]


# -- restic ---------------------------------------------------------------------------------


def _restic(repository: str, *words: str | Command) -> Command:
    def build(place: Place) -> list[str]:
        rest = [part for word in words for part in ([word] if isinstance(word, str) else word(place))]
        return ["restic", "-r", str(place.scratch / repository), *rest]

    return build


def _restic_jobs(layout: str) -> list[Job]:
    repository = f"restic-{layout}"
    what = "tree" if layout == "tree" else "secrets.jsonl"
    one: Command = lambda place: [f"/{place.one_file}" if layout == "tree" else "/secrets.jsonl"]
    out: Command = lambda place: [str(place.out)]
    return [
        Job(
            job="backup",
            tool="restic",
            layout=layout,
            command=_restic(repository, "backup", "-q", what),
            before=(_wipe(repository), _restic(repository, "init", "-q")),
            in_data=True,
            keeps=repository,
        ),
        Job(
            job="verify",
            tool="restic",
            layout=layout,
            command=_restic(repository, "check", "--read-data", "-q"),
        ),
        Job(
            job="one secret",
            tool="restic",
            layout=layout,
            command=_restic(repository, "dump", "latest", one),
            shows=True,
        ),
        Job(
            job="restore",
            tool="restic",
            layout=layout,
            command=_restic(repository, "restore", "latest", "-q", "--target", out),
            before=(_wipe("out"),),
        ),
    ]


# -- borg -----------------------------------------------------------------------------------


def _borg(repository: str, command: list[str], archive: str, *words: str | Command) -> Command:
    def build(place: Place) -> list[str]:
        rest = [part for word in words for part in ([word] if isinstance(word, str) else word(place))]
        return ["borg", *command, f"{place.scratch / repository}{archive}", *rest]

    return build


def _borg_jobs(layout: str) -> list[Job]:
    repository = f"borg-{layout}"
    what = "tree" if layout == "tree" else "secrets.jsonl"
    one: Command = lambda place: [str(place.one_file) if layout == "tree" else "secrets.jsonl"]
    restore = _sh(
        'cd "$1" && exec borg extract "$2"',
        lambda place: str(place.out),
        lambda place: f"{place.scratch / repository}::a",
    )
    return [
        Job(
            job="backup",
            tool="borg",
            layout=layout,
            command=_borg(repository, ["create", "-C", "zstd,3"], "::a", what),
            before=(_wipe(repository, "borg"), _borg(repository, ["init", "-e", "repokey-blake2"], "")),
            in_data=True,
            keeps=repository,
        ),
        Job(
            job="verify",
            tool="borg",
            layout=layout,
            command=_borg(repository, ["check", "--verify-data"], ""),
        ),
        Job(
            job="one secret",
            tool="borg",
            layout=layout,
            command=_borg(repository, ["extract", "--stdout"], "::a", one),
            shows=True,
        ),
        Job(job="restore", tool="borg", layout=layout, command=restore, before=(_wipe("out"), _mkdir("out"))),
    ]


# -- age ------------------------------------------------------------------------------------
# The whole file every time: age has no index. With tar in front for the tree.

_KEY = 'key="$1"; recipient=$(age-keygen -y "$key"); '


def _age_key(place: Place) -> str:
    return str(place.scratch / "age.key")


def _age_jobs(layout: str) -> list[Job]:
    sealed = f"{layout}.age"
    read = 'tar cf - -C "$2" tree' if layout == "tree" else 'cat "$2/secrets.jsonl"'
    unpack = 'tar xf - -C "$3"' if layout == "tree" else 'cat > "$3/secrets.jsonl"'
    found = 'tar xOf - "$3"' if layout == "tree" else 'grep -F -m1 "\\"$4\\""'
    data: Callable[[Place], str] = lambda place: str(place.data)
    at: Callable[[Place], str] = lambda place: str(place.scratch / sealed)
    out: Callable[[Place], str] = lambda place: str(place.out)
    file: Callable[[Place], str] = lambda place: str(place.one_file) if layout == "tree" else ""
    name: Callable[[Place], str] = lambda place: place.one
    key = _sh('test -e "$1" || age-keygen -o "$1"', _age_key)
    backup = _sh(f'{_KEY}{read} | age -r "$recipient" -o "$3"', _age_key, data, at)
    verify = _sh('age -d -i "$1" "$2" > /dev/null', _age_key, at)
    one = _sh(f'age -d -i "$1" "$2" | {found}; true', _age_key, at, file, name)
    restore = _sh(f'age -d -i "$1" "$2" | {unpack}', _age_key, at, out)
    return [
        Job(
            job="backup", tool="age", layout=layout, command=backup, before=(_wipe(sealed), key), keeps=sealed
        ),
        Job(job="verify", tool="age", layout=layout, command=verify),
        Job(job="one secret", tool="age", layout=layout, command=one, shows=True),
        Job(job="restore", tool="age", layout=layout, command=restore, before=(_wipe("out"), _mkdir("out"))),
    ]


def jobs() -> list[Job]:
    """Return everything that can be measured, in the order in which it has to run."""
    makers = (_strongroom_jobs, _restic_jobs, _borg_jobs, _age_jobs)
    made = [job for layout in ("tree", "jsonl") for make in makers for job in make(layout)]
    return [*made, *_strongroom_jobs("tree", tool=WITH_PASSPHRASE)]
