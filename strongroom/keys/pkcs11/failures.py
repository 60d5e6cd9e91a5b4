"""What a PKCS#11 return code means for whoever waits for a key."""

from __future__ import annotations

import re

from strongroom.errors import KeyServiceError
from strongroom.keys.errors import (
    KeyDenied,
    KeyServiceUnavailable,
    MechanismMissing,
    PinLocked,
    PinRefused,
    TokenFull,
)

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
