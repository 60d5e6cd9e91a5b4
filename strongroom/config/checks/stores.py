"""Where secrets and backups lie: servers, stores, paths, and who can read the files."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from strongroom.config.checks import Context
from strongroom.config.failure_domains import home_of, is_lost_with, outlive, server_of, unlock_paths_of
from strongroom.config.keys import AllOfKey, HpkeKey
from strongroom.config.kinds import Misfit, TargetKind, Vaults, absent
from strongroom.config.model import BrokerSettings, Settings, StateSettings
from strongroom.config.policies import PolicySettings
from strongroom.config.schema import KeyPath, SettingsSection
from strongroom.config.served import PageProxySettings
from strongroom.config.vaults import VaultSettings
from strongroom.system.files import is_exposed
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


# -- Stages: emptied day by day, so nothing may lock what lies there, and no backup may lie among it ---


def check_stages(context: Context) -> Iterator[Misfit]:
    """Yield stages that lock what is put there, and those that are one place with a target or another
    stage."""
    settings = context.settings
    targets = [("target", name, found) for name, found in settings.targets.items()]
    for index, (name, stage) in enumerate(settings.stages.items()):
        if context.is_bad("stages", name):
            continue
        if stage.locking != "none":
            yield Misfit(
                ("stages", name, "lock"), "the objects on a stage are removed with their run", "Leave it out."
            )
        others = [("stage", other, found) for other, found in list(settings.stages.items())[:index]]
        for what, other, found in (*targets, *others):
            if (why := _overlap(stage, found, settings.vaults)) and not context.is_bad(f"{what}s", other):
                yield Misfit(
                    ("stages", name),
                    f"{why} {what} '{other}'",
                    "Give the stage a bucket, container, directory or at least a prefix of its own.",
                )


def _overlap(stage: TargetKind, other: TargetKind, vaults: Vaults) -> str:
    """Say how two places are not apart; nothing if they are. Folders of this machine are compared as such."""
    store = stage.store(vaults)
    if stage.folder is not None and other.folder is not None:
        path, beside = real(stage.folder).parts, real(other.folder).parts
    elif store is not None and store == other.store(vaults):
        path, beside = _below(stage), _below(other)
    else:
        return ""
    if path == beside:
        return "is the same place as"
    if path[: len(beside)] == beside:
        return "lies inside"
    return "holds" if beside[: len(path)] == path else ""


def _below(place: TargetKind) -> tuple[str, ...]:
    """Return where in its bucket, container or server a place begins."""
    return tuple(part for part in place.below().split("/") if part)


# -- Vault servers: how to log in, who names them, and what must not rest on one of them alone ---


_LOGIN_NEEDS = {
    "token": ("token_file",),
    "approle": ("role_id", "secret_id_file"),
    "kubernetes": ("role", "jwt_file"),
    "jwt": ("role", "jwt_file"),
    "cert": ("certificate_file",),
    "aws": ("role",),
}
_LOGIN_MAY = {"cert": ("role",), "aws": ("aws_server_id",)}


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
    allowed = (*wanted, *_LOGIN_MAY.get(vault.login, ()), "certificate_file")  # any listener may ask for one
    known = (key for keys in (*_LOGIN_NEEDS.values(), *_LOGIN_MAY.values()) for key in keys)
    for key in dict.fromkeys(known):
        if key not in allowed and getattr(vault, key) is not None:
            what = f"has no effect, for login is {vault.login!r}"
            yield Misfit(("vaults", name, key), what, "Leave it out, or change login.")
    if vault.certificate_file is not None and (why := absent(vault.certificate_file)):
        yield Misfit(("vaults", name, "certificate_file"), why, "Name the file of the certificate (PEM).")
    if vault.key_file is not None and vault.certificate_file is None:
        yield Misfit(("vaults", name, "key_file"), "has no effect without a certificate", "Give both.")


def _named(context: Context) -> Iterator[Misfit]:
    for section in ("sources", "targets", "stages", "keys", "rotators"):
        for name, entry in getattr(context.settings, section).items():
            if entry.on_vault is not None and not context.is_bad(section, name, "vault"):
                yield from context.reference((section, name, "vault"), entry.on_vault, "vaults")


def _unfit(context: Context) -> Iterator[Misfit]:
    """Yield what a kind says of its own keys."""
    for section in ("sources", "targets", "stages", "keys"):
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
    if not context.is_bad("page"):
        yield from _logins(context.settings)


def secret_files(settings: Settings) -> dict[KeyPath, Path]:
    """Return every file that holds a secret, by the setting that names it."""
    named: dict[KeyPath, Path | None] = {
        ("broker", "password_file"): settings.broker.password_file,
        ("broker", "key_file"): settings.broker.key_file,
        ("state", "password_file"): settings.state.password_file,
        ("state", "key_file"): settings.state.key_file,
        ("flower", "password_file"): settings.flower.password_file,
        ("listen", "key_file"): settings.listen.key_file,
        ("mail", "password_file"): settings.mail.password_file,
        ("metrics", "token_file"): settings.metrics.token_file,
        ("page", "password_file"): settings.page.password_file,
    }
    sections: dict[KeyPath, SettingsSection] = {**settings.calls}
    logins = {("page", "proxy"): settings.page.proxy, ("page", "oidc"): settings.page.oidc}
    sections |= {key: login for key, login in logins.items() if login}
    for table in ("channels", "keys", "vaults", "sources", "targets", "stages"):
        sections |= {(table, name): entry for name, entry in getattr(settings, table).items()}
    stores = {("access_logs", name, "store"): log.store for name, log in settings.access_logs.items()}
    sections |= {key: store for key, store in stores.items() if store}
    for key, section in sections.items():
        named |= {(*key, name): path for name, path in section.secret_files().items()}
    return {key: path for key, path in named.items() if path}


def _private(key: KeyPath, path: Path) -> Iterator[Misfit]:
    # A missing file is no problem here: a host that only seals holds no identity.
    try:
        status = path.stat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # missing on every host
            yield Misfit(key, f"cannot be read: {error.strerror}", "Name the file that holds the secret.")
        return
    if not stat.S_ISREG(status.st_mode):
        yield Misfit(key, "not a regular file", "Name the file that holds the secret.")
    elif is_exposed(status):
        yield Misfit(key, "others than its owner may use this file", f"Run: chmod 600 '{path}'")


def _public_keys(context: Context) -> Iterator[Misfit]:
    for name, key in context.settings.keys.items():
        at = ("keys", name)
        if not isinstance(key, HpkeKey) or context.is_bad(*at):
            continue
        if (key.public_key is None) == (key.public_key_file is None):
            what = "missing" if key.public_key is None else "given twice, with public_key_file"
            yield Misfit((*at, "public_key"), what, "Give one of public_key and public_key_file.")
        elif key.public_key_file and (why := absent(key.public_key_file)):
            yield Misfit((*at, "public_key_file"), why, "Name the public key's file.")


def _broker(settings: Settings) -> Iterator[Misfit]:
    broker = settings.broker
    if broker.url is not None:
        right = "Write it as rediss://USER@HOST:PORT/0."
        wrong = list(_address(("broker", "url"), broker.url, ("redis", "rediss"), right))
        yield from wrong
        if not wrong and _scheme(broker.url) == "redis" and not broker.plain and (host := _far(broker.url)):
            what = f"would send messages and the password to {host} in the clear"
            right = "Use rediss://, or set broker.plain on a network of your own."
            yield Misfit(("broker", "url"), what, right)
    yield from _certificates("broker", broker, tls=_scheme(broker.url or "redis://") in ("rediss", ""))


def _certificates(section: str, settings: BrokerSettings | StateSettings, *, tls: bool) -> Iterator[Misfit]:
    """Yield files that TLS with a server would use, and that are not there, or that nothing would use."""
    scheme = (
        "Use rediss:// in broker.url." if section == "broker" else "It goes with a postgresql:// address."
    )
    for key in ("ca_file", "certificate_file"):
        path = getattr(settings, key)
        if path is not None and not tls:
            yield Misfit((section, key), "has no effect without TLS", scheme)
        elif path is not None and (why := absent(path)):
            yield Misfit((section, key), why, "Name the file of certificates (PEM).")
    if settings.key_file is not None and settings.certificate_file is None:
        yield Misfit((section, "key_file"), "has no effect without a certificate", "Give both.")


def _scheme(url: str) -> str:
    try:
        return urlsplit(url).scheme
    except ValueError:
        return ""  # what it is to be is not known


def _far(url: str) -> str | None:
    """Return the host of an address if it is another one than this."""
    try:
        parts = urlsplit(url)
        hosts = parse_qs(parts.query).get("host") or [parts.hostname or ""]
    except ValueError:
        return None
    far = (
        host for hosts_named in hosts for host in hosts_named.split(",") if not host.startswith(("/", "@"))
    )
    return next((host for host in far if host and not is_loopback(host)), None)


def _state(settings: Settings) -> Iterator[Misfit]:
    state = settings.state
    if (url := state.url) is None:
        yield from _certificates("state", state, tls=False)
        return
    right = "Write it as postgresql://USER@HOST/NAME or sqlite:////ABSOLUTE/FILE."
    schemes = ("sqlite", "postgresql", "postgresql+psycopg")
    wrong = list(_address(("state", "url"), url, schemes, right))
    yield from wrong
    if url.startswith("sqlite:") and not url.startswith("sqlite:////"):
        yield Misfit(("state", "url"), "names no file by an absolute path", right)
    yield from _certificates("state", state, tls=_scheme(url) != "sqlite")
    if not wrong and _scheme(url) != "sqlite":
        mode = parse_qs(urlsplit(url).query).get("sslmode", [VERIFIED])[-1]
        if mode != VERIFIED and not state.plain and (host := _far(url)):
            what = f"sslmode={mode} would not check that it is {host} that answers"
            yield Misfit(("state", "url"), what, "Leave it out, or set state.plain on a network of your own.")


VERIFIED = "verify-full"
"""How PostgreSQL's client calls TLS with a server whose certificate is of its name."""


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


