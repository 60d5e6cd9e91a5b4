"""Each thing that can be wrong is found, and said with its key and what would be right."""

from __future__ import annotations

import json
import os

import pytest
from msgspec.structs import replace

from strongroom.config import ConfigProblem, ConfigProblems, load_settings
from strongroom.errors import ConfigError
from tests.config.loading import Place, problems_from

KEY = '[keys.recovery]\nkind = "passphrase"\n'
FULL = 'kind = "full"\ntargets = ["region-a", "region-b", "region-c"]\nrecipients = ["recovery"]\n'
META = 'kind = "metadata"\ntargets = ["region-a", "region-b", "region-c"]\n'


def policy(body: str, *, name: str = "p") -> str:
    return f"{KEY}[policies.{name}]\n{body}"


def stage_in(path: str, *, name: str = "s") -> str:
    """Write a stage in a directory."""
    return f'[stages.{name}]\nkind = "directory"\npath = "{path}"\nregion = "{name}"\n'


def directory(name: str, path: str, region: str = "r") -> str:
    return f'[targets.{name}]\nkind = "directory"\npath = "{path}"\nregion = "{region}"\n'


HUGE = "9" * 5000
VAULT = '[vaults.main]\naddress = "https://v:8200"\ntoken_file = "t"\n'
SEALED_IN_VAULT = (
    '[sources.s]\nkind = "vault"\nvault = "main"\n'
    '[keys.k]\nkind = "transit"\nvault = "main"\nkey = "k"\n'
    '[keys.f]\nkind = "passphrase"\n'
    + directory("a", "a")
    + '[targets.w]\nkind = "vault"\nvault = "main"\nmount = "m"\nregion = "r"\n'
    '[policies.p]\nkind = "full"\nregions = 1\n'
)


SNAPSHOTS = VAULT + '[sources.s]\nkind = "raft"\nvault = "main"\n' + policy('source = "s"\n')

