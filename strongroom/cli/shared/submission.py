"""Handing a run to the cluster by a signed message (``--cluster``), and what is refused before that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from strongroom.cli.shared import render_run
from strongroom.cli.shared.await_run import follow
from strongroom.cli.shared.drive_run import lack_of_all
from strongroom.cli.shared.services import run_store
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.config import PolicySettings, Settings
from strongroom.container.errors import MissingPiece
from strongroom.errors import ConfigError
from strongroom.sheet import Lines, Sheet
from strongroom.words import nearest

if TYPE_CHECKING:
    from strongroom.api.submission import Submission


def answer_submission(submitted: Submission, output: Output, *, wait: bool) -> Answer:
    """Say how to follow a run that was handed to the cluster, or wait for its end and tell that."""
    if wait:
        run = follow(output, submitted.run)
        return replace(
            render_run.answer_run(run, render_run.rows_of(run_store(), run)), error=lack_of_all([run])
        )
    said = f"Submitted: run {submitted.run} is on record."
    how = Lines([f"Follow it: strongroom runs show {submitted.run} --follow"])
    record = {"id": submitted.id, "run": submitted.run}
    return Answer(record=record, sheet=Sheet(verdict=said, parts=[how]))


def known_backup(backup: str, settings: Settings) -> str:
    """Return a backup that the catalog has, of a policy: of any other no run would ever come into being."""
    entry = run_store().backup(backup)
    if entry is None:
        raise MissingPiece(
            f"The catalog has no backup '{backup}'; nothing was submitted.",
            hint="See 'strongroom backups list'.",
        )
    if entry.policy not in settings.policies:
        raise ConfigError(
            f"No policy here made backup {backup}, so none says which targets have it. "
            "Nothing was submitted.",
            hint="To check a file or a target by itself: 'strongroom backups verify'.",
        )
    return backup


def known_policy(name: str, settings: Settings) -> PolicySettings:
    """Return a policy's settings. Raises ConfigError."""
    policy = settings.policies.get(name)
    if policy is None:
        known = nearest(name, settings.policies)
        raise ConfigError(f"There is no policy '{name}'; nothing was submitted.", hint=known)
    return policy
