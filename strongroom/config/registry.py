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
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial, wraps
from inspect import getattr_static, signature
from pathlib import Path
from types import FunctionType, MethodType, UnionType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from msgspec import Struct

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
log = logging.getLogger(__name__)

UNANSWERED: Final = 60.0
"""Seconds after which it is logged that a plug-in has not come back."""

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


# -- What a plug-in does wrong, told as its own -------------------------------------------------


def _answer_for(record: type[SettingsSection], base: type[SettingsSection], titled: str) -> None:
    """Have a record that fails to answer say nothing, as its base does, and be used for nothing more."""
    for name in _own_answers(record, base):
        answer, instead = getattr_static(record, name), getattr(base, name)
        if isinstance(answer, property):
            told = _told(answer.fget, instead.fget, record, titled, name)
            setattr(record, name, property(told))
        elif isinstance(answer, FunctionType):
            setattr(record, name, _told(answer, instead, record, titled, name))


def _own_answers(made: type, base: type) -> list[str]:
    """Return what a class answers itself of what its base is asked for, also by what the base asks it for
    that: a target's ``_read`` for ``read``."""
    own = {name for name in dir(base) if getattr_static(made, name, None) is not getattr_static(base, name)}
    return [name for name in dir(base) if not name.startswith("_") and own & {name, f"_{name}"}]


def _told(
    answer: Any, instead: Callable[..., Any], record: type[SettingsSection], titled: str, name: str
) -> Callable[..., Any]:
    @wraps(answer)
    def ask(own: SettingsSection, *arguments: Any) -> Any:
        try:
            said = answer(own, *arguments)
            return iter([_checked(name, each) for each in said]) if name in _LISTED else said
        except Exception as error:  # noqa: BLE001 - a package of others fails as it likes
            where = _where(error, record.__module__)
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


def guarded(made: T, record: SettingsSection, base: type, failed: type[StrongroomError]) -> T:
    """Have all that fails in what a plug-in made say whose it is, and nothing of the words, which may hold a
    secret. Whatever the plug-in was given, such as the chunks of an object, fails as it did. An answer of
    another type than its base promises is a failure, too, and one that does not come is logged. So does what
    it gives that keeps a protocol itself: the sealing half of a key.

    Args:
        base: what it inherits from, or the protocol that it keeps. What it leaves to that stays as it is.
        failed: the class of the errors.
    """
    titled = _titled(type(record))
    if titled is None:
        return made
    kind = type(made)
    if any(vars(each).get("_guarded") is base for each in kind.__mro__):  # it may make the same thing twice
        return made
    guards: dict[str, Any] = {"_guarded": base}
    for name in _own_answers(kind, base):
        answer = getattr_static(kind, name, None)
        promised = _promised(base, name)
        guard = _MethodGuard(titled, name, failed, type(record).__module__, promised)
        if (kept := promised.protocol) is not None:
            guard = guard._replace(hand_on=partial(guarded, record=record, base=kept, failed=failed))
        if isinstance(answer, property) and answer.fget is not None:
            guards[name] = property(guard.of(answer.fget))
        elif isinstance(answer, FunctionType):
            guards[name] = guard.of(answer)
    with suppress(TypeError):  # of a class of another make, which no class in Python can stand in for
        made.__class__ = type(
            kind.__name__, (kind,), {"__slots__": (), "__module__": kind.__module__, **guards}
        )
    return made


def guarded_call(
    function: Callable[..., T], record: SettingsSection, name: str, failed: type[StrongroomError]
) -> Callable[..., T]:
    """Return a function of a plug-in's that says the same of all that fails in it."""
    titled = _titled(type(record))
    if titled is None:
        return function
    guard = _MethodGuard(titled, name, failed, type(record).__module__, _Promised())

    def call(*arguments: Any, **options: Any) -> T:
        made: T = guard.of(lambda _, *given, **named: function(*given, **named))(call, *arguments, **options)
        return made

    return call


class _Promised(NamedTuple):
    """Of which classes an answer is, and each of what it lists; of any, if nothing is said of it here."""

    whole: tuple[type, ...] = ()
    each: tuple[type, ...] = ()

    @property
    def protocol(self) -> type | None:
        """The protocol that an answer keeps, if it is to keep one."""
        return next((each for each in self.whole if getattr(each, "_is_protocol", False)), None)

    def require(self, said: Any, classes: tuple[type, ...]) -> Any:
        """Return it. Raises _AnotherType if it is not what was promised."""
        if said is not _END and classes and not isinstance(said, classes):
            wanted = " or ".join("None" if each is type(None) else each.__name__ for each in classes)
            raise _AnotherType(f"it gave {type(said).__name__}, and has to give {wanted}")
        return said


class _AnotherType(Exception):
    """A plug-in gave what its base does not promise. The words are ours."""


def _promised(base: type, name: str) -> _Promised:
    """Return what a base promises, as far as its annotations are classes."""
    answer = getattr_static(base, name)
    function = answer.fget if isinstance(answer, property) else answer
    try:
        said = get_type_hints(function).get("return")
    except (NameError, TypeError, AttributeError):  # of what is imported for type checkers alone
        return _Promised()
    if get_origin(said) is Iterator:
        return _Promised(each=_classes(get_args(said)[0]))
    return _Promised(whole=() if said is type(None) else _classes(said))


