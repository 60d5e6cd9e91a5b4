"""Holds: backups that nothing may remove, until a person lets them go."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct

from strongroom.container.manifest import Manifest
from strongroom.container.marks import HOLD, HoldMark
from strongroom.errors import StrongroomError
from strongroom.model import Role, Selection
from strongroom.operations.archive.coverage import Asked, BackupPlace
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.engine.layout import base_of
from strongroom.operations.engine.statements import StatementsOn, fit, last_word, merge_newest, write_mark
from strongroom.times import rfc3339

if TYPE_CHECKING:  # a restore looks at holds on targets, and loads no database
    from strongroom.operations.engine.services import Services
    from strongroom.state.store import RunStore

HELD, RELEASED = "hold.added", "hold.released"

Kind = Literal["backup", "tag", "policy"]


class HoldSubject(Struct, frozen=True, kw_only=True):
    """A backup, as far as a hold asks for it."""

    backup: str
    policy: str
    selection: Selection

    @classmethod
    def of(cls, manifest: Manifest) -> HoldSubject:
        """Return the backup that a manifest is of."""
        chosen = manifest.selection
        selection = Selection(include=chosen.include, exclude=chosen.exclude, tags=chosen.tags)
        return cls(backup=manifest.backup_id, policy=manifest.policy, selection=selection)


class Holds(Struct, frozen=True, kw_only=True):
    """The holds that stand. ``unread`` says why the marks of a target could not be read."""

    standing: tuple[HoldMark, ...] = ()
    unread: Mapping[str, str] = {}
    aside: Mapping[str, str] = {}

    def why(self, subject: HoldSubject) -> str:
        """Say what holds a backup; nothing if nothing does."""
        return next((describe(mark) for mark in self.standing if holds(mark, subject)), "")


def holds(mark: HoldMark, subject: HoldSubject) -> bool:
    """Tell whether a hold is about a backup.

    One about a tag holds every backup that may have a secret with that tag. One about a backup holds what it
    was before it was sealed anew, and what it is since.
    """
    if mark.kind == "backup":
        return base_of(subject.backup) == base_of(mark.subject)
    if mark.kind == "policy":
        return subject.policy == mark.subject
    key, _, value = mark.subject.partition("=")
    return mark.kind == "everything" or subject.selection.tags.get(key, value) == value


def describe(mark: HoldMark) -> str:
    """Say what is held, since when, by whom and why."""
    what = f"{mark.kind} {mark.subject}".rstrip()
    by = f" by {mark.by}" if mark.by else ""
    until = f", until {mark.until}" if mark.until else ""
    return f"{what} is held since {mark.at}{by}{until}: {mark.reason}"


def held_backups(services: Services, kind: Kind, subject: str) -> list[str]:
    """Return the backups on the targets that a hold would be about, newest first.

    Raises:
        TargetError: no target answers.
    """
    mark = _mark(kind, subject, "held", reason="", by="")
    chooser = Chooser(
        [BackupPlace(name, partial(services.target, name)) for name in services.targets],
        trusted=services.signer_fingerprints,
    )
    if chooser.away and not chooser.listings:
        raise next(iter(chooser.away.values()))
    listed = chooser.listed(Asked(values=False, partial=True))
    return [signed.manifest.backup_id for signed, _ in listed if holds(mark, HoldSubject.of(signed.manifest))]


# -- placing and lifting -----------------------------------------------------------------------------


def hold(
    services: Services, kind: Kind, subject: str, *, reason: str, by: str, until: str = ""
) -> dict[str, str]:
    """Place a hold: on record, and on every target; return on which it could not be written, and why."""
    return _set(services, _mark(kind, subject, "held", reason=reason, by=by, until=until))


def release(services: Services, kind: Kind, subject: str, *, reason: str, by: str) -> dict[str, str]:
    """Lift a hold; return on which targets that could not be written, and why."""
    return _set(services, _mark(kind, subject, "released", reason=reason, by=by))


def _mark(
    kind: Kind, subject: str, state: Literal["held", "released"], *, reason: str, by: str, until: str = ""
) -> HoldMark:
    return HoldMark(
        kind=kind,
        subject=subject,
        number=1,
        state=state,
        reason=fit(reason),
        by=fit(by),
        at=rfc3339(time.time()),
        until=until,
    )


def _set(services: Services, mark: HoldMark) -> dict[str, str]:
    HOLD.check(mark)  # before it is on record
    signer = services.signers(Role.CONTROL)  # a host that may not sign it puts nothing on record, either
    detail = {"of": mark.kind, "subject": mark.subject, "reason": mark.reason, "by": mark.by}
    if mark.state == "held":
        services.store.event(HELD, **detail, until=mark.until)
    else:
        services.store.event(RELEASED, **detail)
    return write_mark(
        list(services.targets.values()),
        HOLD,
        mark,
        signer=signer,
        trusted=services.signer_fingerprints,
    )


# -- what stands -------------------------------------------------------------------------------------


def read_holds(services: Services, *, now: float) -> Holds:
    """Return the holds that stand, by the marks on all targets that answer and by the record here."""
    places, unread = _read(services)
    marks = merge_newest(HOLD, (place.all() for place in places.values()))
    standing = standing_holds(marks.newest, recorded_holds(services.store), now=now)
    return Holds(standing=standing, unread=unread, aside=marks.aside)


def standing_holds(
    marks: Mapping[str, HoldMark], recorded: Mapping[str, HoldMark], *, now: float
) -> tuple[HoldMark, ...]:
    """Return the holds that stand, by the marks on targets and by a record; both are by folder."""
    said = (
        last_word(HOLD, marks.get(subject), recorded.get(subject)) for subject in sorted({*marks, *recorded})
    )
    return tuple(
        mark for mark in said if mark is not None and mark.state == "held" and not _is_over(mark, now)
    )


def _is_over(mark: HoldMark, now: float) -> bool:
    try:
        return bool(mark.until) and datetime.fromisoformat(mark.until).timestamp() <= now
    except ValueError:  # of a row that somebody edited
        return False


def said_last(services: Services, kind: Kind, subject: str) -> HoldMark | None:
    """Return what was said last about a subject, that it is held or released; nothing if nobody did."""
    places, _ = _read(services)
    marks = merge_newest(HOLD, (place.all() for place in places.values())).newest
    folder = _mark(kind, subject, "held", reason="", by="").folder
    return last_word(HOLD, marks.get(folder), recorded_holds(services.store).get(folder))


def _read(services: Services) -> tuple[dict[str, StatementsOn[HoldMark]], dict[str, str]]:
    """Return the marks of each target that answers, and why another does not."""
    places: dict[str, StatementsOn[HoldMark]] = {}
    unread: dict[str, str] = {}
    for name, target in services.targets.items():
        try:
            places[name] = StatementsOn(target, HOLD, trusted=services.signer_fingerprints)
            places[name].all()
        except StrongroomError as error:
            places.pop(name, None)
            unread[name] = f"{error.code}: {error.message}"
    return places, unread


def recorded_holds(store: RunStore) -> dict[str, HoldMark]:
    """Return the last word of a record about each subject, by its folder."""
    last: dict[str, HoldMark] = {}
    for event in store.each_event(HELD, RELEASED):
        with suppress(msgspec.ValidationError):  # an odd row says nothing, and must not hide the others
            detail = dict(event.detail)
            state = "held" if event.kind == HELD else "released"
            fields = {
                "kind": detail.pop("of", ""),
                "number": 1,
                "state": state,
                "at": rfc3339(event.at),
                "until": "",
            }
            mark = msgspec.convert(fields | detail, HoldMark)
            last[mark.folder] = mark
    return last