# text, key, what is wrong, what would be right
BY_ITSELF = {
    "unknown section": ("[brokr]\n", "brokr", "unknown key", "'broker'"),
    "unknown key": ('[broker]\nulr = "x"\n', "broker.ulr", "unknown key", "Did you mean 'url'?"),
    "unknown key like no other": ("[workers]\nxyzzy = 1\n", "workers.xyzzy", "unknown key", "seal, transfer"),
    "unknown key in a policy": (
        policy(FULL + "colour = 1"),
        "policies.p.colour",
        "unknown key",
        "minimum_retention_days",
    ),
    "unknown key of another kind": (KEY + 'path = "x"', "keys.recovery.path", "unknown key", "file"),
    "secret in place of a file": (
        KEY + 'passphrase = "CANARY-p"',
        "keys.recovery.passphrase",
        "unknown key",
        "put it into a file (mode 0600)",
    ),
    "a Vault on another host without TLS": (
        '[vaults.v]\naddress = "http://vault:8200"\ntoken_file = "t"\n',
        "vaults.v.address",
        "reached without TLS",
        "An https:// address",
    ),
    **{
        f"{what} with the port {port[:5]}": (
            f'{text}https://h:{port}"\n',
            key,
            "not of the right form",
            "https://",
        )
        for port in ("99999", "port", HUGE)
        for what, text, key in (
            ("a Vault", '[vaults.v]\ntoken_file = "t"\naddress = "', "vaults.v.address"),
            (
                "a source",
                '[sources.a]\nkind = "aws"\nregion = "r"\nendpoint_url = "',
                "sources.a.endpoint_url",
            ),
        )
    },
    "an endpoint on another host without TLS": (
        '[sources.a]\nkind = "aws"\nregion = "r"\nendpoint_url = "http://127.0.0.1.evil.test"\n',
        "sources.a.endpoint_url",
        "reached without TLS",
        "An https:// address",
    ),
    "text for a number": (
        policy(FULL + 'quorum = "2"'),
        "policies.p.quorum",
        "wrong type",
        "a whole number, without quotes, for example: quorum = 2",
    ),
    "fraction for a number": ("[workers]\nseal = 1.5\n", "workers.seal", "wrong type", "a whole number"),
    "number for text": ("[flower]\nuser = 7\n", "flower.user", "wrong type", "text in quotes"),
    "date for text": ("[flower]\nuser = 2026-11-25\n", "flower.user", "wrong type", "text in quotes"),
    "date for a list": (
        policy('kind = "metadata"\ntargets = 2026-11-25'),
        "policies.p.targets",
        "wrong type",
        "a list in brackets",
    ),
    "date for a table": ("broker = 2026-11-25\n", "broker", "wrong type", "a table"),
    "whole fraction for a number": (
        "[workers]\nseal = 2.0\n",
        "workers.seal",
        "wrong type",
        "a whole number",
    ),
    "truth for a number": ("[workers]\nseal = true\n", "workers.seal", "wrong type", "a whole number"),
    "number for a truth": (
        directory("a", "a") + "create = 1",
        "targets.a.create",
        "wrong type",
        "true or false",
    ),
    "truth for a rate": (
        "[rotation]\nrate = true\n",
        "rotation.rate",
        "wrong type",
        "a number, without quotes, for example: rate = 5.0",
    ),
    "text for a rate": ('[rotation]\nrate = "2"\n', "rotation.rate", "wrong type", "a number"),
    "rate of nothing": ("[rotation]\nrate = 0\n", "rotation.rate", "too small", "More than 0."),
    "rate that is no number": ("[rotation]\nrate = nan\n", "rotation.rate", "too small", "More than 0."),
    "rate beyond all numbers": (
        f"[rotation]\nrate = 1{'0' * 400}\n",
        "rotation.rate",
        "not of the right form",
        "rate = 5.0",
    ),
    "number beyond 64 bits": (
        "[limits]\nstage_bytes = 9_223_372_036_854_775_808\n",
        "limits.stage_bytes",
        "too large",
        "At most 9,223,372,036,854,775,807.",
    ),
    "size beyond 64 bits": (
        '[limits]\nstage_bytes = "999999999999999999TB"\n',
        "limits.stage_bytes",
        "too large",
        "At most 9,223,372,036,854,775,807.",
    ),
    "number of thousands of digits in hexadecimal": (
        f"[workers]\nseal = 0x1{'0' * 5000}\n",
        "workers.seal",
        "too large",
        "At most 256.",
    ),
    "path in the home of nobody": (
        '[broker]\npassword_file = "~nobody-of-that-name/x"\n',
        "broker.password_file",
        "not of the right form",
        "password_file = ",
    ),
    "address with a bracket left open": (
        '[vaults.v]\naddress = "https://[::1"\ntoken_file = "t"\n',
        "vaults.v.address",
        "not of the right form",
        "https://vault.example.org:8200",
    ),
    "name that ends a line": (
        policy('kind = "metadata"\ntargets = ["region-a\\n", "region-b"]\nquorum = 1'),
        "policies.p.targets[0]",
        "not of the right form",
        "targets = ",
    ),
    "list for a word": (
        policy(META + 'verify = ["live"]'),
        "policies.p.verify",
        "none of the known words",
        "One of: present, digest, opened, compared or live.",
    ),
    "one of two words": (
        policy(META.replace("metadata", "all")),
        "policies.p.kind",
        "none of the known words",
        "One of: full or metadata.",
    ),
    "list for a kind": ('[keys.k]\nkind = ["hpke"]\n', "keys.k.kind", "unknown kind", "passphrase, keyfile"),
    "text for a leg": (
        '[keys.k]\nkind = "all-of"\nlegs = ["a", ["b"]]\n',
        "keys.k.legs[0]",
        "wrong type",
        "a list in brackets",
    ),
    "number in a leg": (
        '[keys.k]\nkind = "all-of"\nlegs = [["a", 7], ["b"]]\n',
        "keys.k.legs[0][1]",
        "wrong type",
        "text in quotes",
    ),
    "sealing that is neither true nor false": (
        policy(FULL + 'encrypt = "no"'),
        "policies.p.encrypt",
        "wrong type",
        "true or false",
    ),
    "path with a NUL": (
        '[broker]\npassword_file = "a\\u0000b"\n',
        "broker.password_file",
        "not of the right form",
        "password_file = ",
    ),
    "stage as it was written once": (
        '[stage]\npath = "x"\n',
        "stage",
        "was replaced",
        "[stages.default]",
    ),
    "stage that is not there": (
        policy('kind = "metadata"\nstage = "other"\ntargets = ["region-a"]'),
        "policies.p.stage",
        "there is no stage 'other'",
        "",
    ),
    "only wrong things in a list": (
        policy('kind = "metadata"\ntargets = [7]'),
        "policies.p.targets[0]",
        "wrong type",
        "text in quotes",
    ),
    "number for a path": ("state_dir = 7\n", "state_dir", "wrong type", "text in quotes"),
    "text for a truth": (
        directory("a", "a") + 'create = "yes"',
        "targets.a.create",
        "wrong type",
        "true or false, without quotes",
    ),
    "text for a list": (
        policy('kind = "metadata"\ntargets = "region-a"'),
        "policies.p.targets",
        "wrong type",
        'a list in brackets, for example: targets = ["region-a", "region-b"]',
    ),
    "number in a list": (
        policy('kind = "metadata"\ntargets = ["region-a", 7]'),
        "policies.p.targets[1]",
        "wrong type",
        "text in quotes",
    ),
    "number for a tag": (
        policy(META + "tags = { a = 1 }"),
        "policies.p.tags.a",
        "wrong type",
        "text in quotes",
    ),
    "value for a table": ("broker = 7\n", "broker", "wrong type", "a table"),
    "value for a named table": ("[policies]\np = 7\n", "policies.p", "wrong type", "a table"),
    "list for a table of tables": ("targets = []\n", "targets", "wrong type", "It must be a table."),
    "missing key": (
        '[targets.a]\nkind = "directory"\npath = "a"\n',
        "targets.a.region",
        "missing",
        'Add it, for example: region = "eu-west"',
    ),
    "missing key of one kind": (
        '[keys.k]\nkind = "keyfile"\n',
        "keys.k.file",
        "missing",
        'file = "/etc/strongroom/backup.key"',
    ),
    "missing kind": (
        '[sources.s]\npath = "x"\n',
        "sources.s.kind",
        "missing",
        "One of: local, files, vault, raft, aws.",
    ),
    "unknown kind": ('[keys.k]\nkind = "hpk"\n', "keys.k.kind", "unknown kind", "passphrase, keyfile, hpke"),
    "unknown kind of target": (
        '[targets.a]\nkind = "s4"\npath = "a"\nregion = "r"\n',
        "targets.a.kind",
        "unknown kind",
        "One of: directory, sftp, s3, azure, gcs, vault.",
    ),
    "unknown word": (
        policy(META + 'verify = "deep"'),
        "policies.p.verify",
        "none of the known words",
        "present, digest, opened",
    ),
    "too small": (KEY + "iterations = 99_999", "keys.recovery.iterations", "too small", "At least 100,000."),
    "too small a container": (
        '[limits]\ncontainer_bytes = "63KiB"\n',
        "limits.container_bytes",
        "too small",
        "At least 65,536.",
    ),
    "too large": ("[flower]\nport = 65536\n", "flower.port", "too large", "At most 65,535."),
    "empty list": (
        policy('kind = "metadata"\ntargets = []'),
        "policies.p.targets",
        "empty",
        "something in it",
    ),
    "empty text": ('[flower]\nuser = ""\n', "flower.user", "empty", "text that is not empty"),
    "no size": (
        '[limits]\nstage_bytes = "plenty"\n',
        "limits.stage_bytes",
        "not of the right form",
        'stage_bytes = "4GiB"',
    ),
    "no fingerprint": (
        '[trust]\nsigners = ["sr1:XYZ"]\n',
        "trust.signers[0]",
        "not of the right form",
        'signers = ["sr1:',
    ),
    "no public key": (
        '[keys.k]\nkind = "hpke"\npublic_key = "CANARY-private"\n',
        "keys.k.public_key",
        "not of the right form",
        'public_key = "srpub1:',
    ),
    "no name": (policy(META, name='"a b"'), 'policies."a b"', "not a name", "Letters, digits"),
}