def _classes(said: Any) -> tuple[type, ...]:
    if said is bytes:
        return bytes, bytearray, memoryview
    if isinstance(said, UnionType):
        parts = [_classes(each) for each in get_args(said)]
        return tuple(each for part in parts for each in part) if all(parts) else ()
    return (said,) if isinstance(said, type) and said not in (float, object) else ()


class _Watch:
    """Logs which plug-in does not answer: by a thread of its own, from the first call of a process on."""

    def __init__(self) -> None:
        self.calls: dict[int, tuple[float, str]] = {}
        self._process = 0

    def begin(self, call: int, what: str) -> None:
        """Take note of a call."""
        self.calls[call] = (time.monotonic(), what)
        if self._process != os.getpid():  # no thread outlives a fork
            self._process = os.getpid()
            threading.Thread(target=self._look, daemon=True, name="plugins").start()

    def _look(self) -> None:
        told: set[tuple[int, float]] = set()
        while True:
            time.sleep(UNANSWERED / 6)
            now, calls = time.monotonic(), dict(self.calls)
            told &= {(call, began) for call, (began, _) in calls.items()}
            for call, (began, what) in calls.items():
                if now - began > UNANSWERED and (call, began) not in told:
                    told.add((call, began))
                    log.warning("plugin-does-not-answer", extra={"plugin": what, "seconds": UNANSWERED})


_watch = _Watch()


class _Asked(threading.local):
    """What this thread is asking: its own calls of itself are its own affair."""

    def __init__(self) -> None:
        self.now: set[int] = set()


_asked = _Asked()
_END = object()


class _MethodGuard(NamedTuple):
    titled: str
    name: str
    failed: type[StrongroomError]
    module: str
    promised: _Promised
    hand_on: Callable[[Any], Any] | None = None

    def of(self, answer: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(answer)
        def ask(made: Any, *arguments: Any, **options: Any) -> Any:
            if id(made) in _asked.now:
                return answer(made, *arguments, **options)
            ours: list[BaseException] = []
            given = [_watched(each, ours) for each in arguments]
            named = {name: _watched(each, ours) for name, each in options.items()}
            said = self._try(
                made, ours, lambda: self.promised.require(answer(made, *given, **named), self.promised.whole)
            )
            if isinstance(said, Iterator):
                return self._each(made, ours, said)
            return said if self.hand_on is None else self.hand_on(said)

        return ask

    def _each(self, made: Any, ours: list[BaseException], said: Iterator[Any]) -> Iterator[Any]:
        try:
            go_on = partial(self.promised.require, classes=self.promised.each)
            while (each := self._try(made, ours, lambda: go_on(next(said, _END)))) is not _END:
                yield each
        finally:
            if (close := getattr(said, "close", None)) is not None:
                self._try(made, ours, close)

    def _try(self, made: Any, ours: list[BaseException], work: Callable[[], Any]) -> Any:
        within = id(made) in _asked.now
        _asked.now.add(id(made))
        call = id(ours)
        _watch.begin(call, f"{self.titled}, '{self.name}'")
        try:
            return work()
        except StrongroomError:
            raise
        except Exception as error:
            if any(error is each for each in ours) or type(error).__module__.startswith("billiard"):
                raise  # the caller's own trouble; and the worker's, whose time is over
            why = str(error) if isinstance(error, _AnotherType) else _where(error, self.module)
            words = f"{self.titled} failed in its '{self.name}': {why}"
            hint = " ".join((*(() if why == str(error) else (_NO_WORDS,)), PluginBroken.default_hint))
            raise self.failed(words, hint=hint).with_traceback(error.__traceback__) from None
        finally:
            _watch.calls.pop(call, None)
            if not within:
                _asked.now.discard(id(made))


_NO_WORDS = (
    "The error's own words are not shown: they may hold a secret. STRONGROOM_DEBUG=1 shows the way to it."
)


def _watched(given: Any, raised: list[BaseException]) -> Any:
    """Return what is given to a plug-in, with a note of what it raises there."""
    if isinstance(given, FunctionType | MethodType | partial):

        def call(*arguments: Any, **options: Any) -> Any:
            try:
                return given(*arguments, **options)
            except Exception as error:
                raised.append(error)
                raise

        return call
    if isinstance(given, Iterable) and not isinstance(given, Collection):
        return _noting(given, raised)
    return given


def _noting(given: Iterable[Any], raised: list[BaseException]) -> Iterator[Any]:
    try:
        yield from given
    except Exception as error:
        raised.append(error)
        raise


def _where(error: BaseException, module: str) -> str:
    """Say what failed and where in a package, without the error's words."""
    said = type(error).__name__
    if isinstance(error, OSError) and error.errno is not None:
        said += f" ({os.strerror(error.errno)})"
    package, trace, found = module.partition(".")[0], error.__traceback__, ""
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0] == package:
            found = f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return said + found


# -- Making the thing of a record ---------------------------------------------------------------


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
            why = _said(error) if shown else _where(error, type(record).__module__)
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
