"""Secrets: only in files, and only for their owner's eyes."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from strongroom.config.base import SettingsSection
from strongroom.config.checks.context import Context, Misfit
from strongroom.config.keys import HpkeKey
from strongroom.config.model import Settings
from strongroom.config.problems import KeyPath
from strongroom.system.host import is_loopback


def check(context: Context) -> Iterator[Misfit]:
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
