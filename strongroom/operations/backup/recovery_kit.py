"""The recovery kit and the escrow: what to print, and what a machine needs to be rebuilt."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path
from shlex import quote

from msgspec import Struct

from strongroom.errors import ConfigError
from strongroom.model import Media, Secret, SecretBytes, SecretVersion
from strongroom.sources.errors import EmptySource
from strongroom.sources.memory import MemoryStore
from strongroom.system.errors import WouldOverwrite
from strongroom.system.files import write_whole

# -- The recovery kit: a page to print, with everything that recovery needs and no secret on it ---
#
# And what to type, which is said on paper and beside an emergency backup alike.


LONG = 32
"""Characters of the longest word that is never broken."""


class KitSection(Struct, frozen=True, kw_only=True):
    """A part of the kit: what it says in words, a table, commands to type, lines to fill in by hand."""

    title: str
    words: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    commands: tuple[str, ...] = ()
    blanks: tuple[str, ...] = ()


class Kit(Struct, frozen=True, kw_only=True):
    """A recovery kit. ``made_at`` is RFC 3339."""

    title: str
    made_at: str
    sections: tuple[KitSection, ...]


class KitKey(Struct, frozen=True, kw_only=True):
    """A key that opens, as far as what is typed depends on it. ``kind`` is that of the configuration.

    ``transit`` is ``MOUNT/KEY``; ``environment`` is what the service's own command line needs to reach it.
    """

    name: str
    kind: str
    module: str = ""
    token: str = ""
    transit: str = ""
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def variable(self) -> str:
        """What a shell calls the path that only people know."""
        return f"KEY_{re.sub(r'[^A-Za-z0-9]', '_', self.name).upper()}"

    @property
    def answers(self) -> str:
        """Where a service's answers lie, as a shell reads it: not on the medium, which may be read-only."""
        return f"~/answers-{re.sub(r'[^A-Za-z0-9]', '-', self.name)}"


Way = tuple[KitKey, ...]
"""Keys that open together."""

CONFIGURED = frozenset({"pkcs11", "kms", "transit"})
"""Kinds that a restore knows by a strongroom.toml alone."""

SERVICES = frozenset({"kms", "transit"})
"""Kinds whose key service has to be asked with its own command line where there is no Strongroom."""


def configured(name: str, kind: str, tables: Mapping[str, Mapping[str, Mapping[str, str]]]) -> KitKey:
    """Return a key as the strongroom.toml of a kit has it, which need not name it."""
    table = tables.get("keys", {}).get(name, {})
    if table.get("kind") != kind:
        return KitKey(name=name, kind=kind)
    server = tables.get("vaults", {}).get(table.get("vault", ""), {})
    return KitKey(
        name=name,
        kind=kind,
        module=table.get("module", ""),
        token=table.get("token", ""),
        transit=f"{table['mount']}/{table['key']}" if kind == "transit" else "",
        environment=tuple(
            (variable, value)
            for variable, field in _ENVIRONMENT.items()
            if (value := (server if kind == "transit" else table).get(field))
        ),
    )


_ENVIRONMENT = {
    "VAULT_ADDR": "address",
    "VAULT_NAMESPACE": "namespace",
    "VAULT_CACERT": "ca_file",
    "AWS_ENDPOINT_URL_KMS": "endpoint_url",
}

_FILES = {
    "hpke": "the private key",
    "keyfile": "the key file",
    "passphrase": "a file with the passphrase (without that option it is asked for)",
    "quorum": "the public file of the quorum, no share",
}
_ASKS = {
    "pkcs11": "the HSM's PIN",
    "quorum": "the custodians' words, one paper after the other",
}


def paths(ways: Iterable[Way], *, quorums: str | None = None) -> Iterator[str]:
    """Yield the lines that say where the keys lie; people put in what is right.

    Args:
        quorums: the folder where the quorums' public files lie, if they come along.
    """
    for key in dict.fromkeys(key for way in ways for key in way):
        if key.kind in _FILES and (quorums is None or key.kind != "quorum"):
            yield f"{key.variable}={quote(f'/path/to/{key.name}')}   # correct the path: {_FILES[key.kind]}"


def restore(where: str, way: Way, signers: Iterable[str], *, quorums: str | None = None) -> Iterator[str]:
    """Yield the command that brings everything back; ``where`` names the backup."""
    yield f"strongroom restore {where} --full-restore \\"
    yield from (f"    {option} \\" for option in options(way, quorums=quorums))
    yield from (f"    --signer {signer} \\" for signer in signers)
    yield "    --verify-after-restore"
    if where.startswith("--from-target"):
        yield "# step by step instead, on record: strongroom recover, with the same target, keys and signer"


