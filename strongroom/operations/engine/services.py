"""The frozen set of services that operations work with; ``strongroom.wiring`` builds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec
from msgspec import Struct

from strongroom.config.approvals import ApprovalRuleSettings, ApprovalSettings
from strongroom.config.policies import KeepSettings
from strongroom.container.manifest import Manifest
from strongroom.container.signing import CertifiedSigner
from strongroom.container.wrapping import WrappingKey
from strongroom.errors import ConfigError, StrongroomError
from strongroom.keys import Opener, Recipient
from strongroom.keys.sshsig import AllowedSigner
from strongroom.model import Depth, Role, SecretBytes, Selection
from strongroom.operations.engine.calendar_entries import Hooks
from strongroom.operations.engine.layout import InProcessListing, Lister
from strongroom.operations.errors import NothingOpens
from strongroom.sources import Destination, ScratchPlace, Source
from strongroom.state.records import Pool, RecipientPin, Run, RunKind, Spec
from strongroom.system.lazy import lazy
from strongroom.targets import Target

if TYPE_CHECKING:
    from strongroom.operations.drills.work import DrillWork
    from strongroom.operations.restore.work import RestoreWork, UndoWork
    from strongroom.state.store import RunStore


# -- What a process's own configuration asks approvals for: frozen, and nothing that a row can change


class ApprovalRule(ApprovalRuleSettings, frozen=True, kw_only=True):
    """A rule by its name."""

    name: str


def no_signers() -> Sequence[AllowedSigner]:
    """Return nobody: without rules nobody is asked."""
    return ()


class ApprovalRules(Struct, frozen=True, kw_only=True):
    """All rules, who may do without (``break_glass``), for how many seconds a request holds, and whose
    signatures count: the file is read each time, so that a person who was taken out counts no more."""

    rules: tuple[ApprovalRule, ...] = ()
    break_glass: ApprovalRule | None = None
    valid: float = ApprovalSettings().valid
    signers: Callable[[], Sequence[AllowedSigner]] = no_signers


# -- What this process's own configuration says of a policy, and of keeping its backups ---------


class KeepRules(KeepSettings, frozen=True, kw_only=True):
    """What a policy says of keeping: so many of the newest, and one of so many days, weeks and so on.

    With none of these, everything is kept. ``zone`` says when a day begins.
    """

    minimum_days: int = 365
    minimum_count: int = 3
    zone: tzinfo = UTC


class ConfiguredPolicy(Struct, frozen=True, kw_only=True):
    """A policy as this host's own configuration has it: what it backs up, when, and how long that is kept.

    ``spec`` says what makes a backup of it whole. ``offline``: its targets are media that lie in a safe.
    ``unpinned`` are those of its keys whose key services did not say which key it is, with why: where they
    were asked, ``spec.recipients`` are the others. ``legal_hold`` says why nothing of it may be removed for
    now. ``grace_days`` is how long a backup is marked before it is deleted.
    """

    spec: Spec
    schedule: str | None = None
    time_zone: str = "UTC"
    offline: bool = False
    keep: KeepRules = KeepRules()
    legal_hold: str = ""
    grace_days: float = 7
    unpinned: Mapping[str, StrongroomError] = {}

    @property
    def name(self) -> str:
        return self.spec.policy

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(pin.name for pin in self.spec.targets)

    @property
    def depth(self) -> Depth:
        return self.spec.depth


# -- Rotators as this process's own configuration has them: which secrets they are for, and what they do


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What a value is made of. Each of ``classes`` has at least one of its characters in it."""

    length: int
    classes: tuple[str, ...]


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A program and its arguments, and the seconds that it may take."""

    command: tuple[str, ...]
    timeout: float


class Engine(Protocol):
    """A secrets engine's endpoints for one secret."""

    def rotate(self) -> None:
        """Have the engine make another value. Raises VaultError."""
        ...

    def read(self) -> SecretBytes | None:
        """Return the value that counts now; ``None`` if the engine keeps it to itself. Raises VaultError."""
        ...


class CarriedValue(msgspec.Struct, frozen=True, kw_only=True):
    """A new value of a secret, which is at its source already, on its way to whatever checks it.

    A process that dies gives the same value again: whoever takes it takes it twice.
    """

    value: SecretBytes
    secret: str
    source: str
    run: str


class RotatorWork(msgspec.Struct, frozen=True, kw_only=True):
    """What a kind of rotator does to one secret.

    With a ``shape`` Strongroom makes the value and writes it; then ``program`` gets it on its standard input,
    or ``carry`` is called with it, and brings it to whatever checks it. ``carry`` raises SecretNotRotated if
    that does not take the value: then the former one is made current again. With an ``engine`` another makes
    the value, for the secret of a name. With neither the secret's source rotates it by itself.

    Args:
        does: what it does, for people: "writes a random value".
    """

    does: str
    shape: Shape | None = None
    program: Program | None = None
    carry: Callable[[CarriedValue], None] | None = None
    engine: Callable[[str], Engine] | None = None

    @property
    def by_hand(self) -> bool:
        """Whether a person has to bring the new value to whatever checks it."""
        return self.shape is not None and self.program is None and self.carry is None


