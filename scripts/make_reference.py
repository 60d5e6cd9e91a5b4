"""Write what is made from the code: the pages under ``docs/reference``, the picture of the rooms, the rules
for Prometheus, and the public names of ``strongroom``.

python scripts/make_reference.py            # write them
python scripts/make_reference.py --check    # exit with 1 if one of them is stale
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# This file may be run from anywhere.
import strongroom  # noqa: E402
from scripts.chart_values import chart_markdown  # noqa: E402
from scripts.draw_rooms import rooms_svg  # noqa: E402
from scripts.prometheus_rules import rules_yaml  # noqa: E402
from strongroom import errors  # noqa: E402
from strongroom.alert_kinds import KINDS  # noqa: E402
from strongroom.cli.reference import commands_markdown, exit_codes_markdown  # noqa: E402
from strongroom.cli.values_out import GIVE_NONE, WAYS  # noqa: E402
from strongroom.config.reference import reference_markdown  # noqa: E402
from strongroom.errors import StrongroomError  # noqa: E402
from strongroom.operations.judge.metrics import MEASURES, Measure  # noqa: E402

FOLDER = ROOT / "docs" / "reference"
MADE = "<!-- Made from the code: python scripts/make_reference.py -->"
PACKAGES = ("strongroom", "tasks", "workers")

EVENTS: Final[Mapping[str, str]] = {
    "access.attempted": "A command is about to read values out of a backup.",
    "access.changed": "By a server's log, somebody changed who may read backups, or what is logged.",
    "access.failed": "No key that the command had opened the backup.",
    "access.key-used": "By a server's log, a key of backups was used, and no run or command on record did.",
    "access.log-rewritten": "A file of an access log was cut or replaced, or has lines of another format.",
    "access.opened": "A key opened the backup.",
    "access.read": "A command has read a replica without opening it.",
    "access.reading": "A command is about to read a replica without opening it.",
    "access.refused": "By a server's log, somebody was refused several times in a row.",
    "access.refused-yet": "So often a server's log has somebody refused in a row until now; 0 ends a row.",
    "access.restored": "A restore ended: how many secrets it wrote, and where.",
    "access.shown": "Somebody had a value of the local store shown.",
    "access.unlocked": "By a server's log, the lock of a backup was shortened or lifted.",
    "access.unreadable": "The access log of a host has a line that is not valid JSON.",
    "access.unrecorded": "By a server's log, a backup was read, and no run or command on record did it.",
    "alert.acknowledged": "Somebody works on an alert, or looked into it, and why.",
    "alert.silenced": "Somebody silenced alerts until a time, and why.",
    "alert.unsilenced": "Somebody ended a silence before its time.",
    "approval.accepted": "A host took over recipients, or rules for keeping, as those in force.",
    "approval.refused": "An approval did not count: why. `stale`: it was good for what was asked then.",
    "approval.rejected": "Somebody rejected a request for approval, and why.",
    "approval.requested": "Somebody asked for what people have to approve: exactly what they are to sign.",
    "approval.signed": "A person approved a request, or broke the glass: the signature.",
    "approval.spent": "What was approved is over: nobody can use the approval again.",
    "approval.used": "Something is done on the word of these people, or by break-glass.",
    "backup.gone": "An operator said that a backup file is gone for good.",
    "backup.quarantined": "An incident put a backup into quarantine.",
    "backup.released": "An operator released a backup from quarantine.",
    "backup.pruned": "A backup that no retention rule keeps was deleted from a target, for good.",
    "backup.removed": "A rotation removed a backup that a re-encrypted one replaced.",
    "backup.undeleted": "A person kept a backup that was marked to be deleted.",
    "cluster.begun": "An operator made a host the first of several.",
    "cluster.certified": "The installation key certified the keys of a host that joins.",
    "cluster.joined": "A host has joined: its name and roles.",
    "cluster.refused": "A host that wanted to join was refused, and why.",
    "cluster.removed": "An operator threw a host out: why, and whether its keys count as leaked.",
    "cluster.token-made": "An operator made a token to join with: its id, roles and end.",
    "cluster.token-used": "A host used a token to join up: which host.",
    "channel.works": "A channel took a message or ping, after one that it did not take.",
    "drill.reported": "A drill ended, and its signed report was put on the targets.",
    "emergency.coming": "The medium of an emergency backup will be needed within three days.",
    "emergency.overdue": "The medium of an emergency backup has been missing for more than a week.",
    "emergency.waiting": "An emergency backup is due and waits for its medium.",
    "hold.added": "An operator placed a hold: nothing of its subject may be removed.",
    "hold.released": "An operator lifted a hold.",
    "hook.failed": "What is called after a run failed, refused or took too long.",
    "incident.entered": "A signed entry of an incident: it was opened or closed, or a step done or waived.",
    "incident.opened": "An operator opened an incident; once for each key that is suspected.",
    "key.challenged": "A challenge was made for a key on another host.",
    "key.checked": "The scheduled check of keys ran.",
    "key.failed": "A key failed its check.",
    "key.proven": "A key opened a backup, or answered its challenge.",
    "key.retired": "An operator retired a key.",
    "ledger.unreadable": "An event in the database cannot be decoded.",
    "message-failed": "A worker could not act on a message that this installation sent itself: a fault.",
    "message-refused": "A worker refused a message from the broker.",
    "page.asked": "Somebody asked for something on the page, and it was done: what, of what, and who.",
    "page.refused": "Somebody asked for something on the page, and it was refused: why.",
    "reconcile.exhausted": "A step started five times without an outcome and was given up.",
    "reconcile.expired": "Steps became due again because their leases ran out.",
    "reconcile.lost": "Steps became due again because their messages were lost.",
    "replica.checked": "A command checked a replica.",
    "replica.lost": "A replica on record was found damaged or incomplete, or no longer on its target.",
    "replica.repaired": "A repair made a replica good again: what was wrong, and where it was copied from.",
    "replica.unlocked": "A new signature could not be locked on a target.",
    "rotation.overdue": "A rotation has waited for its workers for more than a week.",
    "run.closing": "A run is about to end and cleans up.",
    "run.created": "A run was accepted.",
    "run.finished": "A run ended: its state, and its error if it failed.",
    "run.retried": "An operator retried a run.",
    "run.swept": "A run's remains were removed.",
    "review.made": "The yearly security review was written: the digest of its file.",
    "schedule.paused": "Somebody paused an entry of the calendar: why, and until when.",
    "schedule.refused": "An entry of the calendar came due and could not be begun; told once an hour.",
    "schedule.resumed": "Somebody ended a pause.",
    "secret.rotated": "A secret has a new value: by which rotator, in which incident. Its name is not told.",
    "secret.rotating": "A secret is being given a new value.",
    "secret.rotation-failed": "The new value of a secret was not taken, and the former one is current again.",
    "settings.refused": "A host's changed configuration file is wrong. The settings before it stay in force.",
    "settings.taken": "A host's processes took on its changed configuration file.",
    "settings.waits": "A host's changed configuration file waits until its processes are restarted.",
    "shred.intent": "An operator ordered backups to be shredded. The order is signed.",
    "shred.key": "A key was destroyed, or its destruction was tried: the key service's answer.",
    "shred.lost": "An operator said that a medium is lost.",
    "shred.target": "Objects were removed from a target: how many, and how many are left.",
    "shred.verdict": "A verdict: shredded, or pending until a date.",
    "signer.announced": "The next signing key of a role was listed before it signs.",
    "signer.certified": "The installation key certified a role's key.",
    "signer.distrusted": "An operator distrusted a signing key.",
    "signer.replaced": "A lost signing key was replaced.",
    "signer.re-signed": "Backups were signed again with the current key.",
    "signer.rotated": "A role signs with a new key.",
    "stage.unswept": "A stage could not be swept of what killed processes left. The next day tries again.",
    "step.failed": "One attempt of a step failed.",
    "submission-delayed": "A submission was taken up late because the state database did not answer.",
    "submission-refused": "A submission was refused.",
    "version.refused": "A version was refused: the schema is newer, or processes would have been stranded.",
}
"""Every kind of event, and what it says."""

MADE_UP = ("emergency.coming", "emergency.overdue", "emergency.waiting")
"""Kinds that the code puts together, so that no text in it is the whole name."""

_KIND = re.compile(
    r"(?:access|alert|approval|backup|channel|cluster|drill|emergency|hold|hook|incident|key|page|reconcile|replica|review|rotation|run"
    r"|schedule|secret|settings|shred|signer|stage|step|ledger|version)\.[a-z-]+"
    r"|(?:message|submission)-[a-z]+"
)


def events_markdown() -> str:
    """Return the page of events."""
    head = f"# Events\n\n{MADE}\n\n"
    words = (
        "The ledger in the state database holds these events.\n"
        "`strongroom ledger check` compares it with its signed heads.\n"
        "`strongroom reports audit` exports it.\n"
        "No event holds the value of a secret.\n\n"
    )
    return head + words + "".join(f"- `{kind}`: {means}\n" for kind, means in EVENTS.items())


def approvals_markdown() -> str:
    """Return the page of what people can have to approve."""
    head = f"# What asks for approval\n\n{MADE}\n\n"
    words = (
        "A value, or what opens one, can leave by these commands, and in Python by `strongroom.open` and "
        "`strongroom.Client`.\n"
        "A rule that names an action has people [approve](../how-to/approve.md) it.\n\n"
    )
    rows = [
        f"| `{way}` | {', '.join(f'`{action}`' for action in asked.asks)} | {asked.what} |\n"
        for way, asked in WAYS.items()
    ]
    table = "| Way | Actions | What of it |\n|---|---|---|\n" + "".join(rows)
    none = [
        f"- {reason}: {', '.join(f'`{name}`' for name in names)}\n" for reason, names in GIVE_NONE.items()
    ]
    return head + words + table + "\nNobody approves the others:\n\n" + "".join(none)


def alerts_markdown() -> str:
    """Return the page of alerts."""
    head = f"# Alerts\n\n{MADE}\n\n"
    words = (
        "`strongroom alerts send` and the scheduled check raise these alerts, the worst first.\n"
        "Each stands with how bad it is, and with the exit code of `alerts send` while it is the worst.\n"
        "[Monitor backups](../how-to/monitor.md) says how to receive them.\n\n"
    )
    return head + words + "".join(map(_alert, KINDS))


def _alert(name: str) -> str:
    kind = KINDS[name]
    do = re.sub(r"'(strongroom [^']*)'", r"`\1`", kind.do.replace("{subject}", "NAME"))
    severities = " or ".join(severity.value for severity in kind.severities)
    exits = " or ".join(map(str, kind.exit_codes))
    return f"- `{name}` ({severities}, {exits}): {kind.means}\n  *To do:* {do}\n"


def metrics_markdown() -> str:
    """Return the page of metrics."""
    head = f"# Metrics\n\n{MADE}\n\n"
    words = (
        "`strongroom metrics` hands these metrics out, as does `strongroom up --metrics`.\n"
        "A metric of which nothing is known is left out.\n"
        "No label is the name of a secret.\n"
        "[Scrape metrics](../how-to/scrape-metrics.md) says how Prometheus gets them.\n\n"
    )
    return head + words + "".join(map(_measure, MEASURES))


def _measure(measure: Measure) -> str:
    name = measure.name + ("_total" if measure.kind == "counter" else "")
    labels = f"{{{', '.join(measure.labels)}}}" if measure.labels else ""
    return f"- `{name}{labels}` ({measure.kind}): {measure.says}\n"


def kinds_in_code() -> set[str]:
    """Return every text in the code that has the form of an event's kind and is no alert."""
    return set(_kinds_in_code()) - {kind for kind in KINDS if kind not in EVENTS}


