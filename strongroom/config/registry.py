"""The kinds of sources, targets, keys, rotators and channels: which there are, and whose each is.

A kind is a record of settings, which names the function that makes such a thing. Ours stand in a table.
Another package declares its records as entry points:

    [project.entry-points."strongroom.targets"]
    tape = "acme_tape:TapeSettings"

A plug-in runs with all rights of the process that loads it. So what is installed is looked through only when
a configuration names a kind that is none of ours, and that one alone is imported.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import getattr_static, signature
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args, get_origin

from msgspec import Struct

from strongroom.config.plugin_guard import PackageName, guard, guard_call, own_answers, place_of
from strongroom.config.schema import SettingsSection, fields_of, is_table, kind_of, models_of, stripped
from strongroom.config.values import is_readable
from strongroom.errors import StrongroomError
from strongroom.system.errors import (
    PluginBroken,
    PluginNamedTwice,
    PluginNotARecord,
    PluginNotImported,
    PluginOfAnotherVersion,
)
from strongroom.system.lazy import package_missing, resolve
from strongroom.words import spelled_out

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")

API: Final = 1
"""The version of what a plug-in is asked for. A record says for which one it was written."""

GROUPS: Final[Mapping[str, str]] = {
    "sources": "strongroom.sources",
    "targets": "strongroom.targets",
    "keys": "strongroom.recipients",
    "rotators": "strongroom.rotators",
    "channels": "strongroom.channels",
}
"""The group of entry points of each section of the configuration."""

_RECORDS: Final = "strongroom.config"
OWN: Final[Mapping[str, Mapping[str, str]]] = {
    "sources": {
        "local": f"{_RECORDS}.sources:LocalSourceSettings",
        "files": f"{_RECORDS}.sources:FilesSourceSettings",
        "vault": f"{_RECORDS}.sources:VaultSourceSettings",
        "raft": f"{_RECORDS}.sources:RaftSourceSettings",
        "aws": f"{_RECORDS}.sources:AwsSourceSettings",
    },
    "targets": {
        "directory": f"{_RECORDS}.targets:DirectoryTargetSettings",
        "sftp": f"{_RECORDS}.targets:SftpTargetSettings",
        "s3": f"{_RECORDS}.targets:S3TargetSettings",
        "azure": f"{_RECORDS}.targets:AzureTargetSettings",
        "gcs": f"{_RECORDS}.targets:GcsTargetSettings",
        "vault": f"{_RECORDS}.targets:VaultTargetSettings",
    },
    "keys": {
        "passphrase": f"{_RECORDS}.keys:PassphraseKey",
        "keyfile": f"{_RECORDS}.keys:KeyFileKey",
        "hpke": f"{_RECORDS}.keys:HpkeKey",
        "pkcs11": f"{_RECORDS}.keys:Pkcs11Key",
        "transit": f"{_RECORDS}.keys:TransitKeySettings",
        "kms": f"{_RECORDS}.keys:KmsKey",
        "quorum": f"{_RECORDS}.keys:QuorumKey",
        "all-of": f"{_RECORDS}.keys:AllOfKey",
    },
    "rotators": {
        "random": f"{_RECORDS}.rotators:RandomRotator",
        "command": f"{_RECORDS}.rotators:CommandRotator",
        "vault-engine": f"{_RECORDS}.rotators:VaultEngineRotator",
        "aws": f"{_RECORDS}.rotators:AwsRotator",
    },
    "channels": {
        "mail": f"{_RECORDS}.alerts:MailChannel",
        "webhook": f"{_RECORDS}.alerts:WebhookChannel",
        "apprise": f"{_RECORDS}.alerts:AppriseChannel",
        "ping": f"{_RECORDS}.alerts:PingChannel",
    },
}
"""Ours, by section and name. ``pyproject.toml`` declares the same: a test compares them."""


class Plugin(Struct, frozen=True, kw_only=True):
    """A kind of another package, as it was loaded: whose it is, of which version, and out of which file."""

    section: str
    kind: str
    package: str
    version: str
    file: str

    def __str__(self) -> str:
        return f"{self.section} of kind '{self.kind}' by {self.package} {self.version}"


_loaded: dict[tuple[str, str], tuple[type[SettingsSection], Plugin] | PluginBroken] = {}
_failed: dict[type[SettingsSection], PluginBroken] = {}
"""What failed of records that were loaded: they are used for nothing more."""


def own_kinds(section: str) -> tuple[type[SettingsSection], ...]:
    """Return our own records of a section, in the order in which people are shown them."""
    return tuple(_own(place) for place in OWN[section].values())


def _own(place: str) -> type[SettingsSection]:
    module, _, name = place.partition(":")
    made: type[SettingsSection] = getattr(importlib.import_module(module), name)
    return made


def find_kind(section: str, kind: str, base: type[SettingsSection]) -> type[SettingsSection] | None:
    """Return the record of a kind; ``None`` if no package that is installed here has it.

    Args:
        base: what the record has to inherit from.

    Raises:
        PluginBroken: a package has it, and it cannot be used. What was found is kept: asked again, a process
            says the same, and imports nothing twice.
    """
    if kind in OWN[section]:
        return _own(OWN[section][kind])
    at = (section, kind)
    if at not in _loaded:
        entries = _entries(section, kind)
        if not entries:
            return None
        try:
            _loaded[at] = _load(section, kind, entries, base)
        except PluginBroken as broken:
            _loaded[at] = broken
    found = _loaded[at]
    if isinstance(found, PluginBroken):
        raise found
    return found[0]


def loaded_plugins() -> tuple[Plugin, ...]:
    """Return the plug-ins that this process has loaded, and nothing of those that are merely installed."""
    loaded = [each for _, each in sorted(_loaded.items(), key=lambda item: item[0])]
    return tuple(each[1] for each in loaded if not isinstance(each, PluginBroken))


def broken_plugins() -> tuple[PluginBroken, ...]:
    """Return what keeps plug-ins from being used that the configuration names."""
    loaded = [each for _, each in sorted(_loaded.items(), key=lambda item: item[0])]
    return (*(each for each in loaded if isinstance(each, PluginBroken)), *_failed.values())


def installed_kinds(section: str) -> tuple[str, ...]:
    """Return the names of the kinds that other packages have, of which none is imported for that."""
    return tuple(sorted({entry.name for entry in _entries(section)}))


def _entries(section: str, kind: str = "") -> list[EntryPoint]:
    """Return what other packages declare; what ours does stands in the table."""
    from importlib.metadata import entry_points  # it costs 20 ms, and so do 200 packages

    return [
        entry
        for entry in entry_points(group=GROUPS[section])
        if entry.name == (kind or entry.name)
        and entry.name not in OWN[section]
        and not (entry.dist and entry.dist.name == "strongroom")
    ]


def _load(
    section: str, kind: str, entries: list[EntryPoint], base: type[SettingsSection]
) -> tuple[type[SettingsSection], Plugin]:
    what = f"'{kind}' ({GROUPS[section]})"
    packages = sorted({entry.dist.name if entry.dist else entry.value for entry in entries})
    if len(packages) > 1:
        raise PluginNamedTwice(
            f"The packages {' and '.join(packages)} both have a plug-in {what}: which is meant?"
        )
    entry = entries[0]
    titled = f"The plug-in {what} of package {packages[0]}"
    try:
        record = entry.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a package of others fails as it likes
        raise PluginNotImported(f"{titled} cannot be imported: {_said(error)}") from None
    _check_record(record, kind, base, titled)
    plugin = Plugin(
        section=section,
        kind=kind,
        package=packages[0],
        version=entry.dist.version if entry.dist else "",
        file=getattr(sys.modules.get(record.__module__), "__file__", None) or "",
    )
    _answer_for(record, base, titled)
    return record, plugin


def _check_record(record: Any, kind: str, base: type[SettingsSection], titled: str) -> None:
    """Refuse what is no record of settings that this version can read and show."""
    if not (isinstance(record, type) and issubclass(record, base)):
        raise PluginNotARecord(
            f"{titled} is no record of settings: it has to be a class that inherits from {base.__name__}"
        )
    written_for = getattr(record, "PLUGIN_API", 0)
    if written_for != API:
        raise PluginOfAnotherVersion(
            f"{titled} was written for version {written_for} of what a plug-in is asked for, and this is "
            f"version {API}"
        )
    taken = (name for name in record.__struct_fields__ if name not in base.__struct_fields__)
    if name := next((name for name in taken if hasattr(base, name)), ""):
        raise PluginNotARecord(f"{titled}: its setting '{name}' has the name of what every record answers")
    if why := _unfit(record, kind):
        raise PluginNotARecord(f"{titled} is a record that cannot be read: {why}")


def _unfit(record: type[SettingsSection], kind: str) -> str:
    if not record.__struct_config__.frozen:
        return "it is not frozen"
    if not isinstance(getattr(record, "MADE_BY", None), str):
        return "MADE_BY does not name what makes one"
    try:
        fields = fields_of(record)
    except (NameError, TypeError) as error:
        return f"its annotations cannot be read ({_said(error)})"
    if kind_of(record) != kind:
        return f'its field \'kind\' has to be Annotated[Literal["{kind}"], Meta(description="…")]'
    unread = [name for name, field in fields.items() if not _is_readable(field.kind)]
    return f"no setting takes what its field '{unread[0]}' is" if unread else _secret_files(record, fields)


def _secret_files(record: type[SettingsSection], fields: Mapping[str, Any]) -> str:
    named: object = record.SECRET_FILES
    if not isinstance(named, tuple) or not all(name in fields for name in named):
        return 'SECRET_FILES is no tuple of names of its fields, such as ("file",)'
    others = [name for name in named if stripped(fields[name].kind)[0] is not Path]
    return f"SECRET_FILES names its field '{others[0]}', which is no AbsolutePath" if others else ""


def _is_readable(kind: Any) -> bool:
    kind, _ = stripped(kind)
    if is_table(kind):
        return all(_is_readable(each) for each in get_args(kind))
    if get_origin(kind) is tuple:
        inside = get_args(kind)
        return len(inside) == 2 and inside[1] is ... and _is_readable(inside[0])
    return bool(models_of(kind)) or is_readable(kind)


# -- What a record of settings answers, though it be a plug-in's that fails ---------------------


def _answer_for(record: type[SettingsSection], base: type[SettingsSection], titled: str) -> None:
    """Have a record that fails to answer say nothing, as its base does, and be used for nothing more."""
    for name in own_answers(record, base):
        answer, instead = getattr_static(record, name), getattr(base, name)
        if isinstance(answer, property):
            told = _told(answer.fget, instead.fget, record, titled, name)
            setattr(record, name, property(told))
        elif isinstance(answer, FunctionType):
            setattr(record, name, _told(answer, instead, record, titled, name))


def _told(
    answer: Any, instead: Callable[..., Any], record: type[SettingsSection], titled: str, name: str
) -> Callable[..., Any]:
    @wraps(answer)
    def ask(own: SettingsSection, *arguments: Any) -> Any:
        try:
            said = answer(own, *arguments)
            return iter([_checked(name, each) for each in said]) if name in _LISTED else said
        except Exception as error:  # noqa: BLE001 - a package of others fails as it likes
            where = place_of(error, record.__module__)
            _failed.setdefault(
                record, PluginNotARecord(f"{titled}: its settings cannot be asked for '{name}': {where}")
            )
            return instead(own, *arguments)

    return ask


_LISTED = frozenset({"unfit", "setting_up", "filling"})


def _checked(name: str, said: Any) -> Any:
    """Return what a list may hold; of what does not fit, a key that is no path of keys as one."""
    if name != "unfit":
        return said
    key, what, right = said
    if not all(isinstance(each, str) for each in (what, right)):
        raise TypeError("a Misfit says in words what is wrong and what is right")
    return said._replace(key=(key,) if isinstance(key, str) else tuple(key))


# -- Making the thing of a record ---------------------------------------------------------------


def guarded(made: T, record: SettingsSection, base: type, failed: type[StrongroomError]) -> T:
    """Have all that fails in what a plug-in made say whose it is; see :func:`plugin_guard.guard`.

    Args:
        base: what it inherits from, or the protocol that it keeps. What it leaves to that stays as it is.
        failed: the class of the errors.
    """
    package = _package_of(record)
    return made if package is None else guard(made, package, base, failed)


def guarded_call(
    function: Callable[..., T], record: SettingsSection, name: str, failed: type[StrongroomError]
) -> Callable[..., T]:
    """Return a function of a plug-in's that says the same of all that fails in it."""
    package = _package_of(record)
    return function if package is None else guard_call(function, package, name, failed)


