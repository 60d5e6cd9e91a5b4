"""The frozen set of services that operations work with; ``strongroom.wiring`` builds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from strongroom.container.certificate import CertifiedSigner
from strongroom.container.wrapping import WrappingKey
from strongroom.errors import ConfigError
from strongroom.keys import Opener, Recipient
from strongroom.operations.approval_rules import ApprovalRules
from strongroom.operations.keep_rules import ConfiguredPolicy
from strongroom.operations.listing import InProcessListing, Lister
from strongroom.operations.rotator import SecretRotator
from strongroom.operations.scheduled import Hooks
from strongroom.sources import Destination, ScratchPlace, Source
from strongroom.state.records import Run, Spec
from strongroom.system.lazy import lazy
from strongroom.targets import Target

if TYPE_CHECKING:
    from strongroom.operations.restore.work import RestoreWork, UndoWork
    from strongroom.state.store import RunStore

T = TypeVar("T")
_RECORDED_RESTORE = lazy("strongroom.operations.restore.by_record:RecordedRestore")
_RECORDED_UNDO = lazy("strongroom.operations.restore.by_record:RecordedUndo")


class RunLimits(Struct, frozen=True, kw_only=True):
    """Bounds on a run. Times in seconds.

    ``window`` is how many containers may be between capture and their last upload: with
    ``container_bytes`` it bounds the stage. ``attempts`` is how often a step may start. ``patience`` is how
    long a step waits for room or for a place that does not answer before that counts as a failure, and
    ``pause`` how long it does before it looks again.
    """

    lease: float = 15.0
    attempts: int = 5
    window: int = 8
    backoff: float = 1.0
    patience: float = 0.0
    pause: float = 15.0


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


@dataclass(frozen=True, kw_only=True, repr=False)
class Services:
    """Everything an operation may touch. Adapters connect on first use, after any fork.

    ``pinned`` looks a policy up in this process's own configuration. ``signers`` gives the
    private key of a role this process may act in, ``trusted`` the public keys of any role whose
    new signatures count, the newest first.
    ``hands_out`` is false where a run is only put on record: the cluster takes what is due.
    ``hooks`` are called around the runs of "policy NAME" or of an entry of the calendar.
    ``checks`` are what a run of kind CHECK does, by name.
    ``rotators`` give secrets new values; the first that fits a secret is its own.
    ``scratch`` gives the server on which drills make mounts of their own.
    ``work_key`` seals the objects on the stage, ``digest_key`` keys the digests of values.
    ``span`` is within how many seconds verification reads each container once.
    ``approvals`` says what people have to approve before this process does it.
    ``known_lists`` says who counts by the trust lists on the targets of each run that this process is at.
    ``restoring`` and ``undoing`` give what the steps of a restore, or of an undo, work with.
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
    signers: Callable[[str], CertifiedSigner]
    trusted: Callable[[str], Sequence[bytes]]
    signer_fingerprints: frozenset[str]
    identities: Callable[[], Sequence[Opener]]
    work_key: bytes
    digest_key: bytes
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
    restoring: Callable[[Run, Services], RestoreWork] = _RECORDED_RESTORE
    undoing: Callable[[Run, Services], UndoWork] = _RECORDED_UNDO
    wrapping_keys: dict[str, WrappingKey] = field(default_factory=dict)
    known_lists: dict[str, frozenset[str]] = field(default_factory=dict)

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
