"""One login to a token in each process, begun again when the device comes back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from strongroom.errors import ConfigError, KeyServiceError, StrongroomError
from strongroom.keys.errors import KeyServiceUnavailable, PinLocked, PinRefused
from strongroom.keys.pkcs11 import pins
from strongroom.keys.pkcs11.failures import is_lost, translate
from strongroom.keys.pkcs11.library import library
from strongroom.keys.pkcs11.lock import one_at_a_time
from strongroom.keys.pkcs11.pin import Pin
from strongroom.model import SecretBytes

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
        if not pins.needs_login(token) or token.serial in library(self.module).logged_in:
            return token.open()
        self._before_pin(token)
        pin = self._ask(token)
        self._not_again(pin)
        return self._try(token, pin)

    def _ask(self, token: Any) -> SecretBytes:
        """Return the PIN. A person types it once a process, not again when the device comes back."""
        if self._accepted is not None and not self._pin.unattended and not pins.has_wrong_try(token):
            return self._accepted
        return self._pin.ask(f"PIN of {self.describe()}{pins.counter(token)}")

    def _before_pin(self, token: Any) -> None:
        if pins.is_locked(token):
            raise PinLocked(f"{self.describe()} has locked its PIN")
        if self._pin.unattended and pins.has_wrong_try(token):
            raise PinRefused(f"{self._pin.describe()} is not tried{pins.counter(token)}", hint=_BY_HAND)

    def _not_again(self, pin: SecretBytes) -> None:
        if library(self.module).refused.get((self.label, self.serial)) == pin:
            raise PinRefused(
                f"{self.describe()} has refused {self._pin.describe()} before; it is not tried again"
            )

    def _try(self, token: Any, pin: SecretBytes) -> Any:
        from pkcs11 import exceptions

        refusals = (
            exceptions.PinIncorrect,
            exceptions.PinInvalid,
            exceptions.PinLenRange,
            exceptions.PinLocked,
        )
        try:
            session, self._accepted = token.open(user_pin=_text(pin)), pin
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
        kind = PinLocked if pins.is_locked(token) else type(problem)
        return kind(problem.message + pins.counter(token))


_BY_SERIAL = "Name it by its serial number."
_BY_HAND = (
    "Somebody or something gave a wrong PIN. Correct the PIN's file, then log in once by hand: "
    "a good login sets the token's counter back."
)


def _pkcs11_error() -> type[Exception]:
    from pkcs11.exceptions import PKCS11Error

    return PKCS11Error


def _text(pin: SecretBytes) -> str:
    return pin.reveal().decode()
