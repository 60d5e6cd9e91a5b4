"""What every step works with: the record, the questions, the commands, and whom to call."""

from __future__ import annotations

import socket
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from strongroom.cli.commands.recovery.child import ASKED, Ran, Shown, run
from strongroom.cli.commands.recovery.dialogue import Dialogue
from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.failures import block_of
from strongroom.cli.terminal.output import Output, clean, paint, plural
from strongroom.cli.terminal.place import Place
from strongroom.errors import StrongroomError, by_name, meaning_of
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
        self.passphrase = prompts.hidden("Passphrase: ") if arguments.ask_passphrase else ""
        self.host = socket.gethostname()
        dialogue.goes_on = self.goes_on

    @property
    def goes_on(self) -> str:
        """Return the command that goes on from here."""
        given = [*self.keys(), *self.signers(), *self.from_targets()]
        given += ["--at", rfc3339(self.arguments.at)] if self.arguments.at is not None else []
        given += ["--on-cluster"] if self.arguments.on_cluster else []
        if self.passphrase:
            given = [word for word in given if word not in ("--passphrase-file", ASKED)]
            given.append("--ask-passphrase")
        return " ".join(["strongroom recover --resume", self.recovery.id, *map(quote, given)])

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

    # -- commands ----------------------------------------------------------------------

    def run(self, step: Step, *words: str, of: str = "", well: Sequence[str] = ("",)) -> Ran:
        """Run a command, and put on record how it ended.

        Args:
            well: the errors that count as good, such as of a result that is less than was asked for.
        """
        ran = self.look(*words)
        error = None if ran.code in well else ran.code
        self.prove(step, _name(words), *summary(ran), of=of, code=error or "")
        return ran

    def look(self, *words: str) -> Ran:
        """Run a command that proves nothing."""
        return run(words, self.output, passphrase=self.passphrase)

    def know_backups(self, step: Step) -> None:
        """Enter the backups of every target that answers, where this machine's catalog knows none.

        Which backups a key opens is found in the catalog, and that may have been lost, or be another host's.
        """
        if self.look("catalog", "list").document.get("backups") or not self.is_configured:
            return
        for target in self.places.targets:
            self.run(step, "catalog", "rebuild", "--from", target, *self.signers(), of=target)

    def keys(self) -> Iterator[str]:
        """Yield what opens, as options that can be typed anywhere."""
        given = self.arguments
        for option in ("identity", "quorum", "share"):
            for path in getattr(given, option):
                yield from (f"--{option}", str(path.absolute()))
        if self.passphrase:
            yield from ("--passphrase-file", ASKED)
        elif given.passphrase_file is not None:
            yield from ("--passphrase-file", str(given.passphrase_file.absolute()))

    def from_targets(self) -> Iterator[str]:
        """Yield the targets that were named, as options."""
        for word in self.arguments.from_target or ():
            yield from ("--from-target", str(Path(word).absolute()) if Path(word).is_dir() else word)

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

    def after_failure(self, name: str, shown: Shown, *, may_skip: bool = True) -> str | None:
        """Return the reason to pass over what failed, or ``None`` to try again; raise the error to stop."""
        error = shown.error
        assert error is not None
        name = f"failed.{name}"
        if not prompts.somebody_there() and not self.dialogue.has(name):
            self.call("primary", "escalation")
            raise self._stopped(error)
        self.output.say("\n".join(["", f"  Not done yet: {error.code}", "", *block_of(error), ""]))
        self.call("primary", "escalation")
        while True:
            word, _, reason = self.dialogue.text(name, _NOT_DONE[may_skip], "again").partition(" ")
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
_COUNTED = {
    "created": "created",
    "changed": "changed",
    "unchanged": "already as in the backup",
    "left": "left as they are",
    "not_done": "not restored",
    "moved": "moved since the plan",
    "compared": "compared",
    "wrong": "wrong",
    "remarks": "remarks",
}


def summary(ran: Ran) -> tuple[str, ...]:
    """Return what a command's document counts, and what its error means; never a secret's name."""
    document = ran.document
    counts = [
        f"{document[name]:,} {words}"
        for name, words in _COUNTED.items()
        if isinstance(document.get(name), int) and document[name]
    ]
    if isinstance(counted := document.get("counts"), dict):
        counts += [
            plural(number, word) if word == "remark" else f"{number:,} {word}"
            for word, number in counted.items()
            if number
        ]
    told = [", ".join(counts)] if counts else []
    if ran.code:
        kind = by_name(ran.code)
        told.append(meaning_of(kind) if kind else ran.code)
    return tuple(told)