TOGETHER = {
    "unknown source": (
        policy(META + 'source = "locl"'),
        "policies.p.source",
        "there is no source 'locl'",
        "Did you mean 'local'?",
    ),
    "unknown target": (
        policy('kind = "metadata"\ntargets = ["region-a", "regionb"]'),
        "policies.p.targets[1]",
        "there is no target 'regionb'",
        "Did you mean 'region-b'?",
    ),
    "unknown recipient": (
        policy(FULL.replace("recovery", "escrow")),
        "policies.p.recipients[0]",
        "there is no key 'escrow'",
        "Known: recovery.",
    ),
    "unknown policy in the drill": (
        '[drill]\npolicy = "weekly"\n',
        "drill.policy",
        "there is no policy 'weekly'",
        "None exists yet.",
    ),
    "drill into an unknown server": (
        policy(FULL) + '[drill]\ninto = "x"\n',
        "drill.into",
        "there is no vault 'x'",
        "None exists yet.",
    ),
    "drill into a server on which no drill may make a mount": (
        policy(FULL) + VAULT + '[drill]\ninto = "main"\n',
        "drill.into",
        "drills may make no mount on 'main'",
        "vaults.main.scratch = true",
    ),
    "unknown target in the drill": (
        policy(FULL) + '[drill]\npolicy = "p"\ncut_off = "x"\n',
        "drill.cut_off",
        "there is no target 'x'",
        "Known: region-a, region-b, region-c.",
    ),
    "drill on a target that the policy has not": (
        policy(FULL.replace(', "region-c"', "")) + '[drill]\npolicy = "p"\ncut_off = "region-c"\n',
        "drill.cut_off",
        "does not store on 'region-c'",
        "One of: region-a, region-b.",
    ),
    "drill of a metadata policy": (
        policy(META) + '[drill]\npolicy = "p"\n',
        "drill.policy",
        "'p' backs up no values",
        "Name a full policy.",
    ),
    "unknown time zone": (
        policy(META + 'time_zone = "Europe/Berln"'),
        "policies.p.time_zone",
        "no such time zone",
        'time_zone = "Europe/Berlin"',
    ),
    "time zone that is a path": (
        '[calendar]\ntime_zone = "../../etc"\n',
        "calendar.time_zone",
        "no such time zone",
        'time_zone = "Europe/Berlin"',
    ),
    "time zone that is a directory of zones": (
        '[calendar]\ntime_zone = "Europe"\n',
        "calendar.time_zone",
        "no such time zone",
        'time_zone = "Europe/Berlin"',
    ),
    "policy with an entry's name": (
        policy(META, name="monthly-tests"),
        "policies.monthly-tests",
        "an entry of the calendar has this name",
        "Name it otherwise.",
    ),
    "target named twice": (
        policy('kind = "metadata"\ntargets = ["region-a", "region-a", "region-b"]'),
        "policies.p.targets[1]",
        "'region-a' stands here twice",
        "each once",
    ),
    "quorum larger than the targets": (
        policy(FULL + "quorum = 4"),
        "policies.p.quorum",
        "asks for 4 targets and the policy has 3 targets",
        "At most 3",
    ),
    "more regions than there are": (
        directory("a", "a", "eu")
        + directory("b", "b", "eu")
        + policy('kind = "metadata"\ntargets = ["a", "b"]\nregions = 2'),
        "policies.p.regions",
        "asks for 2 regions and the policy's targets lie in eu",
        "At most 1",
    ),
    "full policy that nobody can open": (
        policy(META.replace("metadata", "full")),
        "policies.p.recipients",
        "nobody can open",
        "Name at least one of the keys",
    ),
    "sealed metadata that nobody can open": (
        policy(META + "encrypt = true"),
        "policies.p.recipients",
        "nobody can open",
        "Name at least one of the keys",
    ),
    "recipients of what is not sealed": (
        policy(META + 'recipients = ["recovery"]'),
        "policies.p.recipients",
        "has no effect",
        "encrypt = true",
    ),
    "full policy in plaintext": (
        policy(FULL + "encrypt = false"),
        "policies.p.encrypt",
        "full backups are always sealed",
        "Leave it out.",
    ),
    "kept for less than a year": (
        policy(FULL + "minimum_retention_days = 364"),
        "policies.p.minimum_retention_days",
        "for a year at least",
        "At least 365, or state why not in short_retention_reason.",
    ),
    "keep rules that keep nothing": (
        policy(META + "keep = { daily = 0 }"),
        "policies.p.keep",
        "names nothing to keep",
        "To keep everything, leave it out.",
    ),
    "cron with six fields": (
        policy(META + 'schedule = "0 0 3 * * 0"'),
        "policies.p.schedule",
        "not five fields",
        'schedule = "0 3 * * 0"',
    ),
    "cron out of range": (
        policy(META + 'schedule = "0 25 * * *"'),
        "policies.p.schedule",
        "bad hour",
        "Five fields",
    ),
    "cron that never comes due": (
        policy(META + 'schedule = "0 0 30 2 *"'),
        "policies.p.schedule",
        "bad day-of-month",
        "Five fields",
    ),
    "hook that calls nothing": (
        '[hooks.health]\nafter = { timeout = "5s" }\n',
        "hooks.health.after",
        "calls not exactly one thing",
        "url_file",
    ),
    "hook that calls two things": (
        policy(META + 'hooks.before = { command = ["/bin/true"], url = "https://h/" }\n'),
        "policies.p.hooks.before",
        "calls not exactly one thing",
        "url_file",
    ),
    "hook whose program is found by the path": (
        policy(META + 'hooks.before = { command = ["quiesce"] }\n'),
        "policies.p.hooks.before.command",
        "not named by its absolute path",
        "/usr/local/bin/",
    ),
    "rotator that is for anything": (
        '[rotators.r]\nkind = "random"\n',
        "rotators.r.include",
        "missing, and there are no tags",
        'include = ["*"]',
    ),
    "rotator whose program is found by the path": (
        '[rotators.r]\nkind = "command"\ninclude = ["a"]\ncommand = ["set"]\n',
        "rotators.r.command",
        "not named by its absolute path",
        "/usr/local/bin/",
    ),
    "rotator of values that can be guessed": (
        '[rotators.r]\nkind = "random"\ninclude = ["a"]\nlength = 12\nalphabet = "digits"\n',
        "rotators.r.length",
        "values of 40 bits can be guessed",
        "64 bits at least",
    ),
    "rotator of a source that cannot be written": (
        '[sources.f]\nkind = "files"\npath = "/f"\n[rotators.r]\nkind = "aws"\ntags.a = "b"\nsource = "f"\n',
        "rotators.r.source",
        "nothing can be written to this source",
        "restored into",
    ),
    "rotator of a source that is not there": (
        '[rotators.r]\nkind = "random"\ninclude = ["a"]\nsource = "vlt"\n',
        "rotators.r.source",
        "there is no source 'vlt'",
        "local",
    ),
    "rotator of AWS for another source": (
        '[rotators.r]\nkind = "aws"\ninclude = ["a"]\nsource = "local"\n',
        "rotators.r.source",
        "it is no source of AWS",
        "kind aws",
    ),
    "rotator of a Vault that is not there": (
        '[rotators.r]\nkind = "vault-engine"\ninclude = ["a"]\nvault = "main"\nrotate = "d/r"\n',
        "rotators.r.vault",
        "there is no vault 'main'",
        "",
    ),
    "rotator whose check has nothing to try": (
        VAULT + '[rotators.r]\nkind = "vault-engine"\ninclude = ["a"]\nvault = "main"\nrotate = "d/r"\n'
        'check = ["/c"]\n',
        "rotators.r.check",
        "there is nothing to try",
        "Add read",
    ),
    "hook of an entry that there is not": (
        '[hooks.helth]\nafter = { url = "https://ops.example.org" }\n',
        "hooks.helth",
        "no such entry",
        "health",
    ),
    "bad cron of the drill": (
        policy(FULL) + '[calendar]\nfull-drill = "@monthly"\n',
        "calendar.full-drill",
        "not five fields",
        'full-drill = "0 3 * * 0"',
    ),
    "entry that is switched on": (
        "[calendar]\nfull-drill = true\n",
        "calendar.full-drill",
        "wrong type",
        'full-drill = "0 5 1 * *"',
    ),
    "entry as a table": (
        '[calendar.drift]\nschedule = "0 12 * * *"\n',
        "calendar.drift",
        "is one line now",
        'drift = "0 12 * * *" under [calendar]',
    ),
    "entry that a table switched off": (
        "[calendar.full-drill]\nenabled = false\n",
        "calendar.full-drill",
        "is one line now",
        "full-drill = false under [calendar]",
    ),
    "entry with the bounds of its work": (
        "[calendar.verification]\nspan_days = 90\nrate = 5000000\n",
        "calendar.verification",
        "is one line now",
        "span_days = 90 under [verification]; rate = 5000000 under [verification]",
    ),
    "entry with a grace": (
        "[calendar.prune]\ngrace_days = 14\n",
        "calendar.prune",
        "is one line now",
        "grace_days = 14 under [prune]",
    ),
    "entry with hooks and a zone of its own": (
        '[calendar.repair]\ntime_zone = "UTC"\nhooks = { after = { url = "https://ops.example.org" } }\n',
        "calendar.repair",
        "is one line now",
        "time_zone under [calendar], for all entries; its hooks under [hooks.repair]",
    ),
    "factor that is fixed": (
        "[alerts]\nsize_factor = 1.5\n",
        "alerts.size_factor",
        "was replaced",
        "fixed now",
    ),
    "time after which another host notifies": (
        "[alerts]\ntakeover = '2h'\n",
        "alerts.takeover",
        "was replaced",
        "fixed now",
    ),
    "time of a mail": (
        "[mail]\ntimeout = '60s'\n",
        "mail.timeout",
        "was replaced",
        "fixed now",
    ),
    "containers on their way": (
        "[limits]\nopen_containers = 16\n",
        "limits.open_containers",
        "was replaced",
        "fixed now",
    ),
    "certificate of one service": (
        '[page]\ncertificate_file = "/c.pem"\n',
        "page.certificate_file",
        "was replaced",
        "[listen]",
    ),
    "two targets on one directory": (
        directory("a", "x") + directory("b", "./y/../x"),
        "targets.b.path",
        "the same directory as target 'a'",
        "each its own",
    ),
    "target inside a target": (
        directory("a", "x/y") + directory("b", "x"),
        "targets.a.path",
        "lies inside target 'b'",
        "side by side",
    ),
    "state inside a target": (
        'state_dir = "x/state"\n' + directory("a", "x"),
        "state_dir",
        "lies inside target 'a'",
        "Keep it outside of",
    ),
    "stage is a target": (
        stage_in("x") + directory("a", "x"),
        "stages.s",
        "is the same place as target 'a'",
        "of its own",
    ),
    "stage inside a target": (
        stage_in("x/stage") + directory("a", "x"),
        "stages.s",
        "lies inside target 'a'",
        "of its own",
    ),
    "target inside a stage": (
        stage_in("x") + directory("a", "x/a"),
        "stages.s",
        "holds target 'a'",
        "of its own",
    ),
    "stage in the bucket of a target": (
        (
            '[stages.s]\nkind = "s3"\nbucket = "b"\nprefix = "stage"\nregion = "r"\n'
            '[targets.a]\nkind = "s3"\nbucket = "b"\nregion = "r"\n'
        ),
        "stages.s",
        "lies inside target 'a'",
        "a prefix of its own",
    ),
    "two stages in one place": (
        stage_in("x") + stage_in("x", name="t"),
        "stages.t",
        "is the same place as stage 's'",
        "of its own",
    ),
    "stage that locks": (
        '[stages.s]\nkind = "s3"\nbucket = "b"\nregion = "r"\nlock = "governance"\n',
        "stages.s.lock",
        "the objects on a stage are removed with their run",
        "Leave it out",
    ),
    "source inside a target": (
        '[sources.s]\nkind = "files"\npath = "x/.env"\n' + directory("a", "x"),
        "sources.s.path",
        "live secrets must never lie with their backups",
        "Keep it outside of",
    ),
    "target inside a source": (
        '[sources.s]\nkind = "files"\npath = "x"\n' + directory("a", "x/backups"),
        "targets.a.path",
        "is inside source 's'",
        "outside of what it backs up",
    ),
    "key file with the backups": (
        '[keys.k]\nkind = "keyfile"\nfile = "x/backup.key"\n' + directory("a", "x"),
        "keys.k.file",
        "a secret must never lie with the backups",
        "Keep it outside of",
    ),
    "private key with the backups": (
        '[keys.k]\nkind = "hpke"\npublic_key = "srpub1:x:A"\nidentity_file = "x/k"\n' + directory("a", "x"),
        "keys.k.identity_file",
        "a secret must never lie with the backups",
        "Keep it outside of",
    ),
    "hpke without a public key": (
        '[keys.k]\nkind = "hpke"\n',
        "keys.k.public_key",
        "missing",
        "one of public_key and public_key_file",
    ),
    "hpke with two public keys": (
        '[keys.k]\nkind = "hpke"\npublic_key = "srpub1:x:A"\npublic_key_file = "f"\n',
        "keys.k.public_key",
        "given twice",
        "one of public_key and public_key_file",
    ),
    "public key file that is missing": (
        '[keys.k]\nkind = "hpke"\npublic_key_file = "f"\n',
        "keys.k.public_key_file",
        "there is no such file",
        "Name the public key's file.",
    ),
    "broker of another kind": (
        '[broker]\nurl = "amqp://host"\n',
        "broker.url",
        "not an address of the right kind",
        "rediss://USER@HOST:PORT/0",
    ),
    "broker without a host": ('[broker]\nurl = "redis://"\n', "broker.url", "not an address", "rediss://"),
    "broker with a port that is none": (
        '[broker]\nurl = "redis://host:x"\n',
        "broker.url",
        "not an address",
        "rediss://",
    ),
    "broker with its password": (
        '[broker]\nurl = "redis://:CANARY-p@localhost/0"\n',
        "broker.url",
        "holds a password",
        "name that in broker.password_file",
    ),
    "broker certificates without TLS": (
        '[broker]\nurl = "redis://localhost"\nca_file = "strongroom.toml"\n',
        "broker.ca_file",
        "has no effect without TLS",
        "rediss://",
    ),
    "broker certificates that are missing": (
        '[broker]\nurl = "rediss://host"\nca_file = "ca.pem"\n',
        "broker.ca_file",
        "there is no such file",
        "certificates",
    ),
    "broker on another host in the clear": (
        '[broker]\nurl = "redis://redis.example.org/0"\n',
        "broker.url",
        "would send messages and the password to redis.example.org in the clear",
        "Use rediss://, or set broker.plain",
    ),
    "client key of a broker without its certificate": (
        '[broker]\nurl = "rediss://host"\nkey_file = "key.pem"\n',
        "broker.key_file",
        "has no effect without a certificate",
        "Give both",
    ),
    "database on another host that is not checked": (
        '[state]\nurl = "postgresql://u@db.example.org/x?sslmode=require"\n',
        "state.url",
        "sslmode=require would not check that it is db.example.org that answers",
        "set state.plain",
    ),
    "certificates of a database that is a file": (
        '[state]\nca_file = "strongroom.toml"\n',
        "state.ca_file",
        "has no effect without TLS",
        "postgresql://",
    ),
    "database of another kind": (
        '[state]\nurl = "mysql://host/x"\n',
        "state.url",
        "not an address of the right kind",
        "postgresql://USER@HOST/NAME",
    ),
    "database that is nowhere": (
        '[state]\nurl = "postgresql://u@/x"\n',
        "state.url",
        "not an address of the right kind",
        "postgresql://USER@HOST/NAME",
    ),
    "database by its socket, with its password": (
        '[state]\nurl = "postgresql://u@/x?host=/run/postgresql&password=CANARY-p"\n',
        "state.url",
        "holds a password",
        "name that in state.password_file",
    ),
    "database with its password": (
        '[state]\nurl = "postgresql://u:CANARY-p@host/x"\n',
        "state.url",
        "holds a password",
        "name that in state.password_file",
    ),
    "database with its password further back": (
        '[state]\nurl = "postgresql://host/x?user=u&password=CANARY-p"\n',
        "state.url",
        "holds a password",
        "name that in state.password_file",
    ),
    "database file that depends on where one stands": (
        '[state]\nurl = "sqlite:///state.db"\n',
        "state.url",
        "no file by an absolute path",
        "sqlite:////ABSOLUTE/FILE",
    ),
    "DSN that is none": ('[sentry]\ndsn = "sentry"\n', "sentry.dsn", "not an address", "https://KEY@HOST"),
    "DSN with a secret key": (
        '[sentry]\ndsn = "https://key:CANARY-s@host/1"\n',
        "sentry.dsn",
        "holds a password",
        "Leave it out.",
    ),
    "login without its files": (
        '[vaults.v]\naddress = "https://v:8200"\nlogin = "approle"\nrole_id = "r"\n',
        "vaults.v.secret_id_file",
        "missing, and login is 'approle'",
        "Give secret_id_file.",
    ),
    "key of another login": (
        '[vaults.v]\naddress = "https://v:8200"\ntoken_file = "t"\nrole = "r"\n',
        "vaults.v.role",
        "has no effect, for login is 'token'",
        "Leave it out",
    ),
    "server with a password": (
        '[vaults.v]\naddress = "https://u:CANARY-p@v:8200"\ntoken_file = "t"\n',
        "vaults.v.address",
        "not of the right form",
        "https://vault.example.org:8200",
    ),
    "source in an unknown server": (
        VAULT + '[sources.s]\nkind = "vault"\nvault = "mian"\n',
        "sources.s.vault",
        "there is no vault 'mian'",
        "Did you mean 'main'?",
    ),
    "KMS key that is not asked for": (
        '[targets.a]\nkind = "s3"\nbucket = "b"\nregion = "r"\nkms_key = "k"\n',
        "targets.a.kms_key",
        "has no effect without it",
        "or neither",
    ),
    "all-of with an unknown key": (
        '[keys.k]\nkind = "all-of"\nlegs = [["a"], ["b"]]\n[keys.a]\nkind = "passphrase"\n',
        "keys.k.legs[1][0]",
        "there is no key 'b'",
        "",
    ),
    "scheduled policy that a lost key would end": (
        policy(FULL + 'schedule = "0 3 * * 0"'),
        "policies.p.recipients",
        "permanently: that of keys.recovery",
        "single_recipient_reason",
    ),
    "scheduled policy with a leg that has no spare": (
        KEY
        + '[keys.q]\nkind = "quorum"\nfile = "q"\n'
        + '[keys.both]\nkind = "all-of"\nlegs = [["recovery"], ["q"]]\n'
        + policy(FULL.replace("recovery", "both") + 'schedule = "0 3 * * 0"').removeprefix(KEY),
        "policies.p.recipients",
        "permanently: that of keys.recovery",
        "Name a second key",
    ),
    "scheduled policy whose second way in needs the first key too": (
        KEY
        + '[keys.q]\nkind = "quorum"\nfile = "q"\n'
        + '[keys.both]\nkind = "all-of"\nlegs = [["recovery"], ["q"]]\n'
        + policy(FULL.replace('"recovery"', '"recovery", "both"') + 'schedule = "0 3 * * 0"').removeprefix(
            KEY
        ),
        "policies.p.recipients",
        "permanently: that of keys.recovery",
        "Name a second key",
    ),
    "scheduled policy with one key under two names": (
        '[keys.other]\nkind = "passphrase"\n'
        + policy(FULL.replace('"recovery"', '"recovery", "other"') + 'schedule = "0 3 * * 0"'),
        "policies.p.recipients",
        "permanently: that of keys.other and keys.recovery",
        "Name a second key",
    ),
    "scheduled policy with two keys in one token": (
        "".join(
            f'[keys.h{n}]\nkind = "pkcs11"\nlabel = "b"\nversion = {n}\nmodule = "/m.so"\ntoken = "t"\n'
            for n in (1, 2)
        )
        + policy(FULL.replace('"recovery"', '"h1", "h2"') + 'schedule = "0 3 * * 0"').removeprefix(KEY),
        "policies.p.recipients",
        "permanently: that of keys.h1 and keys.h2",
        "Name a second key",
    ),
    "login to a target that lies in the source": (
        '[sources.s]\nkind = "files"\npath = "live"\n[vaults.v]\naddress="https://v"\ntoken_file="live/t"\n',
        "vaults.v.token_file",
        "is inside source 's'",
        "Keep it outside",
    ),
    "all-of with one leg": ('[keys.k]\nkind = "all-of"\nlegs = [["a"]]\n', "keys.k.legs", "", ""),
    "policy that only its own Vault could open": (
        VAULT + SEALED_IN_VAULT + 'source = "s"\ntargets = ["a"]\nrecipients = ["k"]\nquorum = 1\n',
        "policies.p.recipients",
        "only the Vault that is backed up could open the backup",
        "Add a recipient that does not need this Vault.",
    ),
    "policy that its own Vault has to help to open": (
        VAULT
        + '[keys.both]\nkind = "all-of"\nlegs = [["k"], ["f"]]\n'
        + SEALED_IN_VAULT
        + 'source = "s"\ntargets = ["a"]\nrecipients = ["k", "both"]\nquorum = 1\n',
        "policies.p.recipients",
        "only the Vault that is backed up could open the backup",
        "Add a recipient that does not need this Vault.",
    ),
    "quorum of one that the Vault itself would have to fill": (
        VAULT + SEALED_IN_VAULT + 'source = "s"\ntargets = ["w"]\nrecipients = ["f"]\nquorum = 1\n',
        "policies.p.quorum",
        "asks for 1 target, and those in the Vault it backs up do not count",
        "Add targets elsewhere.",
    ),
    "quorum that the Vault itself would have to fill": (
        VAULT + SEALED_IN_VAULT + 'source = "s"\ntargets = ["a", "w"]\nrecipients = ["f"]\nquorum = 2\n',
        "policies.p.quorum",
        "asks for 2 targets, and those in the Vault it backs up do not count",
        "At most 1",
    ),
    "snapshot of a namespace": (
        VAULT + 'namespace = "team"\n[sources.s]\nkind = "raft"\nvault = "main"\n',
        "sources.s.vault",
        "a snapshot is of the whole server",
        "without 'namespace'",
    ),
    "snapshot compared with what is live": (
        SNAPSHOTS + FULL + 'verify = "live"\n',
        "policies.p.verify",
        "a moment that is over",
        'At most verify = "compared"',
    ),
    "snapshot without values": (
        SNAPSHOTS + META,
        "policies.p.kind",
        "bring no server back",
        'kind = "full"',
    ),
    **{
        f"part of a snapshot by {key}": (
            SNAPSHOTS + FULL + f"{key} = {value}\n",
            f"policies.p.{key}",
            "brings nothing back",
            "Leave it out",
        )
        for key, value in (("include", '["a"]'), ("exclude", '["a"]'), ("tags", '{a = "b"}'))
    },
    "snapshot into the server that it is of": (
        SNAPSHOTS
        + 'kind = "full"\ntargets = ["a", "w"]\nrecipients = ["recovery"]\nquorum = 1\n'
        + directory("a", "a")
        + '[targets.w]\nkind = "vault"\nvault = "main"\nmount = "m"\nregion = "r"\n',
        "policies.p.targets[1]",
        "each snapshot would hold all those before it",
        "Name a target elsewhere",
    ),
    "fewer providers than asked for": (
        policy(META + "providers = 2"),
        "policies.p.providers",
        "asks for 2 providers and the policy's targets lie in directory",
        "At most 1",
    ),
    "stage too small": (
        '[limits]\nstage_bytes = "64MiB"\n',
        "limits.stage_bytes",
        "too small for 8 open containers",
        "At least 268,435,456",
    ),
}


