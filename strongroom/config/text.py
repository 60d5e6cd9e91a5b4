"""What `config init` writes: the places that a person names, and the text with all of it explained."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill
from typing import Final, NamedTuple, cast
from urllib.parse import urlsplit

from strongroom.config.calendar import CalendarSettings
from strongroom.config.kinds import OwnSource, PlaceKind, SourceKind, TargetKind, table
from strongroom.config.model import DEFAULT_TARGETS
from strongroom.config.schema import fields_of, kind_of, toml_value

# -- A source and targets as somebody names each in one word, and what the configuration file says of them


SOURCE_KINDS: Final = cast("tuple[type[SourceKind], ...]", SourceKind.choices())
TARGET_KINDS: Final = cast("tuple[type[TargetKind], ...]", TargetKind.choices())


def _spelt(kinds: Sequence[type[PlaceKind]]) -> str:
    *rest, last = (kind.SPELT for kind in kinds if kind.SPELT)
    return f"{', '.join(rest)} or {last}"


SOURCES: Final = _spelt(SOURCE_KINDS)
TARGETS: Final = _spelt(TARGET_KINDS)


OwnKey = dict[str, str]
"""How a public key is named: as ``public_key``, or as ``public_key_file``."""


class OwnTarget(NamedTuple):
    """A target's region, and its settings but for that."""

    region: str
    settings: Mapping[str, str | int]


class OwnMail(NamedTuple):
    """Who gets mail when something is wrong, and which server takes it."""

    to: Sequence[str]
    host: str

    @property
    def text(self) -> str:
        """What the file says of it."""
        text = NO_MAIL.replace("#[alerts] ", "[alerts]  ").replace("#[mail]", "[mail]")
        text = text.replace('#email = ["alerts@example.org"]', f"email = {toml_value(list(self.to))}")
        return text.replace('#host = "smtp.example.org"', f"host = {toml_value(self.host)}")


NO_MAIL = """\
#[alerts]                       # 'strongroom alerts' looks without it, too
#email = ["alerts@example.org"]
#threshold_age = "24h"          # how long after its time a backup may be missing
#[mail]
#host = "smtp.example.org"
#security = "starttls"          # or "tls"
#username = "strongroom"
#password_file = "/etc/strongroom/mail-password"
"""


def parse_source(word: str) -> OwnSource:
    """Read a source. Raises ValueError, with what would be right."""
    kind, _, place = word.partition(":")
    with _saying(SOURCES):
        if found := next(
            filter(None, (source_kind.of_word(kind, place) for source_kind in SOURCE_KINDS)), None
        ):
            return found
    raise ValueError(f"has to be one of {SOURCES}")


def parse_target(word: str) -> OwnTarget:
    """Read a target. Raises ValueError, with what would be right."""
    region, _, place = word.partition("=")
    with _saying(TARGETS):
        read = (target_kind.of_word(place, urlsplit(place)) for target_kind in TARGET_KINDS if region)
        if found := next(filter(None, read), None):
            return OwnTarget(region, found)
    raise ValueError(f"has to be one of {TARGETS}")


@contextmanager
def _saying(right: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"has to be one of {right}; {error}") from None


def key_tables(keys: Sequence[OwnKey]) -> dict[str, str]:
    """Return the tables of public keys, each by its name."""
    names = _numbered("recovery")
    return {
        name: table(f"keys.{name}", {"kind": "hpke", **key}) for name, key in zip(names, keys, strict=False)
    }


def named(targets: Iterable[OwnTarget]) -> dict[str, OwnTarget]:
    """Give each target a name, after its region."""
    names: dict[str, OwnTarget] = {}
    for target in targets:
        base = re.sub(r"[^a-z0-9]+", "-", target.region.lower()).strip("-") or "target"
        names[next(name for name in _numbered(base) if name not in names)] = target
    return names


def with_locks(targets: Iterable[OwnTarget], locked: Container[str]) -> list[OwnTarget]:
    """Have locked what is put into buckets that can, by the lock that a right can still end."""
    return [
        target._replace(settings={**target.settings, "lock": "governance"}) if name in locked else target
        for name, target in named(targets).items()
    ]


def _numbered(base: str) -> Iterator[str]:
    yield base
    yield from (f"{base}-{number}" for number in range(2, 1000))


def target_tables(targets: dict[str, OwnTarget]) -> str:
    """Return the tables of targets."""
    return "\n".join(
        table(f"targets.{name}", {**target.settings, "region": target.region}) + _left_to_say(target.settings)
        for name, target in targets.items()
    )


def _left_to_say(settings: Mapping[str, str | int]) -> str:
    more = next(target_kind.MORE for target_kind in TARGET_KINDS if kind_of(target_kind) == settings["kind"])
    return "".join(f"#{key} = {example}\n" for key, example in more.items() if key not in settings)


# -- The configuration file that ``strongroom init`` writes -------------------------------------


_LOCAL = """\
[sources.local]                 # filled by: strongroom set NAME
kind = "local"
"""

