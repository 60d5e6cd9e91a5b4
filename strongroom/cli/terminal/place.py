"""Where this installation lies, found without the configuration's machinery.

Restoring from a file must work with a broken configuration, or with none. So the few settings
that it can use are read leniently from the same places; ``strongroom.config`` decides in all
other cases, and a test holds the two together.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

FILE_NAME = "strongroom.toml"


class InstallationPlace(NamedTuple):
    """The state directory, and the configuration file's tables as they stand there.

    ``base`` is what relative paths in the file start from. ``problem`` says why a file
    that is there could not be used.
    """

    state_dir: Path
    tables: Mapping[str, Any] = {}
    file: Path | None = None
    problem: str | None = None

    @property
    def role_keys(self) -> Path:
        """The folder of the roles' signing keys."""
        return self.state_dir / "keys" / "roles"

    def section(self, name: str) -> Mapping[str, Mapping[str, Any]]:
        """Return a section's named tables, such as ``keys``; empty if it has none."""
        found = self.tables.get(name)
        return {key: table for key, table in _items(found) if isinstance(table, Mapping)}

    def path(self, text: object) -> Path | None:
        """Return a path from the file, anchored where the file lies."""
        if not isinstance(text, str) or "\0" in text:  # no path has one
            return None
        base = self.file.parent if self.file else Path.cwd()
        return Path(base, os.path.expanduser(text))  # noqa: PTH111 - pathlib raises without a home


def find(env: Mapping[str, str] | None = None) -> InstallationPlace:
    """Return where this installation lies, by the environment and the file, if there is one."""
    env = os.environ if env is None else env
    fallback = _default_state_dir(env)
    file = _file(env, fallback)
    tables, problem = _tables(file)
    place = InstallationPlace(fallback, _overridden(tables, env), file, problem)
    configured = None if env.get("STRONGROOM_STATE_DIR") else place.path(place.tables.get("state_dir"))
    return place._replace(state_dir=configured or fallback)


def _default_state_dir(env: Mapping[str, str]) -> Path:
    if env.get("STRONGROOM_STATE_DIR"):
        return Path(env["STRONGROOM_STATE_DIR"]).absolute()
    base = Path(env.get("XDG_STATE_HOME", ""))
    if base.is_absolute():
        return base / "strongroom"
    home = env.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 - pathlib raises without a home
    return Path(home, ".local", "state", "strongroom")


def _file(env: Mapping[str, str], state_dir: Path) -> Path | None:
    if env.get("STRONGROOM_CONFIG"):
        return Path(env["STRONGROOM_CONFIG"]).absolute()
    places = (Path.cwd() / FILE_NAME, state_dir / FILE_NAME)
    return next((path for path in places if _there(path)), None)


def _there(path: Path) -> bool:
    """Whether a file is there, or might be: then reading it says why it cannot be read."""
    try:
        return path.is_file()
    except OSError:
        return True


def _tables(file: Path | None) -> tuple[dict[str, Any], str | None]:
    if file is None:
        return {}, None
    import tomllib

    try:
        return tomllib.loads(file.read_text(encoding="utf-8")), None
    except (OSError, ValueError, RecursionError):  # such as no TOML, a huge number, tables without end
        return {}, f"{file} could not be read and was ignored ('strongroom check config' says why)."


def _overridden(tables: dict[str, Any], env: Mapping[str, str]) -> dict[str, Any]:
    signers = env.get("STRONGROOM_TRUST__SIGNERS")
    return tables if signers is None else {**tables, "trust": {"signers": signers}}


def trusted_in_file(place: InstallationPlace) -> Iterator[str]:
    """Yield the fingerprints under ``trust.signers``, whether a list or its text."""
    trust = place.tables.get("trust")
    signers = trust.get("signers") if isinstance(trust, Mapping) else None
    if isinstance(signers, str):
        signers = [word.strip(" \"'") for word in signers.strip("[] ").split(",")]
    if isinstance(signers, list):
        yield from (signer for signer in signers if isinstance(signer, str))


def _items(table: object) -> Iterator[tuple[str, object]]:
    return iter(table.items()) if isinstance(table, Mapping) else iter(())