@pytest.mark.parametrize(
    ("text", "key", "what", "right"), (BY_ITSELF | TOGETHER).values(), ids=BY_ITSELF | TOGETHER
)
def test_it_is_the_one_problem_found(place: Place, text: str, key: str, what: str, right: str) -> None:
    (found,) = place.problems(text)

    assert found.where == str(place.file)
    assert found.key == key
    assert what in found.what
    assert right in found.right
    assert "CANARY" not in str(found)


# -- the file itself ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [("a = 1\nb = \n", 2), ("x\n", 1), ('[a]\nb = "CANARY-open', None)],
    ids=["no value", "no equals sign", "open quote at the end"],
)
def test_a_syntax_error_is_given_with_its_line(place: Place, text: str, line: int | None) -> None:
    (found,) = place.problems(text)

    assert (found.where, found.line) == (str(place.file), line)
    assert found.what.startswith("not TOML: ")
    assert "CANARY" not in str(found)


def _store(name: str, kind: str, **settings: str) -> str:
    body = "".join(f'{key} = "{value}"\n' for key, value in settings.items())
    return f'[targets.{name}]\nkind = "{kind}"\nregion = "{name}"\n{body}'


BUCKET = {"kind": "s3", "bucket": "backups", "endpoint_url": "https://s3.test"}
CONTAINER = {"kind": "azure", "account_url": "https://acc.blob.test", "container": "backups"}
KV = {"kind": "vault", "vault": "main", "mount": "m"}


