"""What every step of a recovery works with: the record, the questions, the screen, and whom to call."""

from __future__ import annotations

import socket
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from shlex import join

from msgspec import Struct
from msgspec.structs import replace

from strongroom.cli.commands.recovery.arguments import Recover, WhichRecovery
from strongroom.cli.commands.recovery.forked_step import A, Apart, ForkedStepEnd, Work
from strongroom.cli.parameters import command_line
from strongroom.cli.shared import admission, options
from strongroom.cli.shared.opening import target_of
from strongroom.cli.shared.services import run_store
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.failures import block_of
from strongroom.cli.terminal.output import Output, clean, paint
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.config import Settings, load_settings
from strongroom.config.recovery import MessageSettings, RecoverySettings
from strongroom.errors import StrongroomError, UsageError, meaning_of
from strongroom.operations.archive.catalog import Rebuilt, rebuild
from strongroom.operations.archive.recoveries import RecoveryEntryKind, RecoveryStep
from strongroom.operations.errors import ConfirmationRequired
from strongroom.operations.notify.mail import plain_mail, send
from strongroom.operations.procedures.perform import AfterFailure
from strongroom.operations.procedures.recovery import (
    SUBJECTS,
    RecoveryMessage,
    RecoverySettingsFacts,
    due_messages,
    text_of,
)
from strongroom.operations.procedures.recovery_report import RecoveryJournal
from strongroom.wiring.watching import mail_server
from strongroom.words import nearest

# -- Questions to whoever recovers: answered beforehand, or on a terminal, or by the answer that is safe


NONE = "none"
NAMES = ("lost", "leaked", "missing", "overwrite", "restore", "quarantine", "rotate")
PREFIXES = ("into.", "from.", "failed.")
"""The questions, by their names; after a prefix comes a source, or a step."""


