"""What every step works with: the record, the questions, the screen, the options that were given, and the
process apart that does what must not outlive a step."""

from __future__ import annotations

import socket
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shlex import quote

from msgspec import Struct

from strongroom.cli.commands.recovery.dialogue import Dialogue
from strongroom.cli.commands.recovery.forked_step import A, Apart, ForkedStepEnd, Work
from strongroom.cli.terminal.output import Output, clean, paint
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.errors import meaning_of
from strongroom.operations.archive.recoveries import RecoveryStep
from strongroom.operations.recovery.messages import RecoverySettingsFacts
from strongroom.operations.recovery.places import RecoveryJournal
from strongroom.timestamps import rfc3339


class RecoveryScreen(Struct, frozen=True):
    """What is said to whoever recovers, and whom they may call, by their place."""

    output: Output
    contacts: Mapping[str, str]

    def say(self, *lines: str) -> None:
        """Say something to whoever recovers."""
        for line in lines:
            self.output.say(clean(line))

    def headline(self, line: str) -> None:
        self.output.say("")
        self.output.say(paint(clean(line), "1"))

    def call(self, *places: str) -> None:
        """Say whom to call."""
        self.say(*(f"  Call ({place}): {self.contacts[place]}" for place in places if place in self.contacts))
        if not self.contacts:
            self.say("  Nobody to call is configured ([contacts] in strongroom.toml).")


class Given(Struct, frozen=True):
    """The options of this recovery, as they can be typed again anywhere."""

    arguments: Namespace
    here: InstallationPlace

    def goes_on(self, recovery: str) -> str:
        """Return the command that goes on with a recovery."""
        given = [*self.keys(), *self.signers(), *self.from_targets()]
        given += ["--at", rfc3339(self.arguments.at)] if self.arguments.at is not None else []
        given += ["--cluster"] if self.arguments.cluster else []
        given += ["--ask-passphrase"] if self.arguments.ask_passphrase else []
        return " ".join(["strongroom recover --resume", recovery, *map(quote, given)])

    def keys(self) -> Iterator[str]:
        """Yield what opens."""
        for option in ("identity", "quorum", "share"):
            for path in getattr(self.arguments, option):
                yield from (f"--{option}", str(path.absolute()))
        if (file := self.arguments.passphrase_file) is not None and not self.arguments.ask_passphrase:
            yield from ("--passphrase-file", str(file.absolute()))

    def from_targets(self) -> Iterator[str]:
        """Yield the targets that were named."""
        configured = self.here.section("targets")
        for word in self.arguments.from_target or ():
            is_folder = word not in configured and Path(word).is_dir()
            yield from ("--from-target", str(Path(word).absolute()) if is_folder else word)

    def reading(self, on: Sequence[str]) -> Iterator[str]:
        """Yield from where and with what a backup is read that lies on some targets. A lost region is not
        waited for again."""
        named = list(self.from_targets())
        yield from named or [word for name in on for word in ("--from-target", name)]
        yield from (*self.keys(), *self.signers())

    def signers(self) -> Iterator[str]:
        """Yield who is believed besides."""
        for signer in self.arguments.signer:
            yield from ("--signer", signer)


class RecoveryTools(Struct, frozen=True, kw_only=True):
    """One recovery, on one machine, in one process."""

    here: InstallationPlace
    plan: RecoverySettingsFacts
    given: Given
    screen: RecoveryScreen
    ask: Dialogue
    record: RecoveryJournal
    apart: Apart
    host: str = socket.gethostname()

    @property
    def goes_on(self) -> str:
        """Return the command that goes on from here."""
        return self.given.goes_on(self.record.recovery.id)

    @property
    def is_configured(self) -> bool:
        return bool(self.here.section("policies"))

    def do(
        self, step: RecoveryStep, words: Sequence[str], work: Work[A], answers: type[A], *, of: str = ""
    ) -> ForkedStepEnd[A]:
        """Do some work apart, and put on record how it ended.

        Args:
            words: what to type for it.
            of: what it was done to.
        """
        done = self.apart.run(work, answers, typed=words)
        means = [] if done.error is None else [meaning_of(type(done.error))]
        name = " ".join(words[:2] if words[1:] and not words[1].startswith("-") else words[:1])
        self.record.prove(step, name, *means, of=of, code=done.code)
        return done