@pytest.mark.parametrize(
    ("one", "other", "store"),
    [
        (BUCKET, BUCKET | {"prefix": "b", "endpoint_url": "https://S3.test:443/"}, "bucket"),
        (
            {"kind": "s3", "bucket": "backups"},
            {"kind": "s3", "bucket": "backups", "endpoint_url": "https://s3.EU-west-1.amazonaws.com"},
            "bucket",
        ),
        (CONTAINER, CONTAINER | {"prefix": "b", "account_url": "https://acc.blob.test/"}, "container"),
        (KV, KV | {"mount": "n"}, "Vault server"),
    ],
    ids=["s3", "amazon", "azure", "vault"],
)
def test_two_targets_of_a_policy_in_one_store_would_be_one_copy_counted_twice(
    place: Place, one: dict[str, str], other: dict[str, str], store: str
) -> None:
    two = policy('kind = "metadata"\nquorum = 2\ntargets = ["a", "b"]\n')

    (found,) = place.problems(VAULT + _store("a", **one) + _store("b", **other) + two)

    assert found.key.startswith("policies.p.targets")
    assert f"'b' and 'a' lie in one {store}" in found.what


def test_two_buckets_of_one_server_are_two_stores(place: Place) -> None:
    two = policy('kind = "metadata"\nquorum = 2\ntargets = ["a", "b"]\n')
    assert place.problems(_store("a", **BUCKET) + _store("b", **BUCKET | {"bucket": "others"}) + two) == []


