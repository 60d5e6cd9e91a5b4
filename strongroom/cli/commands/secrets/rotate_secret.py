"""rotate-secret: give secrets new values, by the rotators of the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from msgspec import structs

from strongroom.cli.commands.secrets.arguments import RotateSecrets
from strongroom.cli.shared.render_run import confirm, plan_table
from strongroom.cli.shared.runs import by_ticket, showing_progress
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, in_line, plural
from strongroom.config import load_settings
from strongroom.errors import StrongroomError, UsageError
from strongroom.model import Selection
from strongroom.operations.engine.services import Services
from strongroom.operations.errors import (
    NoSuchIncident,
    NotAllRead,
    NothingSelected,
    RunDegraded,
    SecretNotRotated,
)
from strongroom.operations.procedures.incident import find_incident
from strongroom.operations.procedures.incident_exposure import find_unchanged
from strongroom.operations.rotation.secret_plan import (
    Rotated,
    SecretRotationPlan,
    SecretRotationResult,
    plan_rotation,
)
from strongroom.operations.rotation.secrets_job import rotate_secrets, rotated_by, without_run
from strongroom.sheet import Lines, Sheet, Table
from strongroom.sources.batches import matches
from strongroom.sources.errors import SecretNotFound
from strongroom.state.store import RunStore
from strongroom.system.process import who
from strongroom.words import name_first_few, nearest, told_alike, verb

# -- A rotation of secrets, planned or done, for people and for machines ------------------------


_WORDS = {
    SecretRotationResult.DONE: "new value",
    SecretRotationResult.ALREADY: "done before",
    SecretRotationResult.FAILED: "FAILED",
    SecretRotationResult.NO_ROTATOR: "no rotator",
    SecretRotationResult.MISSING: "not there",
    SecretRotationResult.WAITS: "not yet",
}


def answer_rotated(rotated: Rotated) -> Answer:
    """Answer with what a rotation did, secret by secret."""
    of = plural(len(rotated.secrets), "secret")
    began = f"Rotation {rotated.run}" if rotated.run else "Nothing to rotate"
    verdict = f"{began}: {len(rotated.done):,} of {of} of '{rotated.source}' done."
    if not rotated.secrets:
        verdict = "Nothing to rotate: no secret has a value any more that others may know."
    rows = [
        (secret.name, _WORDS[secret.result], secret.rotator or "-", secret.version or "-")
        for secret in rotated.secrets
    ]
    failed = [secret for secret in rotated.secrets if secret.name in rotated.failed]
    why = told_alike((in_line(secret.name), in_line(secret.why)) for secret in failed)
    kinds = ("done", "failed", "no_rotator", "missing")
    return Answer(
        record={**structs.asdict(rotated), **{kind: getattr(rotated, kind) for kind in kinds}},
        sheet=Sheet(
            verdict=verdict,
            parts=[
                Table(("Secret", "Result", "Rotator", "Version"), rows),
                Lines(list(why)),
                Lines(rotated.to_do, "What a person must still do", style="list"),
            ],
        ),
        error=_ending(rotated),
    )


# -- rotate-secret: give secrets new values, by the rotators of the configuration ---------------


_LEFT = (
    "one secret may have a new value that nothing else knows yet. The same command goes on where it stopped."
)
_OVER = (
    "rotation {run} has ended, {state}: 'strongroom secrets rotate --show {run}' shows the result of each "
    "secret. The same command would rotate them once more."
)


def rotate_secret(given: RotateSecrets, output: Output) -> Answer:
    services = open_services(load_settings())
    if given.way.show:
        return answer_rotated(rotated_by(services.store.find(given.way.show), services))
    reason = "" if given.way.dry_run else _reason(given)
    source, names = _asked(given, services, output)
    if not names:
        return answer_rotated(Rotated(source=source, run="", secrets=()))
    plan = plan_rotation(services, names, source=source, incident=given.incident)
    if given.way.dry_run:
        return Answer(record=plan, sheet=Sheet(parts=[plan_table(plan)]))
    if not plan.to_rotate:
        _refuse_unknown(plan)
        return answer_rotated(without_run(plan))
    confirm([plan], output, force=given.force)
    if given.way.cluster:
        return _submit(names, source, given, reason=reason)
    return answer_rotated(_rotate(names, source, given, services, output, reason=reason))


def _asked(given: RotateSecrets, services: Services, output: Output) -> tuple[str, list[str]]:
    """Return the source and the secrets that are meant. None are left of an incident that is dealt with."""
    selection = given.selected.selection()
    if given.name or selection != Selection():
        source = _source(given.source, services)
        if given.incident:
            _warn_unknown(given.incident, services, output)
        return source, [*given.name, *_selected(selection, source, services)]
    if not given.incident:
        raise UsageError("There is no secret to rotate.", hint="Name one, give a filter, or --incident ID.")
    return _exposed(given, services, output)


def _warn_unknown(incident: str, services: Services, output: Output) -> None:
    """Say that an incident is not known here. A target that has it may be away: nothing waits for that."""
    try:
        find_incident(services, incident)
    except NoSuchIncident as error:
        output.warn(f"{error.message} The rotation is on record under this word all the same.")


def _exposed(given: RotateSecrets, services: Services, output: Output) -> tuple[str, list[str]]:
    """Return the secrets of an incident whose current value others may know."""
    found = find_unchanged(services, find_incident(services, given.incident))
    for what, why in found.unknown.items():
        output.warn(f"{what} could not be read: {why}")
    if found.unknown:
        which = plural(len(found.unknown), "place")
        output.end_with(NotAllRead(f"{which} of incident {given.incident} may hold further secrets."))
    sources = [given.source] if given.source else list(found.names)
    if len(sources) > 1:
        raise UsageError(
            f"The incident is about secrets of {' and '.join(sources)}.", hint="Give --source, once for each."
        )
    source = sources[0] if sources else ""
    return source, list(found.names.get(source, ()))


def _source(name: str | None, services: Services) -> str:
    known = list(services.destinations)
    if name is None and len(known) == 1:
        return known[0]
    if name is None:
        raise UsageError("--source has to say which source has them.", hint=f"Known: {', '.join(known)}.")
    if name not in known:
        raise UsageError(f"There is no source '{name}' that can be written.", hint=nearest(name, known))
    return name


def _selected(selection: Selection, source: str, services: Services) -> list[str]:
    """Return the secrets that a filter selects."""
    if selection == Selection():
        return []
    listed = services.source(source).list(with_tags=bool(selection.tags))
    found = sorted(entry.name for entry in listed if matches(selection, entry))
    if not found:
        raise NothingSelected(f"The filter matches no secret of '{source}'.", hint="Nothing was changed.")
    return found


def _reason(given: RotateSecrets) -> str:
    if given.reason.strip():
        return str(given.reason.strip())
    if given.incident:
        return f"incident {given.incident}"
    raise UsageError("A reason is needed: it goes on record.", hint="Give --reason TEXT, or --incident ID.")


def _refuse_unknown(plan: SecretRotationPlan) -> None:
    """Say that names are mistyped, if none of them is there. Raises SecretNotFound."""
    if all(planned.missing for planned in plan.secrets):
        names = name_first_few([planned.name for planned in plan.secrets])
        raise SecretNotFound(
            f"Source '{plan.source}' has no secret {names}. Nothing was changed.",
            hint="Names are complete, and case-sensitive. For a pattern, write --include PATTERN, in quotes.",
        )


def _rotate(
    names: list[str],
    source: str,
    given: RotateSecrets,
    services: Services,
    output: Output,
    *,
    reason: str,
) -> Rotated:
    begun = list[str]()
    output.left = partial(_left, begun, services.store)
    with showing_progress(output, services.store) as watch:
        return rotate_secrets(
            services,
            names,
            source=source,
            reason=reason,
            incident=given.incident,
            by=who(),
            begun=begun.append,
            progress=by_ticket(watch),
        )


def _left(begun: Sequence[str], store: RunStore) -> str:
    """Say whether the same command goes on with an interrupted rotation, or would begin another."""
    run = store.load(begun[0]) if begun else None
    return _OVER.format(run=run.id, state=run.state.value) if run and run.state.final else _LEFT


def _submit(names: list[str], source: str, given: RotateSecrets, *, reason: str) -> Answer:
    from tasks.rotate_secret import rotate_secret as task

    submitted = task.delay(secrets=names, source=source, reason=reason, incident=given.incident, by=who())
    said = f"Run {submitted.run} is on record. The recover workers do it; they are normally stopped."
    follow = f"strongroom runs show {submitted.run} --follow"
    show = f"strongroom secrets rotate --show {submitted.run}"
    return Answer(
        record={"id": submitted.id, "run": submitted.run},
        sheet=Sheet(
            verdict=said,
            parts=[
                Lines([follow], "Follow it", style="code"),
                Lines([show], "Then see the result of each secret", style="code"),
            ],
        ),
    )


def _ending(rotated: Rotated) -> StrongroomError | None:
    """Return what keeps the rotation from being a good one: whoever only looks at the exit code learns it."""
    if rotated.failed:
        return SecretNotRotated(
            f"{plural(len(rotated.failed), 'secret')} could not be rotated: {name_first_few(rotated.failed)}",
            hint="What is said of each above says which value is current, and what to do.",
        )
    if left := (*rotated.no_rotator, *rotated.missing):
        return RunDegraded(
            f"{plural(len(left), 'secret')} {verb(len(left), 'have')} no new value: {name_first_few(left)}",
            hint="Give each a new value by hand, or write a rotator for it: docs/how-to/rotate-a-secret.md.",
        )
    return None
