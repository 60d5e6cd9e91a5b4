"""The whole pipeline once, with all that may go wrong in it: what the leak test searches after."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from redis import Redis

from strongroom.state.errors import RunNotFound
from strongroom.state.records import Run, StepKind, StepState
from strongroom.state.store import RunStore
from tests.chaos.frozen import halt
from tests.chaos.place import POLICY, Place, make_place
from tests.leaks import SABOTEUR
from tests.leaks.places import Everywhere
from tests.leaks.planted import planted
from tests.leaks.search import NAMES, Blob, Found, search
from tests.leaks.wiretap import Wiretap
from tests.operations.alerts.mail_server import MailServer
from tests.operations.alerts.receiver import Receiver
from tests.patience import PATIENCE, until
from tests.workers.cluster import RunningCluster
from tests.workers.collector import Collector
from tests.workers.sentry import Sink
from workers import paths


@dataclass(kw_only=True)
class Story:
    """A cluster through which a whole life of a backup has gone, and is still up."""

    place: Place
    cluster: RunningCluster
    store: RunStore
    wiretap: Wiretap
    collector: Collector
    sentry: Sink
    mail: MailServer
    hook: Receiver
    runs: dict[str, Run] = field(default_factory=dict)
    found_meanwhile: list[Found] = field(default_factory=list)
    names_meanwhile: list[Found] = field(default_factory=list)
    """Where names show before anything failed that names a secret."""
    staged_meanwhile: int = 0
    queued_meanwhile: int = 0
    told: bytes = b""
    """What commands said of it."""
    status: bytes = b""
    """What was said to whoever asked here for the run whose failure names a secret, and for the health."""

    @property
    def everywhere(self) -> Everywhere:
        """Where to look."""
        return Everywhere(self.place, self.cluster)

    def blobs(self) -> Iterator[Blob]:
        """All that is to be searched."""
        yield from self.everywhere
        yield "what Redis was sent", self.wiretap.heard
        yield "traces", repr(self.collector.taken).encode()
        yield "commands", self.told
        yield "the record, as it is shown here", self.status
        yield "Sentry", self.sentry.text.encode()
        for mail in self.mail.mails:
            yield "mail", mail.raw + mail.text.encode()
        for post in self.hook.posts:
            yield "webhook", repr(post.headers).encode() + post.body


@contextmanager
def told(root: Path) -> Iterator[Story]:
    """Live through it: a backup with a crash in it, a drill, a verification, a failing run."""
    with ExitStack() as undo:
        story = _begin(root, undo)
        armed = root / SABOTEUR.name / "armed"
        armed.write_text("abort")
        _back_up(story)
        _ask(story, "drill", f"tasks.drill.recovery_drill.delay(policy={POLICY!r})")
        backup = story.runs["backup"].id
        _ask(story, "verify", f"tasks.verify.verify_backup.delay(backup={backup!r}, depth='compared')")
        armed.write_text("quote")
        _ask(story, "failure", f"tasks.backup.full_backup.delay(policy={POLICY!r})")
        story.names_meanwhile = search(story.blobs(), NAMES)
        armed.write_text("name")
        _ask(story, "named", f"tasks.backup.full_backup.delay(policy={POLICY!r})")
        _tell(story)
        _save(story.everywhere)
        yield story


def _begin(root: Path, undo: ExitStack) -> Story:
    place = make_place(
        root, planted(), opens=True, depth="compared", limits="max_attempts = 2\nlease_seconds = 5\n"
    )
    saboteur = shutil.copytree(SABOTEUR, root / SABOTEUR.name)
    # The repository too: Python looks for the saboteur before it has put that on its path.
    path = os.pathsep.join(map(str, (saboteur, SABOTEUR.parents[2])))
    collector = undo.enter_context(Collector())
    sink = undo.enter_context(Sink())
    mail, hook = undo.enter_context(MailServer()), undo.enter_context(Receiver())
    more = {
        "PYTHONPATH": path,
        "STRONGROOM_TRACES__URL": collector.url,
        "STRONGROOM_SENTRY__DSN": sink.dsn,
    }
    cluster = RunningCluster(
        place.state,
        "--flower",
        "--metrics",
        "--page",
        "--started",
        environment={**place.environment, **more},
    )
    undo.callback(cluster.close)
    cluster.start()
    store = RunStore(place.database)
    undo.callback(store.close)
    wiretap = undo.enter_context(Wiretap(paths.broker_socket(place.state)))
    return Story(
        place=place,
        cluster=cluster,
        store=store,
        wiretap=wiretap,
        collector=collector,
        sentry=sink,
        mail=mail,
        hook=hook,
    )


def _back_up(story: Story) -> None:
    """Back up, and look around while containers lie on the stage and messages in queues."""
    transfer = story.cluster.pid("transfer")
    assert transfer is not None
    halt(transfer, story.place.state / "state.db")
    try:
        run = _submit(story, f"tasks.backup.full_backup.delay(policy={POLICY!r})")
        until(lambda: _all_captured(story.store, run), what="the captures")
        story.staged_meanwhile = sum(path.is_file() for path in story.place.stage.rglob("sealed/*/*"))
        with story.everywhere.redis() as client:
            story.queued_meanwhile = int(client.llen("transfer"))
        story.found_meanwhile = search(story.blobs())
    finally:
        os.kill(transfer, signal.SIGCONT)
    story.runs["backup"] = _end_of(story.store, run)


def _all_captured(store: RunStore, run: str) -> bool:
    tally = store.tally(run)
    done = tally.of(StepKind.CAPTURE, states=(StepState.DONE,))
    return done > 0 and tally.unsettled(StepKind.CAPTURE) == 0


def _ask(story: Story, name: str, request: str) -> None:
    story.runs[name] = _end_of(story.store, _submit(story, request))


def _submit(story: Story, request: str) -> str:
    """Ask in a plain Python shell; return the run's id."""
    program = f"import tasks.backup, tasks.drill, tasks.verify; print({request}.id)"
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **story.place.environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return until(lambda: _known(story.store, told.stdout.strip()), what="the run").id