class Dialogue:
    """Asks, and says what was answered. ``goes_on`` is the command that goes on from here."""

    def __init__(self, answers: Mapping[str, str], output: Output) -> None:
        self._answers = dict(answers)
        self._output = output
        self._failed: dict[str, tuple[str, str]] = {}
        self.goes_on = "strongroom recover"

    def has(self, name: str) -> bool:
        """Tell whether a question was answered beforehand, and that answer was not used yet."""
        return name in self._answers

    def confirm(self, name: str, question: str) -> bool:
        """Ask for a yes; the safe answer is no.

        Raises:
            ConfirmationRequired: there is nobody to ask, and no answer was given.
        """
        said = self._ask(name, f"{question} [y/N] ", "" if prompts.somebody_there() else None, _as_yes_or_no)
        return said == "yes"

    def choose(
        self, name: str, question: str, known: Sequence[str], default: Sequence[str]
    ) -> tuple[str, ...]:
        """Ask for some of what is known, or none; Enter takes the default."""
        shown = ", ".join(default) or NONE
        said = self._ask(name, f"{question} [{shown}] ", shown, lambda word: _as_names(word, known))
        return () if said == NONE else tuple(said.split(", "))

    def one(self, name: str, question: str, known: Sequence[str], default: str) -> str:
        """Ask for one of what is known; Enter takes the default."""
        return self._ask(name, f"{question} [{default}] ", default, lambda word: _as_one(word, known))

    def text(self, name: str, question: str, default: str | None) -> str:
        """Ask for a few words; Enter takes the default."""
        return self._ask(name, question, default, str.strip)

    def after_failure(
        self, name: str, error: StrongroomError, call: Callable[..., None], *, may_skip: bool, goes_on: bool
    ) -> AfterFailure:
        """Ask what is done about a step that failed; raise the error to stop.

        Enter tries again, once: what fails in the same way again will do so for ever. Then Enter leads out.

        Args:
            call: says whom to call.
            goes_on: whether what follows can do without, so that Enter leads on; else it stops.
        """
        if not prompts.somebody_there() and not self.has(f"failed.{name}"):
            call("primary", "escalation")
            raise self._stopped(error)
        self._output.say("\n".join(["", f"  Not done yet: {error.code}", "", *block_of(error), ""]))
        call("primary", "escalation")
        same = (error.code, error.message)
        twice, self._failed[name] = self._failed.get(name) == same, same
        default = "again" if not twice else f"skip {_TWICE}" if may_skip and goes_on else "stop"
        while True:
            question = _question(default, may_skip=may_skip)
            word, _, reason = self.text(f"failed.{name}", question, default).partition(" ")
            if word == "again":
                return AfterFailure(again=True)
            if word == "stop":
                raise self._stopped(error)
            if word == "skip" and reason.strip() and may_skip:
                return AfterFailure(reason=reason.strip()[:500])
            skip = "  Type again, stop, or skip with a reason behind it, such as: skip it is test data"
            self._output.say(clean(skip))

    def _stopped(self, error: StrongroomError) -> StrongroomError:
        """Return what a recovery that stops here ends with: what stops it, and how it goes on."""
        error.hint = f"{error.hint} What was done stays. This goes on: {self.goes_on}".strip()
        return error

    def _ask(self, name: str, question: str, default: str | None, read: Callable[[str], str]) -> str:
        if (given := self._answers.pop(name, None)) is not None:  # once: what failed is not answered for ever
            answer = read(given)
            self._output.note(f"{question.strip()} {answer}  (given)")
            return answer
        if not prompts.somebody_there():
            return self._unattended(name, question, default)
        while True:
            typed = self._typed(question)
            if not typed:
                return read(default or "")
            try:
                return read(typed)
            except UsageError as error:
                self._output.say(clean(f"  {error.message} {error.hint}"))

    def _typed(self, question: str) -> str:
        print(paint(clean(question), "1"), end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            raise ConfirmationRequired("The terminal was closed.", hint=f"This goes on: {self.goes_on}")
        return line.strip()

    def _unattended(self, name: str, question: str, default: str | None) -> str:
        if default is None:
            raise ConfirmationRequired(
                f"This needs an answer, and there is no terminal to ask on: {question.strip()}",
                hint=f"This goes on: {self.goes_on} --answer {name}=ANSWER",
            )
        self._output.note(f"{question.strip()} {default}  (nobody to ask)")
        return default


_TWICE = "it failed twice in the same way"


def _question(default: str, *, may_skip: bool) -> str:
    if default == "again":
        more = "type stop, or skip and your reason, which goes on record" if may_skip else "type stop"
        return f"  Enter tries again. Or {more}: "
    way = "stops here: what was done stays" if default == "stop" else "goes on without it: it is left to do"
    more = "again, stop, or skip and your reason" if may_skip else "again or stop"
    return f"  It failed in the same way again. Enter {way}. Or type {more}: "


def _as_yes_or_no(word: str) -> str:
    known = {"": "no", "n": "no", "no": "no", "y": "yes", "yes": "yes"}
    if word.lower() not in known:
        raise UsageError("Please type y for yes, or n for no.", hint="Enter means no.")
    return known[word.lower()]


def _as_names(word: str, known: Sequence[str]) -> str:
    names = word.replace(",", " ").split()
    if names == [NONE]:
        return NONE
    for name in names:
        _as_one(name, known)
    return ", ".join(dict.fromkeys(names))


def _as_one(word: str, known: Sequence[str]) -> str:
    if word not in known:
        raise UsageError(f"There is no '{word}' here.", hint=nearest(word, known))
    return word


def answers_of(given: Recover) -> dict[str, str]:
    """Return the answers of the file, and over them those of the command line.

    Raises:
        UsageError: one is no NAME=VALUE, or the file is no TOML of texts.
    """
    found = _in_file(given.answers) if given.answers is not None else {}
    for word in given.answer:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise UsageError("--answer needs NAME=VALUE.", hint="For example --answer leaked=none")
        found[name] = value
    for name in found:
        if name not in NAMES and not name.startswith(PREFIXES):
            raise UsageError(f"No question is called '{name}'.", hint=nearest(name, (*NAMES, *PREFIXES)))
    return found


def _in_file(path: Path) -> dict[str, str]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"The answers in '{path}' cannot be read ({type(error).__name__}).") from None
    flat = dict(_flat("", found))
    if wrong := [name for name, value in flat.items() if not isinstance(value, str)]:
        raise UsageError(f"The answer '{wrong[0]}' is no text.", hint='Write it in quotes: "yes".')
    return {name: str(value) for name, value in flat.items()}


