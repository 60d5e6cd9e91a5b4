"""One login to a token in each process: the library, its one lock, and what its return codes mean."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

from strongroom.errors import ConfigError, KeyServiceError, StrongroomError
from strongroom.keys.errors import (
    KeyDenied,
    KeyServiceUnavailable,
    MechanismMissing,
    PinLocked,
    PinRefused,
    TokenFull,
)
from strongroom.keys.passphrase import may_ask
from strongroom.model import SecretBytes
from strongroom.system import files
from strongroom.system.errors import KeyFileUnreadable

# -- What a PKCS#11 return code means for whoever waits for a key -------------------------------


# What the binding calls the codes, kept as names: the binding is not loaded to read a table.
LOST = frozenset(
    {
        "DeviceError",
        "DeviceRemoved",
        "FunctionFailed",
        "GeneralError",
        "HostMemory",
        "KeyHandleInvalid",
        "ObjectHandleInvalid",
        "OperationActive",
        "OperationNotInitialized",
        "SessionClosed",
        "SessionCount",
        "SessionHandleInvalid",
        "SlotIDInvalid",
        "TokenNotPresent",
        "TokenNotRecognised",
        "UnwrappingKeyHandleInvalid",
        "UserNotLoggedIn",
        "WrappingKeyHandleInvalid",
        "NotInitialized",
        "VendorDefined",
    }
)
"""After these, nothing that was opened counts any more: begin again."""

FOREIGN = frozenset(
    {
        "DataInvalid",
        "DataLenRange",
        "EncryptedDataInvalid",
        "EncryptedDataLenRange",
        "GeneralError",
        "WrappedKeyInvalid",
        "WrappedKeyLenRange",
    }
)
"""What unwrapping says of bytes that were not wrapped under this key: SoftHSM gives
``GeneralError``, NSS ``WrappedKeyInvalid``."""

_KINDS: dict[str, tuple[type[KeyServiceError], str]] = {
    "MechanismInvalid": (MechanismMissing, "cannot do what this recipient needs"),
    "MechanismParamInvalid": (MechanismMissing, "does not take what this recipient asks of it"),
    "FunctionNotSupported": (MechanismMissing, "cannot do what this recipient needs"),
    "KeyFunctionNotPermitted": (KeyDenied, "does not allow the key this use"),
    "KeyTypeInconsistent": (KeyServiceError, "says that the key is of another kind"),
    "KeyUnextractable": (KeyDenied, "does not allow the key this use"),
    "TokenWriteProtected": (KeyDenied, "is write-protected"),
    "DeviceMemory": (TokenFull, "has no room"),
    "PinIncorrect": (PinRefused, "does not take the PIN"),
    "PinInvalid": (PinRefused, "does not take the PIN"),
    "PinLenRange": (PinRefused, "does not take a PIN of that length"),
    "PinExpired": (PinRefused, "says that the PIN has expired"),
    "PinLocked": (PinLocked, "has locked its PIN"),
    "UserPinNotInitialized": (KeyServiceError, "has no user PIN yet"),
}


_UNMAPPED = re.compile(r"0x[0-9a-f]+")
_CODES = {0x68: "KeyFunctionNotPermitted", 0x190: "NotInitialized"}
_VENDOR = 0x80000000


def name_of(error: BaseException) -> str:
    """Return the code's name in the binding; for codes without a class of their own there, ours."""
    name = type(error).__name__
    match = _UNMAPPED.search(str(error)) if name == "PKCS11Error" else None
    if match is None:
        return name
    code = int(match[0], 16)
    # What a maker defines is mostly about the way to the device: begin again.
    return "VendorDefined" if code >= _VENDOR else _CODES.get(code, f"code {match[0]}")


def is_lost(error: BaseException) -> bool:
    """Whether the library has to be initialized again before it is used."""
    return name_of(error) in LOST


def translate(error: BaseException, where: str) -> KeyServiceError:
    """Return our error for the binding's; ``where`` names the token."""
    name = name_of(error)
    if name in LOST:
        return KeyServiceUnavailable(f"{where} did not answer, or was unplugged ({name})")
    kind, words = _KINDS.get(name, (KeyServiceError, "refused"))
    return kind(f"{where} {words} ({name})")


# -- A PKCS#11 library in this process: loaded on first use, begun again after a loss or a fork ---


_libraries: dict[Path, Library] = {}