def _known(store: RunStore, request: str) -> Run | None:
    try:
        return store.find(request)
    except RunNotFound:
        return None


def _end_of(store: RunStore, run: str) -> Run:
    def ended() -> Run | None:
        found = store.load(run)
        return found if found.state.final else None

    return until(ended, what=f"the end of {run}")


def _tell(story: Story) -> None:
    """Notify people of what failed, and write every report."""
    secret = story.place.root / "webhook-secret"
    secret.touch(mode=0o600)
    secret.write_text(f"whsec_{base64.b64encode(os.urandom(32)).decode()}")
    channels = {
        "STRONGROOM_ALERTS__EMAIL": '["one@example.org"]',
        "STRONGROOM_MAIL__HOST": "127.0.0.1",
        "STRONGROOM_MAIL__PORT": str(story.mail.port),
        "STRONGROOM_MAIL__SECURITY": "none",
        "STRONGROOM_CHANNELS__HOOK__KIND": "webhook",
        "STRONGROOM_CHANNELS__HOOK__URL": f"http://127.0.0.1:{story.hook.port}/hook",
        "STRONGROOM_CHANNELS__HOOK__SECRET_FILE": str(secret),
        "STRONGROOM_ROUTES__HOOK__TO": '["hook"]',
    }
    reports = story.place.root / "reports"
    reports.mkdir()
    for words in (
        ("alerts", "send"),
        ("reports", "audit", "--output", reports / "audit.json"),
        ("check", "controls", "--framework", "SOC2", "--output", reports / "compliance.json"),
        ("reports", "review", "--output", reports / "review.json"),
        ("runs", "show", story.runs["failure"].id),
    ):
        story.told += _strongroom(story, *words, more=channels)
    story.status = _strongroom(story, "runs", "show", story.runs["named"].id)
    story.status += _strongroom(story, "check")


def _strongroom(story: Story, *words: str | Path, more: Mapping[str, str] = MappingProxyType({})) -> bytes:
    return subprocess.run(
        [Path(sys.executable).parent / "strongroom", *words],
        env={**os.environ, **story.place.environment, **more},
        capture_output=True,
        timeout=PATIENCE,
        check=False,  # what is wrong is the point
    ).stdout


def _save(everywhere: Everywhere) -> None:
    """Have Redis write both of its files: all it holds, and its log anew."""
    with everywhere.redis() as client:
        client.save()
        client.bgrewriteaof()
        until(lambda: not _rewriting(client), what="the rewritten log")


def _rewriting(client: Redis) -> bool:
    told = client.info("persistence")
    return bool(told["aof_rewrite_in_progress"] or told["aof_rewrite_scheduled"])