def _flat(prefix: str, table: Mapping[str, object]) -> list[tuple[str, object]]:
    """Return a table's values by their whole names: a table ``into`` answers ``into.NAME``."""
    found: list[tuple[str, object]] = []
    for name, value in table.items():
        whole = f"{prefix}{name}"
        found += _flat(f"{whole}.", value) if isinstance(value, dict) else [(whole, value)]
    return found


# -- What every step works with: the record, the questions, the screen, the options that were given, and the
# process apart that does what must not outlive a step


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


def going_on(recovery: str, given: Recover) -> str:
    """Return the command that goes on with a recovery, with what this one was given."""
    again = Recover(
        which=WhichRecovery(resume=recovery),
        cluster=given.cluster,
        ask_passphrase=given.ask_passphrase,
        origin=given.origin,
        opening=given.opening,
        trust=given.trust,
    )
    return command_line("recover", again)


class RecoveryTools(Struct, frozen=True, kw_only=True):
    """One recovery, on one machine, in one process."""

    here: InstallationPlace
    plan: RecoverySettingsFacts
    given: Recover
    screen: RecoveryScreen
    ask: Dialogue
    record: RecoveryJournal
    apart: Apart
    host: str = socket.gethostname()

    @property
    def goes_on(self) -> str:
        """Return the command that goes on from here."""
        return going_on(self.record.recovery.id, replace(self.given, opening=self.opening))

    @property
    def opening(self) -> options.OpeningOptions:
        """What opens; a passphrase that was asked for once is in no file."""
        asked = self.given.ask_passphrase
        return replace(self.given.opening, passphrase_file=None) if asked else self.given.opening

    @property
    def keys(self) -> options.FurtherOpeningOptions:
        """What opens beside the configured keys, for the commands that use those."""
        opening = self.opening
        return options.FurtherOpeningOptions(
            identity=opening.identity, passphrase_file=opening.passphrase_file
        )

    def source(
        self, on: Sequence[str] = (), *, backup: str | None = None, partial: bool = False
    ) -> options.RestoreFrom:
        """Return from where and with what a backup is read. A lost region is not waited for again.

        Args:
            on: the targets that have it, where no others were named.
        """
        return options.RestoreFrom(
            where=options.FileOrTargets(from_target=self.given.origin.from_target or tuple(on)),
            choice=options.CoveringBackupOptions(backup=backup, partial=partial),
            opening=self.opening,
            trust=options.ReaderTrustOptions(signer=self.given.trust.signer),
        )

    @property
    def is_configured(self) -> bool:
        return bool(self.here.section("policies"))

    def do(
        self,
        step: RecoveryStep,
        check: str,
        typed: str,
        work: Work[A],
        answers: type[A],
        *,
        of: str = "",
    ) -> ForkedStepEnd[A]:
        """Do some work apart, and put on record how it ended.

        Args:
            check: what the record calls it.
            typed: the command line for it.
            of: what it was done to.
        """
        done = self.apart.run(work, answers, typed=typed)
        means = [] if done.error is None else [meaning_of(type(done.error))]
        self.record.prove(step, check, *means, of=of, code=done.code)
        return done


# -- Others are notified: each message once, printed here and mailed to whom the configuration names