class Library:
    """One library file. Every method is called under the process's one lock.

    ``generation`` changes whenever it was initialized: what was opened before is void.
    """

    __slots__ = ("_handle", "_lost", "_pid", "generation", "logged_in", "path", "refused")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.generation = 0
        # The PIN that a token refused, by label and serial number: it is not tried again.
        self.refused: dict[tuple[str | None, str | None], SecretBytes] = {}
        # Serial numbers of tokens that this process is logged in to: a login is not the session's.
        self.logged_in: set[bytes] = set()
        self._handle: Any = None
        self._lost = False
        self._pid = 0

    @property
    def is_stale(self) -> bool:
        """Whether it has to be initialized before it is used."""
        return self._handle is None or self._pid != os.getpid() or self._lost

    def handle(self) -> Any:
        """Return the library, initialized in this process.

        Raises:
            ConfigError: there is no such library.
            KeyServiceUnavailable: it does not initialize.
        """
        if self.is_stale:
            self._begin()
        return self._handle

    def lose(self) -> None:
        """Begin again on next use."""
        self._lost = True

    def _begin(self) -> None:
        from pkcs11.exceptions import PKCS11Error

        self._lost, problem = True, None
        try:
            if self._handle is None:
                self._handle = _load(self.path)
            else:
                # After a fork or a loss it may say that it was not initialized, which is as well.
                with contextlib.suppress(PKCS11Error):
                    self._handle.finalize()
            self._handle.initialize()
        except PKCS11Error as error:
            problem = translate(error, f"the PKCS#11 library '{self.path}'")
        if problem is not None:
            raise problem
        self.generation += 1
        self.logged_in.clear()
        self._pid, self._lost = os.getpid(), False


def library(path: Path) -> Library:
    """Return this process's one object for a library: two would finalize each other's sessions."""
    found = _libraries.get(path)
    return found if found is not None else _libraries.setdefault(path, Library(path))


def _load(path: Path) -> Any:
    import pkcs11

    if not path.is_file():
        raise ConfigError(f"there is no PKCS#11 library '{path}'", hint="Install the HSM's software.")
    try:
        return pkcs11.lib(str(path))
    except pkcs11.PKCS11Error as error:
        if "loading" in str(error):
            raise ConfigError(f"'{path}' is not a PKCS#11 library", hint="Check the path.") from None
        raise


# -- One lock round every call into any PKCS#11 library of this process -------------------------
#
# The Python binding initializes libraries without locking of their own and lets other threads
# run during calls: two at once, even in sessions of their own, end the process or give wrong
# results. A fork waits for the lock, so that no child inherits a library in the middle of a call,
# and the child begins with a lock of its own.


class _Guard:
    """Holds the lock, which a child has to replace: the thread that held it is not there."""

    def __init__(self) -> None:
        self.lock = threading.RLock()

    def hold(self) -> None:
        self.lock.acquire()

    def release(self) -> None:
        self.lock.release()

    def renew(self) -> None:
        self.lock = threading.RLock()


_guard = _Guard()
os.register_at_fork(before=_guard.hold, after_in_parent=_guard.release, after_in_child=_guard.renew)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold the process's one lock. The same thread may take it again."""
    with _guard.lock:
        yield


# -- What a token says of its PIN. PKCS#11 gives flags, not a number of tries (v2.40, CK_TOKEN_INFO)


LOGIN_REQUIRED = 0x00000004
COUNT_LOW = 0x00010000
FINAL_TRY = 0x00020000
LOCKED = 0x00040000


def is_locked(token: Any) -> bool:
    """Whether no PIN is taken any more."""
    return bool(token.flags & LOCKED)


def has_wrong_try(token: Any) -> bool:
    """Whether a wrong PIN was given since the last good login."""
    return bool(token.flags & (COUNT_LOW | FINAL_TRY))


def counter(token: Any) -> str:
    """Say how the counter stands: nothing while no wrong PIN is known."""
    if is_locked(token):
        return "; the PIN is locked now"
    if token.flags & FINAL_TRY:
        return "; one try is left, after a wrong one the token is locked"
    if token.flags & COUNT_LOW:
        return "; the token has counted a wrong PIN since the last good login"
    return ""


# -- Where a token's PIN comes from: a file that only its owner may read, or a person -----------


