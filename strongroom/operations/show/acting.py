"""What people may ask for on the page, once more before it is asked for, and what became of it."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from strongroom.operations.show.frame import quoted, reason_of
from strongroom.sheet import Cell, Lines, Mood, Pairs, Picture, Sheet, markup
from strongroom.state.records import RESTORES, Event, Run, RunKind

ASKED: Final = "page.asked"
"""What somebody asked for on the page was done, by whom."""
REFUSED: Final = "page.refused"
"""It was not, and why."""

AT_A_TERMINAL: Final = (*RESTORES, RunKind.ROTATE_SECRET)
"""The kinds of runs that are taken up again at a terminal alone: people agree on what they write."""

_WORDS: Final = {
    "run": ("Run now", "It runs at once, and its next time stays as it is."),
    "retry": ("Retry", "The run is taken up again, from its first step."),
    "acknowledge": (
        "Acknowledge",
        "It is not repeated unless it becomes worse or comes back. The reason goes on record.",
    ),
}


def retrying(run: Run) -> Cell:
    """Return how somebody who looks at the page has a failed run taken up again."""
    if run.spec.kind in AT_A_TERMINAL:
        return Cell(f"strongroom runs retry {run.id}", code=True)
    return link("retry", run.id)


def link(what: str, of: str) -> Cell:
    """Return the way to the page that asks once more."""
    return Cell(_WORDS[what][0], link=f"/act/{what}?of={quote(of, safe='')}")


def form(what: str, of: str, *, token: str, wrong: str = "") -> Sheet:
    """Return the page that asks once more. Nothing is done by a link: a form with this visitor's own token is
    sent."""
    name, means = _WORDS[what]
    told = f'<p role="alert" class="bad">{markup(wrong)}</p>\n' if wrong else ""
    reason = (
        '<label for="reason">Why, or what you do</label>'
        '<input id="reason" name="reason" maxlength="150" required>\n'
    )
    inner = (
        f'{told}<form method="post" action="/act/{what}" class="act">\n'
        f'<input type="hidden" name="token" value="{markup(token)}">\n'
        f'<input type="hidden" name="of" value="{markup(of)}">\n'
        f"{reason if what == 'acknowledge' else ''}<button>{name}</button></form>\n"
    )
    return Sheet(title=f"{name}: {of}", parts=[Lines([means]), Picture(inner)])


def waits(request: str) -> Sheet:
    """Return the page of something that has no answer yet."""
    about = (
        "The control pool has not taken it up yet. If this stays, it does not run: nothing was done then. ",
        Cell(f"request {request}", code=True),
    )
    return Sheet(title="Asked for", verdict="It was asked for", about=about)


def answer(found: Event) -> Sheet:
    """Return the page of what became of it."""
    said = found.detail
    pairs = Pairs([("What", said.get("what")), ("Of", said.get("subject")), ("Asked by", said.get("by"))])
    if found.kind == REFUSED:
        code = str(said.get("code", ""))
        # These words are about what was asked for: no run said them, so they name no secret.
        own = code in ("UsageError", "NothingToDo", "ConfigError")
        why = f"{said.get('why')} {said.get('hint')}" if own else reason_of(code)
        return Sheet(title="Asked for", verdict="It was refused", mood=Mood.BAD, about=why, parts=[pairs])
    run = Cell(found.run, link=f"/runs/{quoted(found.run)}") if found.run else ""
    about = ("The run: ", run) if run else "It is on record."
    return Sheet(title="Asked for", verdict="It is done", mood=Mood.GOOD, about=about, parts=[pairs])