def _package_of(record: SettingsSection) -> PackageName | None:
    titled = _titled(type(record))
    return None if titled is None else PackageName(titled, type(record).__module__)


def maker(record: SettingsSection, by: str) -> Callable[..., Any]:
    """Return the function ``module:function`` of a record, which makes a thing of it.

    Of a plug-in's, all that goes wrong when it is imported or called becomes a PluginBroken, which says whose
    it is.

    Raises:
        PluginBroken: its record has failed before.
        PackageMissing: it needs a package of an extra of ours that is not installed here.
    """
    titled = _titled(type(record))
    if titled is None:
        return resolve(by)
    if type(record) in _failed:
        raise _failed[type(record)]

    def make(*arguments: Any, **options: Any) -> Any:
        try:
            made_by = resolve(by)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a package of others fails as it likes
            raise PluginNotImported(f"{titled} makes nothing: {_said(error)}") from None
        try:
            return made_by(*arguments, **options)
        except StrongroomError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - its words may quote what it read
            never_begun = error.__traceback__ is not None and error.__traceback__.tb_next is None
            shown = never_begun or isinstance(error, ImportError)
            why = _said(error) if shown else place_of(error, type(record).__module__)
            raise PluginNotImported(f"{titled} makes nothing: {why}").with_traceback(
                error.__traceback__
            ) from None

    return make


