"""Several hosts over one database, one stage and nothing else in common, each step on another of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from strongroom.errors import StrongroomError
from strongroom.model import ObjectInfo, Role
from strongroom.operations.engine.services import Pinned, Services
from strongroom.operations.engine.stage import pin_stage, rights_on_stage
from strongroom.operations.engine.steps import perform, pools, reconcile
from strongroom.operations.engine.submit import Submitted
from strongroom.state.records import Run, Ticket
from strongroom.targets import Target
from strongroom.targets.directory import DirectoryTarget
from strongroom.targets.memory import MemoryTarget
from tests.operations.world import World
from tests.patience import PATIENCE

MARKS = (b"CANARY-", b"app/0")
"""What no byte on a stage may show: values, and names of secrets."""


class Watched(Target):
    """A stage that refuses bytes in the clear, and what the role that is at work has no right to.

    ``role`` is who is at work; ``wrong`` has what it did that it may not.
    """

    def __init__(self, inner: Target) -> None:
        super().__init__(inner.place)
        self.inner, self.role, self.puts = inner, Role.OPERATOR, 0
        self.wrong: set[tuple[str, str, str]] = set()

    def _may(self, verb: str, name: str) -> None:
        granted = any(
            getattr(right, verb) and name.startswith(right.prefix) for right in rights_on_stage(self.role)
        )
        if not granted:
            self.wrong.add((self.role.value, verb, name.partition("/")[0]))

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        self._may("put", name)
        content = b"".join(bytes(chunk) for chunk in chunks)
        assert not [mark for mark in MARKS if mark in content or mark in name.encode()], name
        self.puts += 1
        return self.inner.put(name, [content], size=size, sha256=sha256)

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        self._may("get", name)
        return self.inner.read(name, offset=offset, length=length)

    def stat(self, name: str) -> ObjectInfo | None:
        self._may("get", name)
        return self.inner.stat(name)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self._may("list", prefix)
        return self.inner.list(prefix)

    def delete(self, name: str) -> None:
        self._may("delete", name)
        self.inner.delete(name)

    def abort_incomplete(self, prefix: str) -> int:
        self._may("delete", prefix)
        return self.inner.abort_incomplete(prefix)

    def require_room(self, size: int) -> None:
        self.inner.require_room(size)

    def names(self) -> set[str]:
        return {info.name for info in self.inner.list()}


class Hosts:
    """So many hosts. A step is performed by any of them, in the role of its pool.

    Args:
        inner: their stage; one in memory, if left out.
    """

    def __init__(
        self,
        world: World,
        folder: Path,
        *,
        inner: Target | None = None,
        count: int = 3,
        seed: int = 7,
        **changed: Any,
    ) -> None:
        inner = inner or MemoryTarget(name="default", region="stage")
        if isinstance(world.stage, DirectoryTarget):  # one that outlives a process
            inner = DirectoryTarget(folder / "shared-stage", name="default", region="stage")
            inner.prepare()
        self.stage = Watched(inner)
        self.world = world.with_spec(stage=pin_stage("default", self.stage))
        self.random = Random(seed)
        self.services = [self._host(folder / f"host-{number}", **changed) for number in range(count)]

    def _host(self, folder: Path, **changed: Any) -> Services:
        folder.mkdir(parents=True)
        recipient = self.world.identity.recipient()
        pinned = Pinned(spec=self.world.spec, recipients=(recipient,), index_recipients=(recipient,))
        own = MemoryTarget(name="stage", region="local")
        given = {
            "state_dir": folder,
            "stage": own,
            "stages": {"default": self.stage},
            "pinned": lambda _: pinned,
            **changed,
        }
        return self.world.services(**given)

    @property
    def any(self) -> Services:
        return self.random.choice(self.services)

    def load(self, run: str) -> Run:
        return self.services[0].store.load(run)

    def step(self, ticket: Ticket) -> list[Ticket]:
        """Perform a step somewhere, in its role."""
        self.stage.role = Role(pools()[ticket.step.kind].value)
        try:
            return perform(ticket, self.any)
        finally:
            self.stage.role = Role.OPERATOR

    def carry_out(self, submitted: Submitted, *, until: Callable[[], bool] = lambda: False) -> Run:
        """Perform a run to its end, or until something is so."""
        run, due = submitted[0], list(submitted[1])
        deadline = time.monotonic() + PATIENCE
        while not self.load(run).state.final and not until():
            assert time.monotonic() < deadline, self.load(run)
            due = due or self._due(run)
            if due:
                due += self.step(due.pop(0))
        return self.load(run)

    def _due(self, run: str) -> list[Ticket]:
        services = self.any
        self.stage.role = Role.CONTROL
        with suppress(StrongroomError):
            return [*reconcile(services), *services.store.take_ready(run, window=8)]
        return []

    def left(self) -> set[str]:
        """Return what is on the stage but for what outlives runs."""
        return {name for name in self.stage.names() if name.startswith("runs/")}

    def without(self, number: int) -> Hosts:
        """Return the same hosts but for one, which is lost with all that was on it."""
        lessened = object.__new__(Hosts)
        lessened.__dict__.update(self.__dict__)
        lessened.services = [each for index, each in enumerate(self.services) if index != number]
        return lessened

    def over(self, inner: Target) -> Hosts:
        """Return the same hosts over another stage of the same address."""
        changed = object.__new__(Hosts)
        changed.__dict__.update(self.__dict__)
        changed.stage = Watched(inner)
        changed.services = [replace(each, stages={"default": changed.stage}) for each in self.services]
        return changed