def options(way: Way, *, quorums: str | None = None) -> Iterator[str]:
    """Yield what a restore is told to open with; ``quorums`` as for :func:`paths`."""
    for key in way:
        if key.kind == "quorum" and quorums is not None:
            yield f"--quorum {quorums}/{key.name}.quorum"
        elif option := _RESTORE.get(key.kind):
            yield f'{option} "${key.variable}"'


_RESTORE = {
    "hpke": "--identity",
    "keyfile": "--identity",
    "passphrase": "--passphrase-file",
    "quorum": "--quorum",
}


def recover(program: str, files: str, way: Way, signers: Iterable[str]) -> str:
    """Return the command that lists the backup without Strongroom."""
    return " ".join(
        [
            f"python3 {program} {files}",
            *recovering(way),
            *(f"--signer {signer}" for signer in signers),
            "--list",
        ]
    )


def asking(program: str, files: str, way: Way, signers: Iterable[str]) -> Iterator[str]:
    """Yield the commands that have services answer what :func:`recover` needs of them."""
    signed = [f"--signer {signer}" for signer in signers]
    for key in way:
        if key.kind in SERVICES:
            named = f"--transit {quote(key.transit or 'MOUNT/KEY')}" if key.kind == "transit" else ""
            words = [f"python3 {program} {files}", *signed, named, f"--ask {quote(key.name)}"]
            ask = key.answers.replace("answers", "ask")
            reached = "".join(f"{name}={quote(value)} " for name, value in key.environment)
            yield f"# what {_LOGIN[key.kind]} has to decrypt; anyone with these answers can open this backup:"
            yield f"umask 077; {' '.join(filter(None, words))} > {ask}.sh"
            yield f"{reached}sh -e {ask}.sh > {key.answers}"


_LOGIN = {"transit": "Vault (after 'vault login' or 'bao login')", "kms": "AWS KMS (logged in to AWS)"}


def recovering(way: Way) -> Iterator[str]:
    """Yield what the recovery program is told to open with."""
    return filter(None, map(_recover, way))


def _recover(key: KitKey) -> str:
    options = {
        "hpke": f'--private-key "${key.variable}"',
        "keyfile": f'--key-file "${key.variable}"',
        "passphrase": f'--passphrase-file "${key.variable}"',
        "quorum": "--shares",
        "pkcs11": f"--hsm {quote(key.module or 'MODULE')} --token {quote(key.token or 'LABEL')}",
    }
    return options.get(key.kind, f"--answers {key.answers}" if key.kind in SERVICES else "")


def asks(ways: Iterable[Way]) -> str:
    """Say in words what the commands ask for; nothing if they ask for nothing."""
    kinds = dict.fromkeys(key.kind for way in ways for key in way)
    return " and ".join(_ASKS[kind] for kind in kinds if kind in _ASKS)


def named(way: Way) -> str:
    """Return the names of the keys of a way."""
    return " and ".join(f"'{key.name}'" for key in way)


def render(kit: Kit) -> str:
    """Return one HTML page that loads nothing from elsewhere and prints on A4 and Letter."""
    body = "\n".join(line for section in kit.sections for line in _section(section))
    return _PAGE.format(title=escape(kit.title), made_at=escape(kit.made_at), style=_STYLE, body=body)


def _section(section: KitSection) -> Iterator[str]:
    yield f"<section><h2>{escape(section.title)}</h2>"
    yield from (f"<p>{escape(words)}</p>" for words in section.words)
    if section.rows:
        yield f"<table><thead>{_row(section.head, 'th')}</thead><tbody>"
        yield from (_row(row, "td") for row in section.rows)
        yield "</tbody></table>"
    if section.commands:
        yield f"<pre>{escape(chr(10).join(section.commands))}</pre>"
    yield from (f"<p class=blank><span>{escape(label)}</span></p>" for label in section.blanks)
    yield "</section>"


