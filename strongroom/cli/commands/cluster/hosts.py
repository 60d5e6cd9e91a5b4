"""cluster hosts and remove: who is there, which version, when last heard; and how one is thrown out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from strongroom.cli.commands.cluster.arguments import RemoveHost
from strongroom.cli.errors import SignersUnsettled
from strongroom.cli.parameters import Nothing
from strongroom.cli.shared import access_log
from strongroom.cli.shared.installation_key import given_key
from strongroom.cli.shared.services import configured_targets, existing_run_store, run_store
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, in_line
from strongroom.config import load_settings
from strongroom.keys import hostlist, rolelist, roles
from strongroom.keys.hostlist import RemovedHost
from strongroom.keys.roles import Certifier
from strongroom.model import ApprovalAction
from strongroom.operations.engine import membership
from strongroom.operations.engine.spread import learn_lists, spread
from strongroom.sheet import Lines, Sheet, Table, marked
from strongroom.state.hosts import ReportedProcess
from strongroom.times import measured


class KnownHost(Struct, frozen=True, kw_only=True):
    """A host as the command shows it.

    ``roles`` are those whose keys it has, or which reported themselves; ``silent`` those that once did and do
    no more. ``age``: seconds since one of its processes was last heard. ``unlisted``: it is not on the host
    list, as a pod is that has the keys of its installation mounted.
    """

    host: str
    state: str
    roles: tuple[str, ...]
    silent: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    schemas: tuple[str, ...] = ()
    age: float | None = None
    unlisted: bool = False
    removed: str = ""
    reason: str = ""


def list_hosts(given: Nothing, output: Output) -> Answer:
    folder, store = place.find().role_keys, existing_run_store(load_settings())
    if store is not None:
        membership.exchange(folder, store)
    found = known_hosts(
        store.processes() if store else (), hostlist.roles_of(folder), hostlist.removed(folder)
    )
    rows = [
        (
            marked(host.host, bad=host.state not in ("runs", "removed")),
            ", ".join(host.roles) or "-",
            ", ".join(host.versions) or "-",
            "-" if host.age is None else f"{measured(host.age)} ago",
            host.state,
        )
        for host in found
    ]
    table = Table(("Host", "Roles", "Version", "Last heard", "State"), rows, nothing="No process ever ran.")
    return Answer(record={"hosts": found}, sheet=Sheet(parts=[table, Lines(list(_remarks(found)))]))


def known_hosts(
    processes: Sequence[ReportedProcess],
    keys: Mapping[str, Sequence[str]],
    removed: Mapping[str, RemovedHost],
) -> list[KnownHost]:
    """Return the hosts by what their processes reported and by the host list."""
    named = {host: names for host, names in keys.items() if host}
    names = sorted({*named, *removed, *(process.host for process in processes)})
    return [
        _known(
            name,
            [process for process in processes if process.host == name],
            named.get(name, ()),
            removed.get(name),
        )
        for name in names
    ]


def _known(
    name: str, processes: Sequence[ReportedProcess], keys: Sequence[str], removed: RemovedHost | None
) -> KnownHost:
    alive = [process for process in processes if process.lives]
    silent = tuple(process.role for process in processes if not process.lives)
    state = "never heard" if not processes else "runs" if not silent else "silent"
    if alive and silent:
        state = f"silent: {', '.join(silent)}"
    if removed is not None:
        state = "removed, and still runs" if alive else "removed"
    return KnownHost(
        host=name,
        state=state,
        roles=tuple(sorted({*keys, *(process.role for process in processes)})),
        silent=silent,
        versions=tuple(sorted({process.version for process in alive or processes})),
        schemas=tuple(sorted({process.schema for process in alive or processes})),
        age=max(0.0, min(process.age for process in processes)) if processes else None,
        unlisted=not keys and removed is None,
        removed=removed.at if removed else "",
        reason=removed.reason if removed else "",
    )


def _remarks(found: Sequence[KnownHost]) -> Iterator[str]:
    versions = sorted(
        {version for host in found if host.state.startswith(("runs", "silent:")) for version in host.versions}
    )
    if len(versions) > 1:
        yield f"Versions {', '.join(versions)} run beside each other: see docs/how-to/upgrade.md."
    for host in found:
        if host.state == "silent" and host.unlisted:
            yield (
                f"'{in_line(host.host)}' is on no host list: it is forgotten a day after it was last heard."
            )
        if host.removed:
            yield f"'{in_line(host.host)}' was removed at {host.removed}: {in_line(host.reason)}"


# -- remove


def remove_host(given: RemoveHost, output: Output) -> Answer:
    folder = place.find().role_keys
    name = hostlist.check_name(given.host)
    membership.require_begun(folder)
    access_log.require_approved(
        place.find(),
        ApprovalAction.SIGNERS,
        {"action": "remove", "what": [name]},
        lines=(f"remove host {name}, so that nothing counts that it sends",),
    )
    asked = "Nothing that it ever signed" if given.leaked else "Nothing that it sends from now on"
    prompts.confirm(f"Host '{name}' is removed. {asked} will count", force=given.force)
    certifier = given_key(given.certifier, folder, output)
    store = run_store()
    number, keys = membership.remove(folder, store, name, reason=given.reason, installation_key=certifier)
    leaked, missed = _distrusted(folder, name, given, certifier) if given.leaked else ((), {})
    membership.exchange(folder, store)
    store.event(
        "cluster.removed", host=name, reason=given.reason, list=number, keys=list(keys), leaked=given.leaked
    )
    verdict = f"Host '{name}' is removed. Every other host refuses it as soon as it has host list {number}."
    unsettled = SignersUnsettled(
        f"The trust list is not yet on {', '.join(missed)}.", hint="The next backup there puts it there too."
    )
    return Answer(
        record={"host": name, "list": number, "keys": keys, "distrusted": leaked, "missed": missed},
        sheet=Sheet(verdict=verdict, parts=[Lines(list(_left_to_do(name, leaked=given.leaked)))]),
        error=unsettled if missed else None,
    )


def _distrusted(
    folder: Path, name: str, given: RemoveHost, certifier: Certifier
) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """Distrust all keys that a host had, and spread the trust list that says so."""
    targets = configured_targets()
    learn_lists(folder, targets)
    listed = rolelist.read(folder)
    keys = [
        key.fingerprint
        for own in listed.roles.values()
        for key in own
        if key.host == name and not key.distrusted
    ]
    for key in keys:
        roles.distrust(folder, key, reason=given.reason, now=datetime.now(UTC), installation_key=certifier)
    return tuple(keys), spread(targets, roles.known_lists(folder)[1]) if keys else {}


def _left_to_do(name: str, *, leaked: bool) -> Iterator[str]:
    yield "Each process looks for a new list every ten seconds, so that is within a minute."
    yield "The host still knows these. Change what it could use:"
    yield "  the passwords of broker and database that it had;"
    yield "  the credentials of sources and targets that its roles had;"
    yield "  the keys that open backups, if it had a role that opens: verify, drill or recover."
    if leaked:
        yield "Backups that it signed are refused from now on. Make a new one first. Then sign again what was"
        yield "made before the leak: strongroom keys signers re-sign --before TIME."
    else:
        yield "What it signed before stays good. If somebody may have its keys, repeat this with --leaked."