class SecretRotator(msgspec.Struct, frozen=True, kw_only=True):
    """What gives secrets a new value.

    Args:
        source: the source whose secrets it is for; empty for any.
        destination: the source whose login writes; empty for the one that is found (``Services.writer``).
        field: the field of a JSON object that holds the value; empty for the whole value, or the only field.
        work: what it does.
        check: gets the value on its standard input; its exit code says whether the value works.
        timeout: seconds to wait for a rotation that somebody else performs.
        to_do: what a person must still do afterwards.
    """

    name: str
    work: RotatorWork
    source: str = ""
    destination: str = ""
    selection: Selection = Selection()
    field: str = ""
    check: Program | None = None
    timeout: float = 60.0
    to_do: str = ""


# -- The frozen set of services that operations work with; ``strongroom.wiring`` builds it ------


T = TypeVar("T")
_RECORDED_RESTORE = lazy("strongroom.operations.restore.by_record:RecordedRestore")
_RECORDED_UNDO = lazy("strongroom.operations.restore.by_record:RecordedUndo")
_RECORDED_DRILL = lazy("strongroom.operations.drills.by_record:RecordedDrill")


class RunLimits(Struct, frozen=True, kw_only=True):
    """Bounds on a run. Times in seconds.

    ``window`` is how many containers may be between capture and their last upload: with
    ``container_bytes`` it bounds what one run has on the stage; ``stage_bytes`` bounds what all have there
    (0: nothing does). ``attempts`` is how often a step may start. ``patience`` is how
    long a step waits for room or for a place that does not answer before that counts as a failure, and
    ``pause`` how long it does before it looks again. ``at_once`` is how many runs of a kind a cluster has at
    work (0: whoever begins a run drives it, and none waits for its turn).
    """

    lease: float = 15.0
    attempts: int = 5
    window: int = 8
    stage_bytes: int = 0
    backoff: float = 1.0
    patience: float = 0.0
    pause: float = 15.0
    at_once: int = 0


class CachedManifest(Struct, frozen=True, kw_only=True):
    """A manifest as a target had it at a time (of the monotonic clock), and who counted as its signer."""

    trusted: frozenset[str]
    manifest: Manifest
    read_at: float


class Pinned(Struct, frozen=True, kw_only=True):
    """A policy as *this* process's own configuration has it: what a run must agree with.

    ``recipients`` is empty in a process that does not seal. So is ``index_recipients``, who may open the
    index of names, and where a policy has none.
    """

    spec: Spec
    recipients: tuple[Recipient, ...] = ()
    index_recipients: tuple[Recipient, ...] = ()


class CheckResult(Struct, frozen=True, kw_only=True):
    """What a check of the calendar found. ``bad`` names each thing that is wrong, without the name of a
    secret; ``do`` says what to do about it, if something is."""

    bad: tuple[str, ...] = ()
    do: str = ""


def no_scratch(name: str) -> ScratchPlace:
    """Refuse to make a scratch mount: most processes have no right to."""
    raise ConfigError(
        f"this process may make no scratch mount on '{name}'",
        hint="The drill workers may, on servers with 'scratch' in their settings.",
    )


