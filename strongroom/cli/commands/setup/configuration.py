"""config: check it, and explain every key.

What it needs of the calendar is the settings' part of it: no state is read, so no database is imported.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress

from strongroom.cli.parameters import Nothing
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.config import ConfigProblems, Settings, load_settings
from strongroom.config.failure_domains import remarks
from strongroom.config.reference import json_schema, reference_markdown
from strongroom.config.registry import broken_plugins, loaded_plugins
from strongroom.errors import StrongroomError
from strongroom.keys import rolelist
from strongroom.sheet import Lines, Pairs, Part, Sheet, Table
from strongroom.wiring import adapters
from strongroom.wiring.calendar import calendar
from strongroom.wiring.jobs import absent_programs, keyless
from strongroom.wiring.keys import absent_files, remarks_on_signers, without_passphrase
from strongroom.words import plural


def check_config(given: Nothing, output: Output) -> Answer:
    try:
        settings = load_settings()
    except ConfigProblems as error:
        return Answer(record={"problems": error.problems}, sheet=Sheet(), error=error)
    rolelist.require_certificates(settings.state_dir)
    file = place.find().file
    remarked = [
        *remarks(settings),
        *keyless(settings),
        *absent_programs(settings),
        *without_passphrase(settings),
        *absent_files(settings),
        *remarks_on_signers(settings),
    ]
    off = {entry.name: entry.needs for entry in calendar(settings) if entry.needs}
    tried = adapters.unmade(settings)
    loaded, said = loaded_plugins(), {error.message: error for error in (*broken_plugins(), *tried)}
    broken: tuple[StrongroomError, ...] = tuple(said.values())
    record = {
        "file": file,
        "problems": [],
        "plugins": loaded,
        "remarks": remarked,
        "off": off,
        "settings": settings,
    }
    lines = [
        *(f"remark: {remark}" for remark in remarked),
        *(f"off: {name}: {why}" for name, why in off.items()),
    ]
    unusable = f"{plural(len(broken), 'plug-in')} cannot be used; all else goes on without."
    verdict = unusable if broken else "No problem found."
    found = f"{file or 'No file: the defaults are in force'}. {verdict}"
    plugins = [
        (plugin.section, plugin.kind, f"{plugin.package} {plugin.version}", plugin.file) for plugin in loaded
    ]
    parts: list[Part] = [Pairs(list(_summary(settings)), found), Lines(lines)]
    if loaded:
        parts.append(Table(("section", "kind", "package", "file"), plugins, heading="Plug-ins"))
    parts += [Lines([error.message, error.hint], heading=error.code) for error in broken]
    return Answer(record=record, sheet=Sheet(parts=parts), error=broken[0] if broken else None)


def _summary(settings: Settings) -> Iterator[tuple[str, object]]:
    policies = (
        f"{name} ({policy.kind}, {policy.schedule or 'when asked'})"
        for name, policy in settings.policies.items()
    )
    yield "state", settings.state_dir
    yield "sources", ", ".join(settings.sources)
    yield "targets", ", ".join(f"{name} in {target.region}" for name, target in settings.targets.items())
    yield "keys", ", ".join(settings.keys) or "none, so only metadata can be backed up by a policy"
    yield "policies", ", ".join(policies)
    yield "broker", settings.broker.url or "embedded"


def print_reference(given: Nothing, output: Output) -> Answer | None:
    text = reference_markdown()
    if not output.json:
        output.raw(text.encode())
        return None
    return Answer(record={"markdown": text}, sheet=Sheet())


def print_schema(given: Nothing, output: Output) -> Answer | None:
    with suppress(StrongroomError):
        load_settings()  # its plug-ins say what their kinds take
    schema = json_schema()
    if not output.json:
        output.raw(f"{json.dumps(schema, indent=2, ensure_ascii=False)}\n".encode())
        return None
    return Answer(record={"schema": schema}, sheet=Sheet())