_HEAD = """\
# Strongroom's configuration. What each key means: docs/reference/configuration.md.
# After a change: strongroom check config
#
# A line that starts with '#' and a key shows a setting that is not in force.
# No password or key stands in this file, only the names of files that hold one.

# Keys, the local store and working state. Never inside a target.
#state_dir = "/var/lib/strongroom"

# -- Where live secrets are ----------------------------------------------------

[sources.local]                 # filled by: strongroom set NAME
kind = "local"

{source_examples}
# -- Where backups lie ---------------------------------------------------------
# These three directories on this machine are enough to begin with, but one lost
# machine loses all three. Replace them by real places, such as those below, and set
# 'create = true' only for a directory that is never an absent disk's mount point.

{default_targets}
{target_examples}
# -- Who can open sealed backups -----------------------------------------------
"""

_WITHOUT_KEY = """
# Any one of a policy's recipients is enough, so keep each away from the backups.
# The passphrase comes from STRONGROOM_PASSPHRASE_FILE or STRONGROOM_PASSPHRASE,
# or from a file (mode 0600) named by 'file'. Better, because then the backup host
# itself cannot read what it wrote: strongroom keys new, and a key of kind "hpke".

[keys.recovery]
kind = "passphrase"
"""

_WITH_KEY = """
# Only the public half is here: this host can seal, and not open what it sealed.
# Keep the private half offline, and in more than one place.
"""

_POLICIES = """
# -- What is backed up, how, when, to whom, and how long it is kept ------------
# Schedules: minute, hour, day of month, month, day of week; in UTC unless
# calendar.time_zone says otherwise.

[policies.daily-metadata]       # names, types, dates and tags; no values
kind = "metadata"
source = "local"
targets = ["region-a", "region-b", "region-c"]
schedule = "0 2 * * *"
quorum = 2                      # a backup counts once two targets hold it,
regions = 2                     # in two regions at least
minimum_retention_days = 365    # each is kept for a year; targets with locks lock it for as long
keep = { monthly = 24, yearly = 7 }  # what 'strongroom backups prune' keeps of what is older

[policies.weekly-critical]      # the values of what matters most
kind = "full"
source = "local"
tags = { priority = "critical" }
targets = ["region-a", "region-b", "region-c"]
recipients = ["recovery"]
{alone}
schedule = "0 3 * * 0"
quorum = 2
regions = 2
minimum_retention_days = 365
minimum_retention_count = 8     # whatever their age
keep = { monthly = 24, yearly = 7 }

[policies.monthly-full]         # all the rest, and the critical ones with it, so
kind = "full"                   # that one backup alone brings everything back
source = "local"
targets = ["region-a", "region-b", "region-c"]
recipients = ["recovery"]
{alone}
schedule = "0 4 1 * *"
quorum = 2
regions = 2
minimum_retention_days = 365
minimum_retention_count = 12
keep = { monthly = 24, yearly = 7 }
"""

_EMERGENCY = """
# -- A medium in a safe --------------------------------------------------------
# strongroom emergency backup emergency, whenever the medium is mounted.

#[targets.medium]
#kind = "directory"
#path = "/mnt/emergency"
#region = "the-safe"
#[policies.emergency]
#kind = "full"
#source = "local"
#targets = ["medium"]
#recipients = ["recovery"]
{emergency_alone}#schedule = "0 3 1 * *"         # when it is due
#offline = true
#quorum = 1
#regions = 1
"""

_CALENDAR = """
# -- The calendar --------------------------------------------------------------
# All of it is on without a line here, unless something is missing for an entry:
# 'strongroom schedule' says what. These are the times; change those that do not suit you,
# or write 'false'.

#[calendar]
#time_zone = "Europe/Berlin"    # of all schedules, those of the policies too
"""

_DRILL = """
#[rotators.shop-database]       # for 'strongroom secrets rotate': docs/how-to/rotate-a-secret.md
#kind = "command"
#include = ["prod/shop-db"]
#command = ["/usr/local/bin/set-database-password"]
#to_do = "restart the web servers of the shop"

#[drill]                        # what the drills bring back
#policy = "monthly-full"
#objective_seconds.full = 7200  # full recovery within two hours
"""

_REST = """
# -- The rest has defaults -----------------------------------------------------

#[broker]                       # otherwise an embedded one on this machine
#url = "rediss://strongroom@redis.example.org:6380/0"
#password_file = "/etc/strongroom/broker-password"

#[state]                        # otherwise SQLite in the state directory
#url = "postgresql://strongroom@db.example.org/strongroom"

#[contacts.primary]             # whom 'strongroom recover' says to call; also secondary, escalation
#who = "DevOps team (24/7)"
#phone = "+49 30 1234567"

{mail}
#[approvals]                    # what other people have to approve: docs/how-to/approve.md
#allowed_signers = "/etc/strongroom/allowed_signers"
#[approvals.rules.restores]
#actions = ["restore", "undo"]
#above = 10                     # secrets
#k = 2
#people = ["alice@example.org", "bob@example.org", "carol@example.org"]

#[channels.watchdog]            # mail, webhook, apprise, ping: docs/how-to/notify-people.md
#kind = "ping"
#url_file = "/etc/strongroom/watchdog-url"

#[workers]
#seal = 2
#transfer = 8

#[sentry]
#dsn = "https://0123456789abcdef@sentry.example.org/42"
"""


