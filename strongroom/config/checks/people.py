"""People and what is called for them: alerts, approvals, hooks, rotators, access logs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from ipaddress import ip_network

from strongroom.alert_kinds import KINDS
from strongroom.config.approvals import AccessLogSettings, ApprovalRuleSettings, BreakGlassSettings
from strongroom.config.checks import Context
from strongroom.config.kinds import Misfit, absent
from strongroom.config.model import Settings
from strongroom.config.recovery import PLACES
from strongroom.config.rotators import AwsRotator, RotatorKind
from strongroom.config.schema import KeyPath, did_you_mean
from strongroom.config.sources import AwsSourceSettings
from strongroom.system.process import is_loopback

# -- Alerts, and messages of a recovery: a way to people, a route for each alert, no gap, no open password


_NAMED = re.compile(r"\{([^{}]*)\}")


def check_alerts(context: Context) -> Iterator[Misfit]:
    """Yield what keeps mail from being sent, or would show a password."""
    settings = context.settings
    if not context.is_bad("mail"):
        yield from _mail(settings)
        if settings.mail.host is None and (who := _who_gets_mail(settings)):
            yield Misfit(("mail", "host"), f"missing, and {who} names who is notified", "Name the server.")
    for name, channel in settings.channels.items():
        for misfit in channel.unfit():
            yield misfit._replace(key=("channels", name, *misfit.key))
    for key, named in _named(settings):
        yield from context.reference(key, named, "channels")
        if named in settings.channels and (key[0] == "routes") != settings.channels[named].CARRIES:
            yield Misfit(key, "not a channel that does this", _PINGS)
    yield from _gaps(settings)
    yield from _recovery(context)


_PINGS = 'Routes need channels that carry a message; alerts.ping and the ping of a policy need kind = "ping".'


def _who_gets_mail(settings: Settings) -> str:
    if settings.alerts.email:
        return "alerts.email"
    mails = (name for name, channel in settings.channels.items() if channel.MAILS)
    return next((f"channels.{name}" for name in mails), "")


def _named(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    """Yield where a channel is named, and which."""
    for route, found in settings.routes.items():
        yield from ((("routes", route, "to", place), name) for place, name in enumerate(found.to))
    for policy, entry in settings.policies.items():
        if entry.ping is not None:
            yield ("policies", policy, "ping"), entry.ping
    if settings.alerts.ping is not None:
        yield ("alerts", "ping"), settings.alerts.ping


def _gaps(settings: Settings) -> Iterator[Misfit]:
    """Yield routes to policies that there are not, and that critical alerts may go nowhere at all."""
    for name, route in settings.routes.items():
        for policy in set(route.policies) - set(settings.policies):
            yield Misfit(("routes", name, "policies"), f"there is no policy '{policy}'", "Name one.")
        for place, kind in enumerate(route.kinds):
            if not any(fnmatchcase(known, kind) for known in KINDS):
                what = f"there is no alert of kind '{kind}', so this route would never take one"
                right = f"{did_you_mean(kind, KINDS)} docs/reference/alerts.md lists them."
                yield Misfit(("routes", name, "kinds", place), what, right.strip())
    takes_all = (not route.policies and not route.kinds for route in settings.routes.values())
    if settings.routes and not settings.alerts.email and not any(takes_all):
        what = "no route takes every critical alert, so some would reach nobody"
        yield Misfit(("routes",), what, "Give one route without policies and kinds, or set alerts.email.")


def _mail(settings: Settings) -> Iterator[Misfit]:
    mail = settings.mail
    if (mail.username is None) != (mail.password_file is None):
        what, other = ("username", "password_file")[:: 1 if mail.username is None else -1]
        yield Misfit(("mail", what), f"missing, while {other} is given", "Give both, or neither.")
    if mail.security == "none":
        if mail.username is not None and not is_loopback(mail.host or "localhost"):
            right = 'Use security = "starttls" or "tls"; "none" with a login is for a server on this host.'
            yield Misfit(("mail", "security"), "would show the password to the network", right)
        if mail.ca_file is not None:
            yield Misfit(("mail", "ca_file"), "has no effect without TLS", 'Use "starttls" or "tls".')
    if mail.ca_file and (why := absent(mail.ca_file)):
        yield Misfit(("mail", "ca_file"), why, "Name the file of certificates (PEM).")


def _recovery(context: Context) -> Iterator[Misfit]:
    """Yield what would keep a message from being sent, or leave a gap in it."""
    recovery, called = context.settings.recovery, context.settings.contacts.escalation
    mailed = recovery.stakeholders or (called is not None and called.mail)
    if mailed and context.settings.mail.host is None and not context.is_bad("mail"):
        yield Misfit(
            ("mail", "host"), "missing, and a recovery mails its messages to somebody", "Name the server."
        )
    for name in ("opened", "restored", "closed", "late"):
        unknown = [word for word in _NAMED.findall(getattr(recovery.messages, name)) if word not in PLACES]
        if unknown:
            right = f"Name one of these in braces: {', '.join(PLACES)}."
            yield Misfit(
                ("recovery", "messages", name), f"names '{{{unknown[0]}}}', and no such thing is known", right
            )


# -- Approvals: rules that name what is not there, or that nobody could meet, stop all that they ask for


def check_approvals(context: Context) -> Iterator[Misfit]:
    """Yield rules that name what is not there, or more people than they have."""
    settings = context.settings.approvals
    if context.is_bad("approvals"):
        return
    for name, rule in settings.rules.items():
        yield from _references(context, ("approvals", "rules", name), rule)
        yield from _people(("approvals", "rules", name), rule)
    if settings.break_glass is not None:
        yield from _people(("approvals", "break_glass"), settings.break_glass)
    # A file that is not there is no problem here: a host that executes nothing of it needs none.
    if settings.rules and settings.allowed_signers is None:
        at = ("approvals", "allowed_signers")
        yield Misfit(at, "missing, and there are rules", "Name OpenSSH's file of allowed signers.")


def _references(context: Context, at: KeyPath, rule: ApprovalRuleSettings) -> Iterator[Misfit]:
    for index, name in enumerate(rule.destinations):
        yield from context.reference((*at, "destinations", index), name, "sources")
    for index, name in enumerate(rule.policies):
        yield from context.reference((*at, "policies", index), name, "policies")


def _people(at: KeyPath, rule: ApprovalRuleSettings | BreakGlassSettings) -> Iterator[Misfit]:
    people = len(set(rule.people))
    if rule.k > people:
        what = f"asks for {rule.k} and there are {people} in 'people'"
        yield Misfit((*at, "k"), what, f"At most {people}, or more people.")


# -- Hooks: each is one call, of a program that is found whatever the path is -------------------


_NO_ENTRY = "the calendar has no such entry"
_PATH = 'Write where it is, for example: command = ["/usr/local/bin/quiesce"].'
_ONE = 'Name one of them: command = ["/path/to/program"], url = "https://…" or url_file = "/path".'


def check_hooks(context: Context) -> Iterator[Misfit]:
    """Yield hooks that call nothing, or several things, or a program by its mere name, or of no entry."""
    entries = context.settings.calendar.entries()
    for name in context.settings.hooks:
        if name not in entries:
            yield Misfit(("hooks", name), _NO_ENTRY, f"One of: {', '.join(entries)}. A policy has its own.")
    for key, hook in context.settings.calls.items():
        if sum(map(bool, (hook.command, hook.url, hook.url_file))) != 1:
            yield Misfit(key, "calls not exactly one thing", _ONE)
        elif hook.command and not hook.command[0].startswith("/"):
            yield Misfit((*key, "command"), "the program is not named by its absolute path", _PATH)


# -- Rotators: each says which secrets it is for, and makes values that nobody can guess --------


_WHICH = 'Write which: include = ["prod/db/*"], or tags. For every secret: include = ["*"].'
_NO_WRITING = ("nothing can be written to this source", "Name one that can be restored into.")
_WHOSE = "Name the source whose secrets are written there."
_SAME = "Name a source on the same server, with a login that may write."


def check_rotators(context: Context) -> Iterator[Misfit]:
    """Yield rotators that are for anything, of a source that cannot be written, or make weak values."""
    for name, rotator in context.settings.rotators.items():
        at = ("rotators", name)
        if not (rotator.include or rotator.tags) and not context.is_bad(*at, "include"):
            yield Misfit((*at, "include"), "missing, and there are no tags", _WHICH)
        for misfit in rotator.unfit():
            yield misfit._replace(key=(*at, *misfit.key))
        yield from _source(context, name, rotator)


def _source(context: Context, name: str, rotator: RotatorKind) -> Iterator[Misfit]:
    yield from _destination(context, name, rotator)
    if rotator.source is None:
        return
    key = ("rotators", name, "source")
    yield from context.reference(key, rotator.source, "sources")
    source = context.settings.sources.get(rotator.source)
    if source is not None and not source.WRITABLE:
        yield Misfit(key, *_NO_WRITING)
    elif isinstance(rotator, AwsRotator) and source is not None and not isinstance(source, AwsSourceSettings):
        yield Misfit(key, "it is no source of AWS", "Name one of kind aws.")


def _destination(context: Context, name: str, rotator: RotatorKind) -> Iterator[Misfit]:
    if rotator.destination is None:
        return
    key = ("rotators", name, "destination")
    yield from context.reference(key, rotator.destination, "sources")
    sources = context.settings.sources
    there = sources.get(rotator.destination)
    if there is not None and not there.WRITABLE:
        yield Misfit(key, *_NO_WRITING)
    if rotator.source is None:
        yield Misfit(("rotators", name, "source"), "missing, and there is a destination", _WHOSE)
    elif there is not None and type(sources.get(rotator.source)) is not type(there):
        yield Misfit(key, f"it is of another kind than '{rotator.source}'", _SAME)


# -- Access logs: each lies somewhere, is of targets that there are, and knows networks that are some


def check_access_logs(context: Context) -> Iterator[Misfit]:
    """Yield logs that lie nowhere or at two places, and names and networks that are none."""
    for name, log in context.settings.access_logs.items():
        at = ("access_logs", name)
        if (log.directory is None) == (log.store is None) and not context.is_bad(*at):
            yield Misfit(
                (*at, "directory"), "name either directory or store", "One of them is where it lies."
            )
        if not _knows_any(log, context.settings):
            yield Misfit(
                (*at, "format"),
                "no target and no key here is of a kind that such a log tells of",
                "Name the target that it is about, or take the log out.",
            )
        for target in log.targets:
            yield from context.reference((*at, "targets"), target, "targets")
        for network in log.networks:
            try:
                ip_network(network, strict=False)
            except ValueError:
                yield Misfit((*at, "networks"), "one of them is no network", 'As "10.2.0.0/16".')


def _knows_any(log: AccessLogSettings, settings: Settings) -> bool:
    targets = (target for name, target in settings.targets.items() if not log.targets or name in log.targets)
    return any(target.logged_as(log.format) for target in (*targets, *settings.keys.values()))