def notify_others(at: RecoveryTools, settings: Settings | None) -> None:
    """Print the messages that are due, mail them, and put on record who got them."""
    for message in due_messages(at.record.recovery, at.plan, now=time.time()):
        text = text_of(message, at.record.recovery, at.plan, host=at.host, now=time.time())
        told = _mail(at, settings, message, text)
        said = "; ".join(told) if told else "mailed to nobody: pass it on yourself"
        at.screen.say("", f"  Message to others ({said}):", *(f"  | {line}" for line in text.splitlines()))
        at.record.note(RecoveryEntryKind.TOLD, reason=message.value, lines=told or ("printed",))
        if message is RecoveryMessage.LATE:
            at.screen.call("escalation")


def _mail(
    at: RecoveryTools, settings: Settings | None, message: RecoveryMessage, text: str
) -> tuple[str, ...]:
    """Mail a message; a mail server that is away must not stop a recovery."""
    recipients = at.plan.recipients(message)
    if not recipients or settings is None or at.given.no_mail:
        return ()
    try:
        server = mail_server(settings)
        about = f"[strongroom] {SUBJECTS[message]}: {at.record.recovery.id}"
        mail = plain_mail(about, text, sender=server.sender, recipients=recipients, now=time.time())
        send(mail, server, recipients)
    except StrongroomError as error:
        return (f"not mailed to {', '.join(recipients)}: {error.code}",)
    return (f"mailed to {', '.join(recipients)}",)


# -- What the configuration says of recoveries. One that cannot be read keeps nobody from recovering


def read_plan(output: Output) -> tuple[RecoverySettingsFacts, Settings | None]:
    """Return whom to call and what to tell, and the settings; without a sound configuration what is usual."""
    try:
        settings = load_settings()
    except StrongroomError as error:
        output.warn(f"the configuration cannot be used: {error.message} What is usual is used instead.")
        return _plan(RecoverySettings(), {}), None
    plan, escalation = _plan(settings.recovery, settings.contacts.lines), settings.contacts.escalation
    return (
        RecoverySettingsFacts(
            objective=plan.objective,
            contacts=plan.contacts,
            texts=plan.texts,
            stakeholders=settings.recovery.stakeholders,
            escalation=(escalation.mail or "") if escalation is not None else "",
        ),
        settings,
    )


def _plan(recovery: RecoverySettings, contacts: dict[str, str]) -> RecoverySettingsFacts:
    messages: MessageSettings = recovery.messages
    return RecoverySettingsFacts(
        objective=recovery.objective,
        contacts=contacts,
        texts={message: getattr(messages, message) for message in RecoveryMessage},
    )


# -- The catalog of this machine, where a recovery needs one: to find what a key opens, and to submit


def know_backups(at: RecoveryTools, step: RecoveryStep) -> None:
    """Enter the backups of every target that answers, where this machine's catalog knows none.

    Which backups a key opens is found in the catalog, and that may have been lost, or be another host's.
    """
    if not at.is_configured or at.apart.run(_has_some, bool, typed="strongroom backups list").answer:
        return
    signers = [word for signer in at.given.trust.signer for word in ("--signer", signer)]
    for target in at.record.places.targets:
        typed = join(("strongroom", "backups", "rebuild", "--from", target, *signers))
        work = partial(_rebuild, target=target, signers=at.given.trust.signer)
        at.do(step, "backups rebuild", typed, work, Rebuilt, of=target)


def _has_some(opening: options.OpeningOptions, output: Output) -> bool:
    return bool(run_store().backups(limit=1))


def _rebuild(
    opening: options.OpeningOptions, output: Output, *, target: str, signers: Sequence[str]
) -> Rebuilt:
    here = place.find()
    store = run_store()
    store.examine()  # what is entered into a damaged file is lost with it
    known = admission.trusted_signers(here, signers)
    return rebuild(store, target_of(target, here), trusted=known)