@pytest.mark.parametrize("port", ["99999", "port"])
@pytest.mark.parametrize(
    ("store", "address"), [(BUCKET, "endpoint_url"), (CONTAINER, "account_url")], ids=["s3", "azure"]
)
def test_a_store_on_a_port_that_is_none_is_refused(
    place: Place, store: dict[str, str], address: str, port: str
) -> None:
    one = policy('kind = "metadata"\nquorum = 1\nregions = 1\ntargets = ["a"]\n')

    (found,) = place.problems(_store("a", **store | {address: f"https://h:{port}"}) + one)

    assert (found.key, found.what) == (f"targets.a.{address}", "not of the right form")


@pytest.mark.parametrize("depth", [300, 30_000])
def test_a_file_nested_beyond_reason_is_refused(place: Place, depth: int) -> None:
    (found,) = place.problems(f"x = {'[' * depth}{']' * depth}")

    assert found.where == str(place.file)
    assert found.what == "nested too deeply"


@pytest.mark.parametrize("text", ["{} = 1", "[{}]"], ids=["keys", "tables"])
def test_names_nested_beyond_reason_are_refused(place: Place, text: str) -> None:
    (found,) = place.problems(text.format(".".join("a" * 3000)))

    assert found.what == "nested too deeply"


def test_a_number_that_cannot_even_be_read_is_refused(place: Place) -> None:
    (found,) = place.problems(f"[workers]\nseal = {'9' * 5000}\n")

    assert found.where == str(place.file)
    assert found.what == "holds a number beyond all measure"


def test_a_file_that_is_missing_is_named(place: Place) -> None:
    (found,) = problems_from(lambda: load_settings({"STRONGROOM_CONFIG": str(place.path / "absent.toml")}))

    assert found.where.endswith("absent.toml")
    assert "No such file" in found.what


def test_a_file_in_another_encoding_is_refused(place: Place) -> None:
    place.file.write_bytes("# Schlüssel".encode("latin-1"))

    (found,) = problems_from(lambda: load_settings(place.env, place.file))

    assert found.what == "not a text in UTF-8"