def _row(cells: Iterable[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}{_class(cell)}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _class(cell: str) -> str:
    """Mark a cell with a word that no column is wide enough for: digests, addresses."""
    return " class=long" if any(len(word) > LONG for word in cell.split()) else ""


_STYLE = """
@page { margin: 18mm; }
body { font: 10.5pt/1.4 Georgia, serif; color: #000; background: #fff; max-width: 46rem; margin: auto; }
h1 { font-size: 17pt; margin: 0; } h2 { font-size: 12.5pt; margin: 1.2em 0 .3em; border-bottom: 1px solid; }
section { break-inside: avoid; } p { margin: .3em 0; }
table { border-collapse: collapse; width: 100%; font-size: 9.5pt; }
th, td { border: 1px solid #666; padding: .2em .4em; text-align: left; vertical-align: top; }
.long { font: 8.5pt/1.4 "DejaVu Sans Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
thead { display: table-header-group; } tr { break-inside: avoid; }
pre { font: 9pt/1.45 "DejaVu Sans Mono", Menlo, Consolas, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; border: 1px solid #666; padding: .5em; }
.blank { margin: .9em 0 0; border-bottom: 1px solid; } .blank span { font-size: 9pt; }
"""

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>{style}</style></head>
<body><h1>{title}</h1>
<p>Made {made_at}. There is no secret on this page. Keep it where it can be read when no computer runs,
and a copy with each medium.</p>
{body}
</body></html>
"""


# -- escrow: what a machine needs to be rebuilt, as secrets that are sealed like any others -----
#
# It holds the installation's own keys (the local store's master key, the digests' key, the roles' signing
# keys), the configuration, and who may approve. With it, the store's database is readable again from a
# copy, old backups can still be compared, and new ones are trusted as before.


SOURCE = "escrow"
CONFIGURATION = "strongroom.toml"
ALLOWED_SIGNERS = "allowed_signers"
_PATTERNS = (
    "keys/*.key",
    "keys/roles/*.key",
    "keys/roles/trusted.json",
    "keys/roles/trust/*.json",
    "keys/roles/host",
    "keys/roles/hosts/*.json",
)
_HINT = "Nothing was changed. Open the escrow into an empty state directory."


def gather(state_dir: Path, config_file: Path | None, *, allowed_signers: Path | None = None) -> MemoryStore:
    """Return everything that goes into an escrow, as a source.

    Raises:
        EmptySource: there is no key, so there is nothing to keep yet.
        ConfigError: a file cannot be read.
    """
    paths = {str(path.relative_to(state_dir)): path for path in _own_files(state_dir)}
    if not paths:
        raise EmptySource(
            f"There is no key under {state_dir} yet: nothing was stored or signed here.",
            hint="Nothing was written. Check STRONGROOM_STATE_DIR.",
        )
    if config_file is not None:
        paths[CONFIGURATION] = config_file
    if (
        allowed_signers is not None and allowed_signers.is_file()
    ):  # what has to be approved could not be, on the new machine
        paths[ALLOWED_SIGNERS] = allowed_signers
    return MemoryStore((_secret(name, path) for name, path in paths.items()), name=SOURCE)


def put_back(secrets: Iterable[Secret], state_dir: Path) -> list[Path]:
    """Write what an escrow holds under a state directory; return what was written.

    Raises:
        ConfigError: it holds a name that no escrow has.
        WouldOverwrite: something else is there under one of the names; nothing was written.
    """
    wanted = {_checked(secret.name): _value(secret) for secret in secrets}
    missing = list(_missing(wanted, state_dir))
    for path, content in missing:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, content)
    return [path for path, _ in missing]


def _own_files(state_dir: Path) -> Iterator[Path]:
    for pattern in _PATTERNS:
        yield from sorted(path for path in state_dir.glob(pattern) if path.is_file())


def _secret(name: str, path: Path) -> Secret:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"'{path}' cannot be read: {os.strerror(error.errno or 0)}.") from None
    version = SecretVersion(number=1, value=SecretBytes(content), media=Media.BINARY)
    return Secret(name=name, type="installation", versions=(version,))


def _checked(name: str) -> str:
    # A name becomes a path: only those that an escrow can hold.
    if name not in (CONFIGURATION, ALLOWED_SIGNERS) and not any(
        _fits(name, pattern) for pattern in _PATTERNS
    ):
        raise ConfigError(
            f"{name!r} is not part of an escrow.", hint="This is another kind of backup: use 'restore'."
        )
    return name


def _fits(name: str, pattern: str) -> bool:
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts and str(path) == name and path.match(pattern)


def _value(secret: Secret) -> bytes:
    value = secret.current.value
    return b"" if value is None else value.reveal()


def _missing(wanted: Mapping[str, bytes], state_dir: Path) -> Iterator[tuple[Path, bytes]]:
    for name, content in wanted.items():
        path = state_dir / name
        if not path.exists():
            yield path, content
        elif path.read_bytes() != content:
            raise WouldOverwrite(f"'{path}' exists and is another than the escrow's.", hint=_HINT)
