"""What no token that runs here does, and others do: PINs that lock, and codes for every kind of refusal."""

from __future__ import annotations

from types import SimpleNamespace

import pkcs11
import pytest
from pkcs11 import exceptions

from strongroom.errors import KeyServiceError
from strongroom.keys.errors import (
    KeyDenied,
    KeyServiceUnavailable,
    MechanismMissing,
    PinLocked,
    PinRefused,
    TokenFull,
)
from strongroom.keys.pkcs11 import session


def token(*flags: pkcs11.TokenFlag) -> SimpleNamespace:
    """A token's record as the binding gives it, of which the flags alone are looked at."""
    value = pkcs11.TokenFlag(0)
    for flag in flags:
        value |= flag
    return SimpleNamespace(flags=value)


FLAG = pkcs11.TokenFlag


@pytest.mark.parametrize(
    ("flags", "said", "wrong", "locked"),
    [
        ([FLAG.LOGIN_REQUIRED], "", False, False),
        (
            [FLAG.USER_PIN_COUNT_LOW],
            "; the token has counted a wrong PIN since the last good login",
            True,
            False,
        ),
        ([FLAG.USER_PIN_FINAL_TRY], "; one try is left, after a wrong one the token is locked", True, False),
        ([FLAG.USER_PIN_COUNT_LOW, FLAG.USER_PIN_LOCKED], "; the PIN is locked now", True, True),
    ],
)
def test_the_counter_is_told_by_the_flags_of_the_standard(
    flags: list[pkcs11.TokenFlag], said: str, wrong: bool, locked: bool
) -> None:
    found = token(*flags)
    assert session.counter(found) == said
    assert (session.has_wrong_try(found), session.is_locked(found)) == (wrong, locked)


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (exceptions.PinIncorrect, PinRefused),
        (exceptions.PinLenRange, PinRefused),
        (exceptions.PinLocked, PinLocked),
        (exceptions.PinExpired, PinRefused),
        (exceptions.MechanismInvalid, MechanismMissing),
        (exceptions.FunctionNotSupported, MechanismMissing),
        (exceptions.DeviceMemory, TokenFull),
        (exceptions.TokenWriteProtected, KeyDenied),
        (exceptions.DeviceRemoved, KeyServiceUnavailable),
        (exceptions.TokenNotPresent, KeyServiceUnavailable),
        (exceptions.SessionHandleInvalid, KeyServiceUnavailable),
        (exceptions.DomainParamsInvalid, KeyServiceError),
    ],
)
def test_a_return_code_becomes_an_error_that_says_where_and_what(
    raised: type[Exception], error: type[KeyServiceError]
) -> None:
    found = session.translate(raised(), "the token `backup`")
    assert type(found) is error
    assert found.message.startswith("the token `backup` ")
    assert session.is_lost(raised()) is (error is KeyServiceUnavailable)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (0x68, KeyDenied),  # CKR_KEY_FUNCTION_NOT_PERMITTED
        (0x190, KeyServiceUnavailable),  # CKR_CRYPTOKI_NOT_INITIALIZED
        (0x80000123, KeyServiceUnavailable),  # CKR_VENDOR_DEFINED
        (0x1B, KeyServiceError),
    ],
)
def test_a_code_without_a_class_in_the_binding_is_told_by_its_number(
    code: int, error: type[KeyServiceError]
) -> None:
    raised = exceptions.PKCS11Error(f"Unmapped error code {hex(code)}")
    assert type(session.translate(raised, "the token")) is error
    assert session.is_lost(raised) is (error is KeyServiceUnavailable)


def test_every_code_in_the_tables_is_one_of_the_bindings_or_of_ours() -> None:
    known = {name for name in dir(exceptions) if not name.startswith("_")}
    known |= {"VendorDefined", *session._CODES.values()}
    assert session.LOST | session.FOREIGN | session._KINDS.keys() <= known