# -- files with secrets ------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660], ids=oct)
@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[keys.k]\nkind = "passphrase"\nfile = "secret"\n', "keys.k.file"),
        ('[keys.k]\nkind = "keyfile"\nfile = "secret"\n', "keys.k.file"),
        (
            '[keys.k]\nkind = "hpke"\npublic_key = "srpub1:x:A"\nidentity_file = "secret"\n',
            "keys.k.identity_file",
        ),
        ('[broker]\npassword_file = "secret"\n', "broker.password_file"),
        ('[state]\npassword_file = "secret"\n', "state.password_file"),
        ('[flower]\npassword_file = "secret"\n', "flower.password_file"),
        ('[metrics]\ntoken_file = "secret"\n', "metrics.token_file"),
        ('[page]\npassword_file = "secret"\n', "page.password_file"),
    ],
)
def test_a_secret_that_others_may_use_is_refused(place: Place, text: str, key: str, mode: int) -> None:
    secret = place.path / "secret"
    secret.touch()
    secret.chmod(mode)

    (found,) = place.problems(text)
    secret.chmod(0o600)

    assert found.key == key
    assert "others than its owner" in found.what
    assert found.right == f"Run: chmod 600 '{secret}'"
    assert place.problems(text) == []


SERVED = ("flower", "metrics", "page")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[listen]\nhost = "10.0.0.7"', "listen.host"),
        ('[listen]\nhost = "10.0.0.7"\nplain = true', None),
        ('[listen]\nhost = "::1"', None),
        ('[listen]\ncertificate_file = "gone.pem"', "listen.certificate_file"),
        ('[listen]\nkey_file = "key.pem"', "listen.key_file"),
        *((f'[{section}]\nhost = "10.0.0.7"', f"{section}.host") for section in SERVED),
        *((f'[{section}]\nhost = "10.0.0.7"\n[listen]\nplain = true', None) for section in SERVED),
        *((f'[{section}]\nhost = "::1"', None) for section in SERVED),
    ],
)
def test_nothing_is_served_where_others_could_read_the_token_or_the_password(
    place: Place, text: str, key: str | None
) -> None:
    (place.path / "key.pem").touch(mode=0o600)
    found = [one.key for one in place.problems(f"{text}\n")]
    assert found == ([key] if key else [])


def test_a_directory_is_no_secret(place: Place) -> None:
    (found,) = place.problems(f'[keys.k]\nkind = "keyfile"\nfile = "{place.path}"\n')

    assert found.what == "not a regular file"


def test_a_secret_that_is_missing_here_is_no_problem(place: Place) -> None:
    assert place.problems('[keys.k]\nkind = "keyfile"\nfile = "on-another-host"\n') == []


def test_a_link_hides_no_key_among_the_backups(place: Place) -> None:
    (place.path / "backups").mkdir()
    (place.path / "keys").symlink_to("backups")

    (found,) = place.problems('[keys.k]\nkind = "keyfile"\nfile = "keys/k"\n' + directory("a", "backups"))

    assert found.key == "keys.k.file"
    assert "lies inside target 'a'" in found.what


def test_a_short_retention_with_its_reason_is_accepted(place: Place) -> None:
    text = policy(FULL + 'minimum_retention_days = 90\nshort_retention_reason = "contract"')

    assert place.problems(text) == []


# -- all at once -------------------------------------------------------------------


def test_every_problem_is_found_at_once(place: Place) -> None:
    text = """
        stat_dir = "/x"
        [broker]
        url = "amqp://host"
        [targets.a]
        kind = "directory"
        path = "x"
        region = "r"
        create = "yes"
        [targets.b]
        kind = "directory"
        path = "x"
        [keys.k]
        kind = "keyfile"
        file = "x/key"
        [policies.p]
        kind = "full"
        colour = "blue"
        targets = ["a", "b", "c", 7]
        recipients = ["q"]
        schedule = "61 * * * *"
        minimum_retention_days = 30
        [drill]
        policy = "none"
    """

    assert {problem.key for problem in place.problems(text)} == {
        "stat_dir",
        "broker.url",
        "targets.a.create",
        "targets.b.region",
        "keys.k.file",
        "policies.p.colour",
        "policies.p.targets[3]",
        "policies.p.recipients[0]",
        "policies.p.schedule",
        "policies.p.minimum_retention_days",
        "drill.policy",
    }


def test_problems_stand_in_the_order_of_the_settings_each_tables_unknown_keys_last(place: Place) -> None:
    text = """
        brokr = 1
        [flower]
        colour = 1
        port = true
        host = ""
        [policies.p]
        fil = 1
        verify = "deep"
        quorum = 1.5
        targets = ["a b", "region-a", 7]
        [policies."a b"]
        tags = { x = 1, y = 2 }
        kind = "metadata"
        [keys.k]
        passphrase = "CANARY-p"
        kind = "kms"
        region = 1
        [keys.l]
        kind = "kms"
        key_id = ""
        region = "r"
        [broker]
        password_file = 7
        url = 7
    """

    found = [(problem.key, problem.what) for problem in place.problems(text)]

    assert found == [
        ("broker.url", "wrong type"),
        ("broker.password_file", "wrong type"),
        ("keys.k.key_id", "missing"),
        ("keys.k.region", "wrong type"),
        ("keys.k.passphrase", "unknown key"),
        ("keys.l.key_id", "empty"),
        ("policies.p.kind", "missing"),
        ("policies.p.targets[0]", "not of the right form"),
        ("policies.p.targets[2]", "wrong type"),
        ("policies.p.quorum", "wrong type"),
        ("policies.p.verify", "none of the known words"),
        ("policies.p.fil", "unknown key"),
        ('policies."a b"', "not a name"),
        ('policies."a b".targets', "missing"),
        ('policies."a b".tags.x', "wrong type"),
        ('policies."a b".tags.y', "wrong type"),
        ("flower.host", "empty"),
        ("flower.port", "wrong type"),
        ("flower.colour", "unknown key"),
        ("brokr", "unknown key"),
    ]


def test_a_broken_address_of_the_broker_hides_nothing(place: Place) -> None:
    found = place.problems('[broker]\nurl = "rediss://[::1"\nca_file = "absent.pem"\n')

    assert [(problem.key, problem.what) for problem in found] == [
        ("broker.url", "not an address"),
        ("broker.ca_file", "there is no such file"),
    ]


@pytest.mark.parametrize("url", [" rediss://u@h:6380/0", "rediss://u@h:6380/0\\n", "rediss://u@h\\t:6380/0"])
def test_a_space_in_the_brokers_address_is_not_taken_for_want_of_tls(place: Place, url: str) -> None:
    (place.path / "ca.pem").touch()

    (found,) = place.problems(f'[broker]\nurl = "{url}"\nca_file = "ca.pem"\n')

    assert found.key == "broker.url"
    assert "holds a space" in found.what


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[keys.k]\nkind = "hpke"\npublic_key_file = "{}"\n', "keys.k.public_key_file"),
        ('[broker]\nurl = "rediss://h"\nca_file = "{}"\n', "broker.ca_file"),
        ('[keys.k]\nkind = "keyfile"\nfile = "{}"\n', "keys.k.file"),
        ('[state]\npassword_file = "{}"\n', "state.password_file"),
    ],
)
def test_a_name_that_no_file_can_have_hides_nothing(place: Place, text: str, key: str) -> None:
    found = place.problems(text.format("n" * 300) + "[workers]\nseal = 0\n")

    assert {problem.key: problem.what for problem in found} == {
        key: "cannot be read: File name too long",
        "workers.seal": "too small",
    }


