"""What a plug-in does wrong, told as its own.

Its code runs in the middle of ours, and fails as it likes: with words that may hold a secret, with an answer
of another type, or with none. Who calls it sees one error, which says whose fault it is.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from functools import partial, wraps
from inspect import getattr_static
from pathlib import Path
from types import FunctionType, MethodType, UnionType
from typing import Any, Final, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from strongroom.errors import StrongroomError
from strongroom.system.errors import PluginBroken

T = TypeVar("T")
log = logging.getLogger(__name__)

UNANSWERED: Final = 60.0
"""Seconds after which it is logged that a plug-in has not come back."""


class PackageName(NamedTuple):
    """What a plug-in is called, and the module of its record, by whose package its own code is known."""

    titled: str
    module: str


def guard(made: T, package: PackageName, base: type, failed: type[StrongroomError]) -> T:
    """Have all that fails in what a plug-in made say whose it is, and nothing of the words, which may hold a
    secret. Whatever the plug-in was given, such as the chunks of an object, fails as it did. An answer of
    another type than its base promises is a failure, too, and one that does not come is logged. So does what
    it gives that keeps a protocol itself: the sealing half of a key.

    Args:
        base: what it inherits from, or the protocol that it keeps. What it leaves to that stays as it is.
        failed: the class of the errors.
    """
    kind = type(made)
    if any(vars(each).get("_guarded") is base for each in kind.__mro__):  # it may make the same thing twice
        return made
    guards: dict[str, Any] = {"_guarded": base}
    for name in own_answers(kind, base):
        answer = getattr_static(kind, name, None)
        promised = _promised(base, name)
        method = _MethodGuard(package, name, failed, promised)
        if (kept := promised.protocol) is not None:
            method = method._replace(hand_on=partial(guard, package=package, base=kept, failed=failed))
        if isinstance(answer, property) and answer.fget is not None:
            guards[name] = property(method.of(answer.fget))
        elif isinstance(answer, FunctionType):
            guards[name] = method.of(answer)
    with suppress(TypeError):  # of a class of another make, which no class in Python can stand in for
        made.__class__ = type(
            kind.__name__, (kind,), {"__slots__": (), "__module__": kind.__module__, **guards}
        )
    return made


def guard_call(
    function: Callable[..., T], package: PackageName, name: str, failed: type[StrongroomError]
) -> Callable[..., T]:
    """Return a function of a plug-in's that says the same of all that fails in it."""
    method = _MethodGuard(package, name, failed, _Promised())

    def call(*arguments: Any, **options: Any) -> T:
        made: T = method.of(lambda _, *given, **named: function(*given, **named))(call, *arguments, **options)
        return made

    return call


def own_answers(made: type, base: type) -> list[str]:
    """Return what a class answers itself of what its base is asked for, also by what the base asks it for
    that: a target's ``_read`` for ``read``."""
    own = {name for name in dir(base) if getattr_static(made, name, None) is not getattr_static(base, name)}
    return [name for name in dir(base) if not name.startswith("_") and own & {name, f"_{name}"}]


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
    package: PackageName
    name: str
    failed: type[StrongroomError]
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
        _watch.begin(call, f"{self.package.titled}, '{self.name}'")
        try:
            return work()
        except StrongroomError:
            raise
        except Exception as error:
            if any(error is each for each in ours) or type(error).__module__.startswith("billiard"):
                raise  # the caller's own trouble; and the worker's, whose time is over
            why = str(error) if isinstance(error, _AnotherType) else place_of(error, self.package.module)
            words = f"{self.package.titled} failed in its '{self.name}': {why}"
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


def place_of(error: BaseException, module: str) -> str:
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