def _kinds_in_code() -> Iterator[str]:
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            if _KIND.fullmatch(text) and not text.endswith(".json"):
                yield text


def pages() -> dict[Path, str]:
    """Return every page that is made, with its text."""
    return {
        FOLDER.parent / "explanation" / "rooms.svg": rooms_svg(),
        FOLDER / "alerts.md": alerts_markdown(),
        FOLDER / "approvals.md": approvals_markdown(),
        FOLDER / "chart.md": chart_markdown(MADE),
        FOLDER / "commands.md": commands_markdown(),
        FOLDER / "configuration.md": reference_markdown(),
        FOLDER / "events.md": events_markdown(),
        FOLDER / "exit-codes.md": exit_codes_markdown(),
        FOLDER / "metrics.md": metrics_markdown(),
        ROOT / "ops" / "prometheus" / "strongroom.rules.yml": rules_yaml(),
        PUBLIC: public_names(),
    }


# -- the public names of Python: every error, and what strongroom/__init__.py says where it is made ----

PUBLIC = ROOT / "strongroom" / "__init__.py"


def public_names() -> str:
    """Return the module with the imports and the list of its public names written anew."""
    homes = strongroom._HOMES | {  # noqa: SLF001 - what else is public
        name: kind.__module__
        for module in (errors.__name__, *errors.MODULES)
        for name, kind in vars(import_module(module)).items()
        if isinstance(kind, type) and issubclass(kind, StrongroomError) and kind.__module__ == module
    }
    by_module: dict[str, list[str]] = {}
    for name, module in homes.items():
        by_module.setdefault(module, []).append(name)
    imports = "".join(
        f"    from {module} import (\n{''.join(map(_imported, sorted(names, key=_order)))}    )\n"
        for module, names in sorted(by_module.items())
    )
    listed = "".join(f'    "{name}",\n' for name in sorted({*homes, "__version__"}))
    text = PUBLIC.read_text("utf-8")
    for begins, ends, made in (
        ("if TYPE_CHECKING:\n", "\n__version__", imports),
        ("__all__ = [\n", "]", listed),
    ):
        head, _, rest = text.partition(begins)
        text = f"{head}{begins}{made}{ends}{rest.partition(ends)[2]}"
    return text


def _imported(name: str) -> str:
    return f"        {name},{'  # noqa: A004' if name == 'open' else ''}\n"


def _order(name: str) -> tuple[bool, str]:
    return name[0].islower(), name.lower()


def main(arguments: list[str]) -> int:
    stale = [page for page, text in pages().items() if not page.exists() or page.read_text("utf-8") != text]
    for page in stale:
        print(f"{page.relative_to(ROOT)} {'is stale' if '--check' in arguments else 'is written'}")
        if "--check" not in arguments:
            page.write_text(pages()[page], encoding="utf-8")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