class StageUsage(Struct, frozen=True, kw_only=True):
    """How many bytes of runs a process takes a stage to hold, up to how many it goes by that, and until when
    (by its monotonic clock)."""

    taken: int
    up_to: int
    until: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Services:
    """Everything an operation may touch. Adapters connect on first use, after any fork.

    ``pinned`` looks a policy up in this process's own configuration. ``signers`` gives the
    private key of a role this process may act in, ``trusted`` the public keys of any role whose
    signatures count in a run that began at a time, the newest first.
    ``require_roles`` refuses, where a person's own command line would drive a run, pools whose keys its host
    was not given; a worker drives none.
    ``hands_out`` is false where a run is only put on record: the cluster takes what is due.
    ``hooks`` are called around the runs of "policy NAME" or of an entry of the calendar.
    ``checks`` are what a run of kind CHECK does, by name.
    ``rotators`` give secrets new values; the first that fits a secret is its own.
    ``scratch`` gives the server on which drills make mounts of their own.
    ``stage`` is the folder in the state directory, ``stages`` are those that several hosts reach: which of
    them a run has, :mod:`~strongroom.operations.engine.stage` says.
    ``work_key`` seals the objects on the stage, ``digest_key`` keys the digests of values.
    ``span`` is within how many seconds verification reads each container once.
    ``approvals`` says what people have to approve before this process does it.
    ``known_lists`` says who counts by the trust lists on the targets of each run that this process is at,
    ``held_manifests`` has the manifests that it read of some just now, by run, target and digest,
    ``stage_usage`` how much it takes each stage to hold.
    ``restoring``, ``undoing`` and ``drilling`` give what the steps of such a run work with.
    ``retention`` returns every policy's rules for keeping, ``installation`` this installation's
    fingerprint, empty if nothing was signed here yet.
    """

    owner: str
    state_dir: Path
    store: RunStore
    stage: Target
    targets: Mapping[str, Target]
    sources: Mapping[str, Source]
    pinned: Callable[[str], Pinned]
    signers: Callable[[Role], CertifiedSigner]
    trusted: Callable[[Role, float], Sequence[bytes]]
    signer_fingerprints: frozenset[str]
    identities: Callable[[], Sequence[Opener]]
    work_key: bytes
    digest_key: bytes
    stages: Mapping[str, Target] = field(default_factory=dict)
    destinations: Mapping[str, Destination] = field(default_factory=dict)
    hooks: Mapping[str, Hooks] = field(default_factory=dict)
    checks: Mapping[str, Callable[[Services], CheckResult]] = field(default_factory=dict)
    rotators: Sequence[SecretRotator] = ()
    writers: Mapping[str, str] = field(default_factory=dict)
    scratch: Callable[[str], ScratchPlace] = no_scratch
    limits: RunLimits = RunLimits()
    approvals: ApprovalRules = field(default_factory=ApprovalRules)
    span: float = 30 * 86_400.0
    retention: Callable[[], Mapping[str, ConfiguredPolicy]] = dict
    installation: Callable[[], str] = str
    listing: Lister = InProcessListing
    hands_out: bool = True
    require_roles: Callable[[Iterable[Pool]], None] = lambda _: None
    restoring: Callable[[Run, Services], RestoreWork] = _RECORDED_RESTORE
    undoing: Callable[[Run, Services], UndoWork] = _RECORDED_UNDO
    drilling: Callable[[Run, Services], DrillWork] = _RECORDED_DRILL
    wrapping_keys: dict[str, WrappingKey] = field(default_factory=dict)
    known_lists: dict[str, frozenset[str]] = field(default_factory=dict)
    held_manifests: dict[tuple[str, str, str], CachedManifest] = field(default_factory=dict)
    stage_usage: dict[str, StageUsage] = field(default_factory=dict)

    @property
    def read_within(self) -> float:
        """Twice the span: what nobody read for longer counts as not verified any more."""
        return 2 * self.span

    def source(self, name: str) -> Source:
        """Return a configured source."""
        return _look_up(self.sources, name, "source")

    def target(self, name: str) -> Target:
        """Return a configured target."""
        return _look_up(self.targets, name, "target")

    def destination(self, name: str) -> Destination:
        """Return a configured place to restore into."""
        return _look_up(self.destinations, name, "destination")

    def writer(self, source: str) -> str:
        """Return the name of the destination whose login writes a source's secrets: often its own may not."""
        return self.writers.get(source, source)

    def wrapping_key(self, run: str, recipients: Sequence[Recipient]) -> WrappingKey:
        """Return this process's wrapping key for a run, making it on first use.

        One a process and run: 200 containers cost one wrap a
        recipient. Only the newest is kept, so a finished run's key does not linger. It may lack a
        recipient whose key is lost or away: the run says so.
        """
        if run not in self.wrapping_keys:
            self.wrapping_keys.clear()
            self.wrapping_keys[run] = WrappingKey.create(recipients, may_lack=True)
        return self.wrapping_keys[run]


def _look_up(things: Mapping[str, T], name: str, what: str) -> T:
    try:
        return things[name]
    except KeyError:
        known = ", ".join(sorted(things)) or "none"
        raise ConfigError(f"this process has no {what} named '{name}' (known: {known})") from None


# -- What a process opens backups with; where it has nothing, what a person has to give it ------


_SETTING = {
    "hpke": "keys.{name}.identity_file",
    "pkcs11-ec": "keys.{name}.module, token and pin_file",
    "quorum": "the key of the quorum '{name}', which its custodians bring together "
    "(docs/how-to/use-a-quorum.md)",
    "all-of": "a key of each of keys.{name}.legs",
}
_OTHER = "keys.{name}"
_SEALS_ONLY = "this host seals only: it is given no private key, HSM or key service that opens backups"
_ROTATE = (
    "Give the key that the backups open with now: 'strongroom keys rotate {policy} --identity FILE'. "
    "Workers need "
    "it in their configuration, for as long as this takes. Or, where the old private key is: 'strongroom "
    "keys replace --current-key OLD --new-key NEW'."
)
_OR = {
    RunKind.VERIFY: " Or compare digests, which needs no key: 'strongroom backups verify {backup} "
    "--cluster'.",
}


def openers(spec: Spec, services: Services) -> Sequence[Opener]:
    """Return what this process opens with.

    Raises:
        NothingOpens: it has nothing; the hint names what is missing of the run's own keys.
    """
    if found := services.identities():
        return found
    if spec.kind is RunKind.ROTATE:
        raise NothingOpens(_SEALS_ONLY, hint=_ROTATE.format(policy=spec.policy))
    missing = "; or ".join(map(_setting, spec.recipients)) or "a key that opens them"
    instead = _OR.get(spec.kind, "").format(backup=spec.backup)
    raise NothingOpens(
        _SEALS_ONLY,
        hint=f"Give it, for as long as this takes, {missing} in its configuration.{instead}",
    )


def _setting(pin: RecipientPin) -> str:
    return _SETTING.get(pin.type, _OTHER).format(name=pin.name)
