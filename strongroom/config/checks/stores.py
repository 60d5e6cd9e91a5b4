"""Where secrets and backups lie: servers, stores, paths, and who can read the files."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from strongroom.config.checks import Context
from strongroom.config.failure_domains import home_of, is_lost_with, outlive, server_of, unlock_paths_of
from strongroom.config.keys import AllOfKey, HpkeKey
from strongroom.config.kinds import Misfit
from strongroom.config.model import Settings
from strongroom.config.policies import PolicySettings
from strongroom.config.schema import KeyPath, SettingsSection
from strongroom.config.vaults import VaultSettings
from strongroom.system.process import is_loopback
from strongroom.words import plural

# -- Stores: two targets in one bucket, container or Vault are lost together, and count as one copy ---


def check_stores(context: Context) -> Iterator[Misfit]:
    """Yield policies that would count one store twice."""
    for name, policy in context.settings.policies.items():
        if not context.is_bad("policies", name, "targets"):
            yield from _each_its_own(context, name, policy)


def _each_its_own(context: Context, name: str, policy: PolicySettings) -> Iterator[Misfit]:
    first: dict[tuple[str, ...], str] = {}
    for index, target in enumerate(policy.targets):
        found = None if context.is_bad("targets", target) else context.settings.targets.get(target)
        store = found.store(context.settings.vaults) if found else None
        if store is None or first.setdefault(store, target) == target:
            continue
        yield Misfit(
            ("policies", name, "targets", index),
            f"'{target}' and '{first[store]}' lie in one {store[0]}: they are lost together",
            f"Name one of them, or give '{target}' another {store[0]}.",
        )


# -- Vault servers: how to log in, who names them, and what must not rest on one of them alone ---


_LOGIN_NEEDS = {
    "token": ("token_file",),
    "approle": ("role_id", "secret_id_file"),
    "kubernetes": ("role", "jwt_file"),
}


def check_servers(context: Context) -> Iterator[Misfit]:
    """Yield what does not fit about servers and what names them."""
    for name, vault in context.settings.vaults.items():
        yield from _login(context, name, vault)
    yield from _named(context)
    yield from _unfit(context)
    yield from _legs(context)
    for name, policy in context.settings.policies.items():
        yield from _shared_fate(context, name, policy)


def _login(context: Context, name: str, vault: VaultSettings) -> Iterator[Misfit]:
    wanted = _LOGIN_NEEDS[vault.login]
    for key in wanted:
        if getattr(vault, key) is None and not context.is_bad("vaults", name, key):
            yield Misfit(("vaults", name, key), f"missing, and login is {vault.login!r}", f"Give {key}.")
    for key in (key for keys in _LOGIN_NEEDS.values() for key in keys):
        if key not in wanted and getattr(vault, key) is not None:
            what = f"has no effect, for login is {vault.login!r}"
            yield Misfit(("vaults", name, key), what, "Leave it out, or change login.")


def _named(context: Context) -> Iterator[Misfit]:
    for section in ("sources", "targets", "keys", "rotators"):
        for name, entry in getattr(context.settings, section).items():
            if entry.on_vault is not None and not context.is_bad(section, name, "vault"):
                yield from context.reference((section, name, "vault"), entry.on_vault, "vaults")


def _unfit(context: Context) -> Iterator[Misfit]:
    """Yield what a kind says of its own keys."""
    for section in ("sources", "targets", "keys"):
        for name, entry in getattr(context.settings, section).items():
            for misfit in entry.unfit():
                yield misfit._replace(key=(section, name, *misfit.key))


def _legs(context: Context) -> Iterator[Misfit]:
    keys = context.settings.keys
    for name, key in keys.items():
        if not isinstance(key, AllOfKey) or context.is_bad("keys", name):
            continue
        for number, leg in enumerate(key.legs):
            at = ("keys", name, "legs", number)
            if not leg:
                yield Misfit(at, "an empty leg", "Name at least one key in it.")
            for index, other in enumerate(leg):
                yield from context.reference((*at, index), other, "keys")
                if isinstance(keys.get(other), AllOfKey):
                    yield Misfit((*at, index), f"'{other}' is itself all-of", "Name its keys here.")


SHUT_IN = (
    "only the Vault that is backed up could open the backup: if it is lost, so is the backup",
    "Add a recipient that does not need this Vault.",
)


def needs_its_source(settings: Settings, source: str, keys: Sequence[str]) -> bool:
    """Say whether a backup of a Vault would open for these keys only while that Vault is there."""
    found = settings.sources.get(source)
    ways = unlock_paths_of(settings, keys)
    if found is None or found.on_vault is None or not ways:
        return False
    return not outlive(ways, server_of(settings, found.on_vault))


def _shared_fate(context: Context, name: str, policy: PolicySettings) -> Iterator[Misfit]:
    """A Vault that is lost takes its transit keys and the backups in it along."""
    settings = context.settings
    home = home_of(settings, policy.source)
    if home is None or context.is_bad("policies", name):
        return
    if needs_its_source(settings, policy.source, policy.recipients):
        yield Misfit(("policies", name, "recipients"), *SHUT_IN)
    apart = [target for target in policy.targets if not is_lost_with(settings, target, home)]
    if len(apart) < policy.quorum and all(target in settings.targets for target in policy.targets):
        yield Misfit(
            ("policies", name, "quorum"),
            f"asks for {plural(policy.quorum, 'target')}, and those in the Vault it backs up do not count",
            f"At most {len(apart)}, or more targets elsewhere." if apart else "Add targets elsewhere.",
        )


# -- Secrets: only in files, and only for their owner's eyes ------------------------------------


def check_secrets(context: Context) -> Iterator[Misfit]:
    """Yield secrets in the open, and addresses that are none."""
    for key, path in secret_files(context.settings).items():
        yield from _private(key, path)
    yield from _public_keys(context)
    yield from _broker(context.settings)
    yield from _state(context.settings)
    yield from _sentry(context.settings)
    if not context.is_bad("listen"):
        yield from _listening(context)


def secret_files(settings: Settings) -> dict[KeyPath, Path]:
    """Return every file that holds a secret, by the setting that names it."""
    named: dict[KeyPath, Path | None] = {
        ("broker", "password_file"): settings.broker.password_file,
        ("state", "password_file"): settings.state.password_file,
        ("flower", "password_file"): settings.flower.password_file,
        ("listen", "key_file"): settings.listen.key_file,
        ("mail", "password_file"): settings.mail.password_file,
        ("metrics", "token_file"): settings.metrics.token_file,
        ("page", "password_file"): settings.page.password_file,
    }
    sections: dict[KeyPath, SettingsSection] = {**settings.calls}
    for table in ("channels", "keys", "vaults", "sources", "targets"):
        sections |= {(table, name): entry for name, entry in getattr(settings, table).items()}
    stores = {("access_logs", name, "store"): log.store for name, log in settings.access_logs.items()}
    sections |= {key: store for key, store in stores.items() if store}
    for key, section in sections.items():
        named |= {(*key, name): path for name, path in section.secret_files().items()}
    return {key: path for key, path in named.items() if path}


def _private(key: KeyPath, path: Path) -> Iterator[Misfit]:
    # A missing file is no problem here: a host that only seals holds no identity.
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # missing on every host
            yield Misfit(key, f"cannot be read: {error.strerror}", "Name the file that holds the secret.")
        return
    if not stat.S_ISREG(mode):
        yield Misfit(key, "not a regular file", "Name the file that holds the secret.")
    elif mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Misfit(key, "others than its owner may use this file", f"Run: chmod 600 '{path}'")


def _public_keys(context: Context) -> Iterator[Misfit]:
    for name, key in context.settings.keys.items():
        at = ("keys", name)
        if not isinstance(key, HpkeKey) or context.is_bad(*at):
            continue
        if (key.public_key is None) == (key.public_key_file is None):
            what = "missing" if key.public_key is None else "given twice, with public_key_file"
            yield Misfit((*at, "public_key"), what, "Give one of public_key and public_key_file.")
        elif key.public_key_file and (why := missing(key.public_key_file)):
            yield Misfit((*at, "public_key_file"), why, "Name the public key's file.")


def _broker(settings: Settings) -> Iterator[Misfit]:
    broker = settings.broker
    if broker.url is not None:
        yield from _address(
            ("broker", "url"), broker.url, ("redis", "rediss"), "Write it as rediss://USER@HOST:PORT/0."
        )
        if broker.ca_file and _is_plain(broker.url):
            yield Misfit(("broker", "ca_file"), "has no effect without TLS", "Use rediss:// in broker.url.")
    if broker.ca_file and (why := missing(broker.ca_file)):
        yield Misfit(("broker", "ca_file"), why, "Name the file of certificates (PEM).")


def missing(path: Path) -> str | None:
    """Say why a file that holds no secret cannot be used, if so."""
    try:
        return None if path.is_file() else "there is no such file"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _is_plain(url: str) -> bool:
    try:
        return urlsplit(url).scheme != "rediss"
    except ValueError:
        return False  # what it is to be is not known


def _state(settings: Settings) -> Iterator[Misfit]:
    url = settings.state.url
    if url is None:
        return
    right = "Write it as postgresql://USER@HOST/NAME or sqlite:////ABSOLUTE/FILE."
    schemes = ("sqlite", "postgresql", "postgresql+psycopg")
    yield from _address(("state", "url"), url, schemes, right)
    if url.startswith("sqlite:") and not url.startswith("sqlite:////"):
        yield Misfit(("state", "url"), "names no file by an absolute path", right)


def _sentry(settings: Settings) -> Iterator[Misfit]:
    dsn = settings.sentry.dsn
    if dsn is not None:
        right = "Write it as https://KEY@HOST/PROJECT."
        yield from _address(("sentry", "dsn"), dsn, ("https", "http"), right)


def _address(key: KeyPath, url: str, schemes: tuple[str, ...], right: str) -> Iterator[Misfit]:
    if url != url.strip() or not url.isprintable():  # what takes an address apart would leave it out
        yield Misfit(key, "holds a space or a control character that no address has", right)
        return
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        hidden = parts.password is not None or "password" in query
        # PostgreSQL is reached by a socket as ``postgresql://user@/name?host=/run/postgresql``.
        local = parts.scheme == "sqlite" or (parts.scheme.startswith("postgresql") and "host" in query)
        whole = bool(parts.hostname or local) and (parts.port or 1) > 0
    except ValueError:  # a port that is no number, a bracket left open
        yield Misfit(key, "not an address", right)
        return
    if hidden:
        holder = ".".join(map(str, (*key[:-1], "password_file")))
        instead = "Leave it out." if key[0] == "sentry" else f"Put it into a file and name that in {holder}."
        yield Misfit(key, "holds a password", instead)
    if parts.scheme not in schemes or not whole:
        yield Misfit(key, "not an address of the right kind", right)


_TLS = "Give listen.certificate_file, or set listen.plain on a network of your own."


def _listening(context: Context) -> Iterator[Misfit]:
    """Yield certificates that are none, and addresses at which others could read a login or a token."""
    shared = context.settings.listen
    if shared.certificate_file is not None:
        if why := missing(shared.certificate_file):
            yield Misfit(("listen", "certificate_file"), why, "Name the file of the certificate (PEM).")
        return
    if shared.key_file is not None:
        yield Misfit(("listen", "key_file"), "has no effect without a certificate", "Give both.")
    if shared.plain:
        return
    if not is_loopback(shared.host):
        yield Misfit(("listen", "host"), "would show passwords and the token to the network", _TLS)
    for section, shown in (("flower", "password"), ("metrics", "token"), ("page", "password")):
        host = getattr(context.settings, section).host
        if not context.is_bad(section) and host is not None and not is_loopback(host):
            yield Misfit((section, "host"), f"would show the {shown} to the network", _TLS)


# -- Paths: what must not lie inside what. Links are resolved first, so they hide nothing -------


def check_paths(context: Context) -> Iterator[Misfit]:
    """Yield paths that must not lie where they do."""
    targets = {
        name: real(target.folder)
        for name, target in context.settings.targets.items()
        if target.folder is not None
    }
    yield from _apart(targets)
    for key, path in secret_files(context.settings).items():
        yield from _not_in_target(key, path, targets, "a secret must never lie with the backups")
    for key, path, why in _working_places(context.settings):
        yield from _not_in_target(key, path, targets, why)
    yield from _not_backing_up_itself(context.settings, targets)


def _apart(targets: dict[str, Path]) -> Iterator[Misfit]:
    """Two targets on one directory would count one copy twice."""
    for name, path in targets.items():
        for other, place in targets.items():
            key = ("targets", name, "path")
            if path == place and list(targets).index(other) < list(targets).index(name):
                yield Misfit(key, f"the same directory as target '{other}'", "Give each its own.")
            elif place in path.parents:
                yield Misfit(key, f"lies inside target '{other}'", "Give each its own, side by side.")


def _working_places(settings: Settings) -> Iterator[tuple[KeyPath, Path, str]]:
    yield ("state_dir",), settings.state_dir, "the keys in it must never lie with the backups"
    if settings.stage.path:
        yield ("stage", "path"), settings.stage.path, "the stage is emptied, a target is not"
    if settings.approvals.allowed_signers:
        why = "an attacker who writes it says who may approve"
        yield ("approvals", "allowed_signers"), settings.approvals.allowed_signers, why
    for name, source in settings.sources.items():
        if source.folder:
            yield ("sources", name, "path"), source.folder, "live secrets must never lie with their backups"


def _not_in_target(key: KeyPath, path: Path, targets: dict[str, Path], why: str) -> Iterator[Misfit]:
    found = real(path)
    for name, place in targets.items():
        if place == found or place in found.parents:
            yield Misfit(key, f"lies inside target '{name}', and {why}", f"Keep it outside of {place}.")


def _not_backing_up_itself(settings: Settings, targets: dict[str, Path]) -> Iterator[Misfit]:
    for source_name, source in settings.sources.items():
        if not source.BY_FILE or source.folder is None:
            continue
        for name, path in targets.items():
            if real(source.folder) in path.parents:
                key = ("targets", name, "path")
                yield Misfit(key, f"is inside source '{source_name}'", "Keep it outside of what it backs up.")


def real(path: Path) -> Path:
    """Return where a path leads to in the end."""
    return Path(os.path.realpath(path))  # Path.resolve raises for links that lead in a circle