def _comment(reason: str) -> str:
    return fill(reason.replace("`", "'"), width=78, initial_indent="# ", subsequent_indent="# ")


def default_config_text(
    *,
    keys: Sequence[OwnKey] = (),
    source: OwnSource | None = None,
    targets: Sequence[OwnTarget] = (),
    mail: OwnMail | None = None,
    alone: str | None = None,
    state_dir: Path = Path(),
) -> str:
    """Return a commented ``strongroom.toml`` that loads without a problem.

    Daily metadata, weekly the critical secrets, monthly everything, each kept for a year.

    Args:
        keys: HPKE public keys to seal to, any one of which opens; without one backups are sealed to a
            passphrase. A host that only seals makes no drill.
        source: where the secrets are, in place of the local store.
        targets: where the backups go, in place of directories in the state directory.
        mail: who gets mail when something is wrong, and by which server.
        alone: why one key alone is enough, where there is one: where its spare is.
        state_dir: where the directories are that are targets if none is named. They stand in the file, since
            those that only the defaults have would be gone with the first target that somebody adds.
    """
    sealed_to = key_tables(keys)
    text = _HEAD + (_WITH_KEY + "".join(f"\n{line}" for line in sealed_to.values()) if keys else _WITHOUT_KEY)
    # The built-in entries of the calendar, each with its reason.
    described = fields_of(CalendarSettings)
    text += (
        _POLICIES
        + _EMERGENCY
        + (
            _CALENDAR
            + "".join(
                f"\n{_comment(described[name].description)}\n#{name} = {toml_value(entry.schedule)}\n"
                for name, entry in CalendarSettings().entries().items()
            )
        )
        + _DRILL
        + _REST
    )
    text = text.replace("{default_targets}", _default_targets(state_dir))
    text = text.replace("{source_examples}", _examples(SOURCE_KINDS))
    text = text.replace("{target_examples}", _examples(TARGET_KINDS))
    text = text.replace("{mail}", mail.text if mail else NO_MAIL)
    text = text.replace('["recovery"]', toml_value(list(sealed_to) or ["recovery"]))
    text = _with_reason(text, alone or NOT_SAID, single=len(keys) < 2)
    return _with_targets(_with_source(text, source) if source else text, targets)


NOT_SAID = "nobody has said yet where its spare is"
"""What stands for the reason of a single key until a person gives one."""


def _with_reason(text: str, alone: str, *, single: bool) -> str:
    """Say why one key is enough, where it is one; what nobody has said is not put in a person's mouth."""
    line = f"single_recipient_reason = {toml_value(alone)}"
    better = "  # put it here, or name a second key" if alone == NOT_SAID else ""
    text = text.replace("{alone}\n", f"{line}{better}\n" if single else "")
    example = '#single_recipient_reason = "the spare key lies in the bank"\n'
    return text.replace("{emergency_alone}", example if single else "")


def _examples(kinds: Sequence[type[PlaceKind]]) -> str:
    return "\n".join(kind.EXAMPLE for kind in kinds if kind.EXAMPLE)


def _default_targets(state_dir: Path) -> str:
    folder = state_dir / "targets"
    return "\n".join(
        table(
            f"targets.{name}",
            {"kind": "directory", "path": str(folder / name), "region": name, "create": True},
        )
        for name in DEFAULT_TARGETS
    )


def _with_source(text: str, source: OwnSource) -> str:
    """Put a source in the place of the local store, and leave out the example of its kind."""
    text = text.replace(_LOCAL, source.text).replace('source = "local"', f'source = "{source.name}"')
    return text.replace(f"{source.example}\n", "") if source.example else text


def _with_targets(text: str, targets: Sequence[OwnTarget]) -> str:
    """Put targets in the place of the examples. A backup counts once two hold it, if there are two."""
    if not targets:
        return text
    own = named(targets)
    heading = "# -- Where backups lie ---------------------------------------------------------\n"
    before, _, after = text.partition(heading)
    _, _, after = after.partition("# -- Who can open")
    text = f"{before}{heading}\n{target_tables(own)}\n# -- Who can open{after}"
    text = text.replace('["region-a", "region-b", "region-c"]', toml_value(list(own)))
    regions = min(2, len({target.region for target in targets}))
    policies, emergency, rest = text.partition("# -- A medium in a safe")
    policies = policies.replace("quorum = 2", f"quorum = {min(2, len(targets))}")
    return policies.replace("regions = 2", f"regions = {regions}") + emergency + rest
