"""What every step works with: the record, the questions, the work that needs keys, and whom to call."""

from __future__ import annotations

import socket
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from strongroom.cli.commands.recovery.dialogue import Dialogue
from strongroom.cli.commands.recovery.forked_step import A, Ended, Shown, Work, run, run_with
from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.failures import block_of
from strongroom.cli.terminal.output import Output, clean, paint
from strongroom.cli.terminal.place import Place
from strongroom.errors import StrongroomError, meaning_of
from strongroom.operations.archive.recoveries import About, Proof, Recovery, RecoveryEntry, Step
from strongroom.operations.recovery.messages import Plan
from strongroom.operations.recovery.places import RecordPlaces
from strongroom.system.person import who
from strongroom.timestamps import rfc3339


class Desk:
    """One recovery, on one machine, in one process."""

    def __init__(
        self,
        arguments: Namespace,
        output: Output,
        here: Place,
        *,
        places: RecordPlaces,
        plan: Plan,
        dialogue: Dialogue,
        recovery: Recovery,
    ) -> None:
        self.arguments, self.output, self.here = arguments, output, here
        self.places, self.plan, self.dialogue = places, plan, dialogue
        self.recovery = recovery
        self._failed: dict[str, tuple[str, str]] = {}
        self.short: frozenset[str] | None = None
        """The backups that earlier ones make up for; ``None`` if that was agreed to by another process."""
        self.passphrase = prompts.hidden("Passphrase: ") if arguments.ask_passphrase else ""
        self.host = socket.gethostname()
        dialogue.goes_on = self.goes_on

    @property
    def goes_on(self) -> str:
        """Return the command that goes on from here."""
        given = [*self.keys(), *self.signers(), *self.from_targets()]
        given += ["--at", rfc3339(self.arguments.at)] if self.arguments.at is not None else []
        given += ["--cluster"] if self.arguments.cluster else []
        given += ["--ask-passphrase"] if self.passphrase else []
        return " ".join(["strongroom recover --resume", self.recovery.id, *map(quote, given)])

    def into(self, source: str) -> str:
        """Return where a source is restored into."""
        return self.recovery.scope.into.get(source, source) if self.recovery.scope is not None else source

    @property
    def is_configured(self) -> bool:
        return bool(self.here.section("policies"))

    # -- the record ------------------------------------------------------------------

    def note(self, about: About, step: Step | None = None, **said: Any) -> None:
        """Put something on record, on every place."""
        entry = RecoveryEntry(
            case=self.recovery.id,
            number=1,
            at=rfc3339(time.time()),
            by=who(),
            about=about,
            step=step,
            **said,
        )
        self.recovery = self.places.add(entry)

    def prove(self, step: Step, check: str, *said: str, of: str = "", code: str = "") -> None:
        """Put the result of a check on record."""
        self.note(About.PROVED, step, proofs=(Proof(check=check, of=of, code=code, said=said),))

    def left(self, *lines: str) -> None:
        """Put on record what a person has to do still, each once."""
        if new := tuple(line for line in lines if line not in self.recovery.left):
            self.note(About.LEFT, lines=new)

    # -- work that needs keys, or whatever else must not outlive a step ------------------

    def do(
        self,
        step: Step,
        words: Sequence[str],
        work: Work[A],
        answers: type[A],
        *,
        of: str = "",
        well: Sequence[str] = ("",),
        said: Callable[[A], Sequence[str]] = lambda _: (),
    ) -> Ended[A]:
        """Do some work apart, and put on record how it ended.

        Args:
            words: what to type for it.
            well: the errors that count as good, such as of a result that is less than was asked for.
            said: what of the answer goes on record; never a secret's name.
        """
        done = self.look(words, work, answers)
        counted = [] if done.answer is None else list(said(done.answer))
        means = [] if done.error is None else [meaning_of(type(done.error))]
        code = "" if done.code in well else done.code
        self.prove(step, _name(words), *counted, *means, of=of, code=code)
        return done

    def look(self, words: Sequence[str], work: Work[A], answers: type[A]) -> Ended[A]:
        """Do some work apart that proves nothing."""
        return run(words, work, answers, self.output, passphrase=self.passphrase)

    def look_with(self, work: Work[A], answers: type[A]) -> Ended[A]:
        """Do some work apart with the options of this recovery: no command alone does it."""
        return run_with(self.arguments, work, answers, self.output, passphrase=self.passphrase)

    def keys(self) -> Iterator[str]:
        """Yield what opens, as options that can be typed anywhere."""
        given = self.arguments
        for option in ("identity", "quorum", "share"):
            for path in getattr(given, option):
                yield from (f"--{option}", str(path.absolute()))
        if given.passphrase_file is not None and not self.passphrase:
            yield from ("--passphrase-file", str(given.passphrase_file.absolute()))

    def from_targets(self) -> Iterator[str]:
        """Yield the targets that were named, as options that can be typed anywhere."""
        configured = self.here.section("targets")
        for word in self.arguments.from_target or ():
            is_folder = word not in configured and Path(word).is_dir()
            yield from ("--from-target", str(Path(word).absolute()) if is_folder else word)

    def signers(self) -> Iterator[str]:
        """Yield who is believed besides, as options."""
        for signer in self.arguments.signer:
            yield from ("--signer", signer)

    # -- telling -----------------------------------------------------------------------

    def say(self, *lines: str) -> None:
        """Say something to whoever recovers."""
        for line in lines:
            self.output.say(clean(line))

    def headline(self, line: str) -> None:
        self.output.say("")
        self.output.say(paint(clean(line), "1"))

    def call(self, *places: str) -> None:
        """Say whom to call."""
        known = self.plan.contacts
        for place in places:
            if place in known:
                self.say(f"  Call ({place}): {known[place]}")
        if not known:
            self.say("  Nobody to call is configured ([contacts] in strongroom.toml).")

    # -- what is not done ----------------------------------------------------------------

    def after_failure(
        self, name: str, shown: Shown, *, may_skip: bool = True, goes_on: bool = False
    ) -> str | None:
        """Return the reason to pass over what failed, or ``None`` to try again; raise the error to stop.

        Enter tries again, once: what fails in the same way again will do so for ever. Then Enter leads out.

        Args:
            goes_on: whether what follows can do without, so that Enter leads on; else it stops.
        """
        error = shown.error
        assert error is not None
        if not prompts.somebody_there() and not self.dialogue.has(f"failed.{name}"):
            self.call("primary", "escalation")
            raise self._stopped(error)
        self.output.say("\n".join(["", f"  Not done yet: {error.code}", "", *block_of(error), ""]))
        self.call("primary", "escalation")
        same = (error.code, error.message)
        again, self._failed[name] = self._failed.get(name) == same, same
        default = "again" if not again else f"skip {_TWICE}" if may_skip and goes_on else "stop"
        while True:
            word, _, reason = self.dialogue.text(
                f"failed.{name}", _question(default, may_skip=may_skip), default
            ).partition(" ")
            if word == "again":
                return None
            if word == "stop":
                raise self._stopped(error)
            if word == "skip" and reason.strip() and may_skip:
                return reason.strip()[:500]
            self.say("  Type again, stop, or skip with a reason behind it, such as: skip it is test data")

    def _stopped(self, error: StrongroomError) -> StrongroomError:
        """Return what a recovery that stops here ends with: what stops it, and how it goes on."""
        error.hint = f"{error.hint} What was done stays. This goes on: {self.goes_on}".strip()
        return error


def _name(words: Sequence[str]) -> str:
    """Return what a command is called: its first words, up to its options."""
    return " ".join(words[:2] if words[1:] and not words[1].startswith("-") else words[:1])


_NOT_DONE = {
    True: "  Enter tries again. Or type stop, or skip and your reason, which goes on record: ",
    False: "  Enter tries again. Or type stop: ",
}


_TWICE = "it failed twice in the same way"


def _question(default: str, *, may_skip: bool) -> str:
    if default == "again":
        more = "type stop, or skip and your reason, which goes on record" if may_skip else "type stop"
        return f"  Enter tries again. Or {more}: "
    way = "stops here: what was done stays" if default == "stop" else "goes on without it: it is left to do"
    more = "again, stop, or skip and your reason" if may_skip else "again or stop"
    return f"  It failed in the same way again. Enter {way}. Or type {more}: "