def _logins(settings: Settings) -> Iterator[Misfit]:
    """Yield what keeps everybody from the page, or lets nobody know where a header came from."""
    page = settings.page
    if not (page.password or page.proxy or page.oidc):
        yield Misfit(("page", "password"), "nobody could log in", "Give page.proxy or page.oidc, or true.")
    if page.proxy is not None:
        yield from _proof(page.proxy, tls=settings.listen.certificate_file is not None)
    for address in page.proxy.addresses if page.proxy else ():
        try:
            ip_network(address, strict=False)
        except ValueError:
            key = ("page", "proxy", "addresses")
            yield Misfit(key, "one of them is no address and no network", 'As "10.0.0.5" or "10.0.0.0/24".')


def _proof(proxy: PageProxySettings, *, tls: bool) -> Iterator[Misfit]:
    """Yield what leaves the page without a proof that a header comes from its proxy."""
    key = ("page", "proxy")
    if proxy.ca_file is None:
        if proxy.certificate_names:
            yield Misfit((*key, "certificate_names"), "has no effect without ca_file", "Give both.")
        if proxy.secret_file is None:
            yield Misfit(
                (*key, "secret_file"),
                "missing: anybody at that address could name a person",
                "Give it, or ca_file and certificate_names.",
            )
        return
    if why := absent(proxy.ca_file):
        yield Misfit((*key, "ca_file"), why, "Name the file of the authority's certificate (PEM).")
    if not proxy.certificate_names:
        what = "missing: any client of that authority could name a person"
        yield Misfit((*key, "certificate_names"), what, 'The proxy\'s name, as ["proxy.example.org"].')
    if not tls:
        what = "has no effect without TLS: nobody can show a certificate"
        yield Misfit((*key, "ca_file"), what, "Give listen.certificate_file and listen.key_file.")


_TLS = "Give listen.certificate_file, or set listen.plain on a network of your own."


def _listening(context: Context) -> Iterator[Misfit]:
    """Yield certificates that are none, and addresses at which others could read a login or a token."""
    shared = context.settings.listen
    if shared.certificate_file is not None:
        if why := absent(shared.certificate_file):
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