class Pin(Protocol):
    """A source of one token's PIN.

    ``unattended``: nobody looks on, so a PIN that may be wrong is not tried.
    """

    @property
    def unattended(self) -> bool: ...

    def ask(self, words: str) -> SecretBytes:
        """Return the PIN. ``words`` say for which token, and how its counter stands."""
        ...

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes of this host from trying the same PIN meanwhile."""
        ...

    def describe(self) -> str:
        """Say where it comes from."""
        ...


class PinFile:
    """A file of one line, mode 0600, read each time: a mended one works at once."""

    __slots__ = ("_path",)

    unattended = True

    def __init__(self, path: Path) -> None:
        self._path = path

    def ask(self, words: str) -> SecretBytes:  # noqa: ARG002  # the Protocol's
        """Return the PIN. Raises KeyFileUnreadable (empty, too), KeyFileExposed."""
        pin = files.read_private(self._path).rstrip("\r\n")
        if not pin.strip() or "\n" in pin:
            raise KeyFileUnreadable(f"'{self._path}' does not hold a PIN", hint="It is to have one line.")
        return SecretBytes(pin.encode())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the file's lock: of many workers that start with a wrong PIN, one tries it."""
        try:
            descriptor = files.open_locked(self._path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise KeyFileUnreadable(f"'{self._path}' cannot be read: {error.strerror}") from None
        try:
            yield
        finally:
            os.close(descriptor)

    def describe(self) -> str:
        return f"the PIN in '{self._path}'"


class PinPrompt:
    """Asks a person.

    Args:
        ask: shown one sentence, returns what was typed.
    """

    __slots__ = ("_ask",)

    unattended = False

    def __init__(self, ask: Callable[[str], str]) -> None:
        self._ask = ask

    def ask(self, words: str) -> SecretBytes:
        """Return the PIN.

        Raises:
            PinRefused: what was typed is none; a token would count it as a wrong one.
            ConfigError: nobody may be asked here; see :func:`~strongroom.keys.passphrase.unasked`.
        """
        if not may_ask():
            raise ConfigError(f"{words} is needed where nobody can be asked", hint="Give it in a 'pin_file'.")
        pin = self._ask(words)
        if not pin.strip() or any("\ud800" <= each <= "\udfff" for each in pin):
            raise PinRefused("what was typed is no PIN; none was tried", hint="Repeat. Nothing was counted.")
        return SecretBytes(pin.encode())

    @contextmanager
    def alone(self) -> Iterator[None]:
        yield

    def describe(self) -> str:
        return "the PIN that was typed"


# -- One login to a token in each process, begun again when the device comes back ---------------


T = TypeVar("T")

_ATTEMPTS = 4


class Token:
    """A token and how to log in to it. Making one calls nothing.

    Args:
        module: the PKCS#11 library's path.
        label, serial: which token; at least one of them.
        pin: where the PIN comes from.
    """

    __slots__ = (
        "_accepted",
        "_generation",
        "_keys",
        "_lost",
        "_pin",
        "_session",
        "label",
        "module",
        "serial",
    )

    def __init__(
        self, *, module: Path, pin: Pin, label: str | None = None, serial: str | None = None
    ) -> None:
        if not label and not serial:
            raise ConfigError("a token is named by its label or its serial number")
        self.module = module
        self.label = label
        self.serial = serial
        self._pin = pin
        self._session: Any = None
        self._accepted: SecretBytes | None = None
        self._lost = False
        self._generation = 0
        self._keys: dict[object, Any] = {}

    def describe(self) -> str:
        """Name the token in words."""
        return f"the token `{self.label}`" if self.label else f"the token with serial number {self.serial}"

    def __repr__(self) -> str:
        return f"Token({self.describe()})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an object that holds a key must not be pickled")

    def do(self, action: Callable[[Any], T]) -> T:
        """Run ``action`` with the process's session, alone in this process.

        Raises:
            KeyServiceUnavailable: the device did not answer, and not on beginning again either.
            PinRefused, PinLocked: see :meth:`_login`; a wrong PIN is never tried twice.
            KeyServiceError: any other refusal.
        """
        with one_at_a_time():
            return self._once_more(lambda: action(self._opened()))

    def do_writing(self, action: Callable[[Any], T]) -> T:
        """Do the same with a session that may write to the token."""

        def run() -> T:
            session = self._opened().token.open(rw=True)
            try:
                return action(session)
            finally:
                with suppress(Exception):  # what went wrong before says more
                    session.close()

        with one_at_a_time():
            self._once_more(self._opened)  # nothing is written before the token is there
            return self._guarded(run)

    def key(self, session: Any, name: object, find: Callable[[Any], Any]) -> Any:
        """Return a key object, looked for once a session."""
        if name not in self._keys:
            self._keys[name] = find(session)
        return self._keys[name]

    def begin_again(self) -> None:
        """Initialize the library anew on next use, as after a loss."""
        with one_at_a_time():
            library(self.module).lose()

    def _once_more(self, run: Callable[[], T]) -> T:
        """Begin again at once after a loss, a few times: a device that was away is back.

        More than once, since a token that others log in to meanwhile may answer with nonsense (see
        :meth:`_opened`). A device that is not there is looked for anew only if it was there before.
        """
        for _ in range(_ATTEMPTS - 1):
            begun, self._lost = library(self.module).generation, False
            try:
                return self._guarded(run)
            except KeyServiceUnavailable:
                if begun != library(self.module).generation and not self._lost:
                    raise
        return self._guarded(run)

    def _guarded(self, run: Callable[[], T]) -> T:
        """Translate the binding's errors.

        They are dropped before ours is raised: they keep search objects alive, which would call
        into the library when they are collected, in whichever thread, without the lock.
        """
        from pkcs11.exceptions import PKCS11Error

        try:
            return run()
        except PKCS11Error as error:
            problem = translate(error, self.describe())
            if is_lost(error):
                self._lost = True
                self._lose()
        raise problem

    def _lose(self) -> None:
        self._session = None
        library(self.module).lose()

    def _opened(self) -> Any:
        held = library(self.module)
        if self._session is None or held.is_stale or self._generation != held.generation:
            self._keys.clear()
            self._session = None
            # SoftHSM writes a token's file anew at every login, and a process that begins meanwhile
            # reads half of it: no token, or one without a PIN. So begin, too, while we are alone.
            with self._pin.alone():
                self._session = self._login(held.handle())
            self._generation = held.generation
        return self._session

    def _find(self, handle: Any) -> Any:
        """Return the one token of that label and serial number, as the library sees it now."""
        found, seen = [], []
        for slot in handle.get_slots(token_present=True):
            with suppress(_pkcs11_error()):  # a reader without a usable card is none of ours
                token = slot.get_token()
                seen.append(str(token.label).strip())
                if self._is(token):
                    found.append(token)
        if len(found) > 1:
            raise KeyServiceError(f"there are several tokens like {self.describe()}", hint=_BY_SERIAL)
        if not found:
            self._lose()  # the library looks for devices when it is initialized
            there = ", ".join(f"`{label}`" for label in seen if label) or "none"
            raise KeyServiceUnavailable(f"{self.describe()} is not there; those that are: {there}")
        return found[0]

    def _is(self, token: Any) -> bool:
        serial = token.serial.decode("utf-8", "replace").strip("\0 ")
        return (not self.label or token.label.strip() == self.label) and (
            not self.serial or serial == self.serial
        )

    def _login(self, handle: Any) -> Any:
        """Open the session and log in, trying the PIN once.

        Unattended, a PIN is tried only while the token has counted no wrong one since the last
        good login: workers that start with a wrong PIN burn one try between them all, not one each.

        Raises:
            PinRefused: it is wrong, it was refused before, or a person has to log in first.
            PinLocked: the token takes no PIN any more.
        """
        token = self._find(handle)
        # Whether private keys are seen after a login only.
        if not bool(token.flags & LOGIN_REQUIRED) or token.serial in library(self.module).logged_in:
            return token.open()
        if is_locked(token):
            raise PinLocked(f"{self.describe()} has locked its PIN")
        if self._pin.unattended and has_wrong_try(token):
            raise PinRefused(f"{self._pin.describe()} is not tried{counter(token)}", hint=_BY_HAND)
        pin = self._ask(token)
        if library(self.module).refused.get((self.label, self.serial)) == pin:
            raise PinRefused(
                f"{self.describe()} has refused {self._pin.describe()} before; it is not tried again"
            )
        return self._try(token, pin)

    def _ask(self, token: Any) -> SecretBytes:
        """Return the PIN. A person types it once a process, not again when the device comes back."""
        if self._accepted is not None and not self._pin.unattended and not has_wrong_try(token):
            return self._accepted
        return self._pin.ask(f"PIN of {self.describe()}{counter(token)}")

    def _try(self, token: Any, pin: SecretBytes) -> Any:
        from pkcs11 import exceptions

        refusals = (
            exceptions.PinIncorrect,
            exceptions.PinInvalid,
            exceptions.PinLenRange,
            exceptions.PinLocked,
        )
        try:
            session, self._accepted = token.open(user_pin=pin.reveal().decode()), pin
            library(self.module).logged_in.add(token.serial)
            return session
        except exceptions.UserAlreadyLoggedIn:
            return token.open()  # the login is the process's, not the session's
        except refusals as error:
            problem = translate(error, self.describe())
        self._accepted = None
        library(self.module).refused[self.label, self.serial] = pin
        raise self._told(problem, token)

    def _told(self, problem: StrongroomError, token: Any) -> StrongroomError:
        """Add what the token says of its counter after the refusal."""
        with suppress(_pkcs11_error()):
            token = token.slot.get_token()
        kind = PinLocked if is_locked(token) else type(problem)
        return kind(problem.message + counter(token))


_BY_SERIAL = "Name it by its serial number."
_BY_HAND = (
    "Somebody or something gave a wrong PIN. Correct the PIN's file, then log in once by hand: "
    "a good login sets the token's counter back."
)


def _pkcs11_error() -> type[Exception]:
    from pkcs11.exceptions import PKCS11Error

    return PKCS11Error