def require_made(made: Any, wanted: type | Sequence[str], record: SettingsSection) -> None:
    """Refuse what a plug-in made that is not what it has to be, or lacks what that has.

    Raises:
        PluginNotARecord: it is of another class, or has no such attribute.
    """
    titled = _titled(type(record))
    if titled is None:
        return
    if isinstance(wanted, type):
        lacks = "" if isinstance(made, wanted) else f"which is no {wanted.__module__}.{wanted.__name__}"
    else:
        lacks = "".join(f"which has no '{name}'" for name in wanted if not hasattr(made, name))
    if lacks:
        raise PluginNotARecord(f"{titled} made a {type(made).__name__}, {lacks}")


def is_plugin(record: SettingsSection) -> bool:
    """Say whether a record is another package's."""
    return _titled(type(record)) is not None


def require_callable(record: SettingsSection, by: str, given: int) -> None:
    """Refuse a function of a plug-in's that is not there, or takes other things. Calls nothing.

    Raises:
        PluginNotImported: it does.
    """
    titled = _titled(type(record))
    if titled is None or not by:
        return
    try:
        signature(resolve(by)).bind(*range(given))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a package of others fails as it likes
        raise PluginNotImported(f"{titled} makes nothing: {by}: {_said(error)}") from None


def _titled(record: type[SettingsSection]) -> str | None:
    """Return what a plug-in is called; ``None`` for a kind of ours."""
    for each in _loaded.values():
        if not isinstance(each, PluginBroken) and each[0] is record:
            plugin = each[1]
            return f"The plug-in '{plugin.kind}' ({GROUPS[plugin.section]}) of package {plugin.package}"
    return None


def _said(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and (missing := package_missing(error)) is not None:
        return f"{missing.message} {missing.hint}"
    return spelled_out(f"{type(error).__name__}: {error}".replace("\n", " "))[:300]