def test_links_that_lead_in_a_circle_hide_nothing(place: Place) -> None:
    (place.path / "circle").symlink_to("circle")

    source = '[sources.s]\nkind = "files"\nformat = "tree"\npath = "circle"\n'
    found = place.problems(source + "[workers]\nseal = 0\n")

    assert [problem.key for problem in found] == ["workers.seal"]


def test_what_a_login_has_no_use_for_is_told_in_one_order(place: Place) -> None:
    unused = "".join(f'{key} = "x"\n' for key in ("jwt_file", "role", "secret_id_file", "role_id"))

    found = place.problems(VAULT + unused)

    assert [problem.key.removeprefix("vaults.main.") for problem in found] == [
        "role_id",
        "secret_id_file",
        "role",
        "jwt_file",
    ]


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("", "policies.p.schedule"),
        ("[calendar]\n", "calendar.repair"),
        ("[calendar]\n", "calendar.full-drill"),
    ],
)
def test_a_schedule_with_a_number_beyond_all_measure_is_refused(place: Place, table: str, key: str) -> None:
    found = place.problems(policy(META) + f'{table}{key.rpartition(".")[2]} = "{HUGE} 3 * * 0"\n')

    assert (key, "bad number") in [(problem.key, problem.what) for problem in found]


def test_a_wrong_state_directory_hides_nothing_else(place: Place) -> None:
    found = place.problems("state_dir = 7\n" + policy(META + "quorum = 4"))

    assert [problem.key for problem in found] == ["state_dir", "policies.p.quorum"]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (policy(FULL.replace('["recovery"]', '"recovery"')), ["policies.p.recipients"]),
        (policy(FULL.replace('"region-c"', "7") + "quorum = 3"), ["policies.p.targets[2]"]),
        ("targets = 7\n" + policy('kind = "metadata"\ntargets = ["x", "y"]'), ["targets"]),
        (policy(META + 'quorum = "2"'), ["policies.p.quorum"]),
        (KEY + "iterations = 1\n[policies.p]\n" + FULL, ["keys.recovery.iterations"]),
        ('[keys.recovery]\nkind = "x"\n[policies.p]\n' + FULL, ["keys.recovery.kind"]),
        ('[keys.k]\nkind = "hpke"\npublic_key = 7\n', ["keys.k.public_key"]),
        (policy(META + 'schedule = "daily"', name='"a b"'), ['policies."a b"']),
    ],
)
def test_what_only_follows_from_another_problem_is_not_reported(
    place: Place, text: str, keys: list[str]
) -> None:
    assert [problem.key for problem in place.problems(text)] == keys


def test_several_wrong_places_of_one_list_are_all_found(place: Place) -> None:
    body = f'kind = "metadata"\ntargets = ["region-a", {", ".join(["7"] * 11)}]'

    keys = [problem.key for problem in place.problems(policy(body))]

    assert keys == [f"policies.p.targets[{index}]" for index in range(1, 12)]


def test_what_is_right_in_a_wrong_list_keeps_its_policy_in_sight(place: Place) -> None:
    body = 'kind = "metadata"\ntargets = [7, 7, "region-a"]\nschedule = "daily"'

    keys = [problem.key for problem in place.problems(policy(body))]

    assert keys == ["policies.p.targets[0]", "policies.p.targets[1]", "policies.p.schedule"]


def test_the_error_lists_the_problems_and_is_a_configuration_error(place: Place) -> None:
    with pytest.raises(ConfigProblems) as caught:
        place.load('[broker]\nulr = "x"\n[flower]\nport = 0\n')

    assert isinstance(caught.value, ConfigError)
    assert caught.value.exit_code == 3
    assert caught.value.message.splitlines() == [
        "The configuration has 2 problems:",
        f"  {place.file}:2: broker.ulr: unknown key. Did you mean 'url'?",
        f"  {place.file}:4: flower.port: too small. At least 1.",
    ]


def test_no_value_of_a_setting_is_repeated(place: Place) -> None:
    text = """
        state_dir = ["CANARY-1"]
        [keys.k]
        kind = "CANARY-2"
        file = "CANARY-3"
        [policies.p]
        kind = "full"
        targets = "CANARY-4"
        verify = "CANARY-5"
        schedule = "CANARY-6"
        [limits]
        stage_bytes = "CANARY-7"
        [trust]
        signers = ["CANARY-8"]
        [sentry]
        dsn = "https://CANARY-9:CANARY-10@[host/1"
    """
    with pytest.raises(ConfigProblems) as caught:
        place.load(text)

    assert len(caught.value.problems) >= 7
    assert "CANARY" not in str(caught.value)


def test_a_file_that_anyone_may_write_names_no_program(place: Place) -> None:
    text = policy(META + 'hooks.before = { command = ["/bin/true"] }\n')
    place.load(text)

    place.file.chmod(0o666)
    [problem] = place.problems(text)
    assert problem.key == "policies.p.hooks.before.command"
    assert "chmod o-w" in problem.right


def test_nothing_is_written_while_looking(place: Place) -> None:
    place.load('state_dir = "state"\n' + directory("a", "x"))

    assert sorted(os.listdir(place.path)) == ["strongroom.toml"]  # noqa: PTH208


def test_a_problem_reads_as_where_key_what_right() -> None:
    problem = ConfigProblem(where="f.toml", key="a.b", what="wrong", right="Do this.")

    assert str(problem) == "f.toml: a.b: wrong. Do this."
    assert str(replace(problem, line=7)) == "f.toml:7: a.b: wrong. Do this."


@pytest.mark.parametrize(
    "more",
    [
        FULL.replace('["recovery"]', '["recovery", "q"]'),
        FULL.replace("recovery", "q"),
        FULL.replace("recovery", "both"),
        FULL + 'single_recipient_reason = "its spare lies in a safe"\n',
    ],
    ids=["two keys", "a quorum", "all-of with a spare on each leg", "a reason"],
)
def test_a_scheduled_policy_whose_keys_have_a_spare_is_right(place: Place, more: str) -> None:
    keys = (
        '[keys.q]\nkind = "quorum"\nfile = "q"\n'
        '[keys.other]\nkind = "passphrase"\nfile = "words"\n'
        '[keys.both]\nkind = "all-of"\nlegs = [["recovery", "other"], ["q"]]\n'
    )
    place.load(keys + policy(more + 'schedule = "0 3 * * 0"\n'))


@pytest.mark.parametrize(("threshold", "right"), [(2, True), (3, False)])
def test_a_quorum_that_needs_every_custodian_has_no_spare(place: Place, threshold: int, right: bool) -> None:
    custodians = [{"name": name, "share": ""} for name in ("Ada", "Chi", "Dana")]
    (place.path / "q").write_text(json.dumps({"threshold": threshold, "custodians": custodians}))
    text = '[keys.q]\nkind = "quorum"\nfile = "q"\n' + policy(FULL.replace("recovery", "q"))

    found = [problem.key for problem in place.problems(text + 'schedule = "0 3 * * 0"\n')]

    assert found == ([] if right else ["policies.p.recipients"])
