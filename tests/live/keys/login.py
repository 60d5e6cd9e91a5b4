"""One login to a token from a process of its own, or one look at its flags."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from strongroom.keys.errors import PinRefused
from strongroom.keys.pkcs11 import session
from strongroom.keys.pkcs11.session import PinFile, Token
from strongroom.keys.pkcs11.token_keys import next_version


def login(module: str, label: str, pin: str) -> str:
    try:
        next_version(Token(module=Path(module), label=label, pin=PinFile(Path(pin))))
    except PinRefused as error:
        return "not tried" if "is not tried" in error.message else "refused"
    return "in"


def flags(module: str, label: str) -> bool:
    import pkcs11

    return session.has_wrong_try(pkcs11.lib(module).get_token(token_label=label))


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    sys.stdout.write(json.dumps(flags(*rest)) if what == "flags" else login(*rest))
