"""hsm: make the keys that the configuration names in their token, list them, log in by hand."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from strongroom.cli.shared.settings import asking
from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.output import Output, fields, table
from strongroom.config import Pkcs11Key, load_settings
from strongroom.errors import UsageError
from strongroom.keys.pkcs11.objects import versions
from strongroom.keys.pkcs11.pin import PinPrompt
from strongroom.keys.pkcs11.provision import generate_aes, generate_ec, next_version
from strongroom.keys.pkcs11.session import Token
from strongroom.system.atomic_file import refuse_existing, write_whole
from strongroom.wiring.hsm import token


def create_key(arguments: Namespace, output: Output) -> None:
    """Make the key; it is believed only after it opened what was sealed for it."""
    name, key = arguments.key, _configured(arguments.key)
    token = _token(name, key)
    if key.mechanism == "aes":
        made = generate_aes(token, key=key.label, version=key.version)
        document = {"key": name, "id": made, "version": key.version}
        output.answer(
            document, [*_made(key, token), "", f"Add to [keys.{name}]:", "", f'  key_id = "{made}"']
        )
        return
    _refuse_file(key)
    public = str(generate_ec(token, key=key.label, version=key.version))
    lines = [*_made(key, token), "", *_kept(name, key, public)]
    output.answer({"key": name, "public_key": public, "version": key.version}, lines)


def _made(key: Pkcs11Key, token: Token) -> list[str]:
    return [
        f"{token.describe()} holds a new key `{key.label}` v{key.version}, tried with a wrap and an unwrap.",
        "It cannot be read out. If the token and its copy are lost, so is every backup that only it opens.",
    ]


def _refuse_file(key: Pkcs11Key) -> None:
    if key.public_key_file is not None:
        refuse_existing(key.public_key_file, replace=False)


def _kept(name: str, key: Pkcs11Key, public: str) -> list[str]:
    """Write the public half where the configuration looks for it, or say where it belongs."""
    if key.public_key_file is None:
        return [
            "Its public half, all that a backup host needs (public_key_file):",
            "",
            public,
        ]
    write_whole(key.public_key_file, f"{public}\n".encode())
    key.public_key_file.chmod(0o644)
    return [f"{key.public_key_file} holds its public half, all that a backup host needs."]


def list_keys(arguments: Namespace, output: Output) -> None:
    key = _configured(arguments.key)
    token = _token(arguments.key, key)
    kinds = {"ec": "PRIVATE_KEY", "aes": "SECRET_KEY"}
    rows = [(label, version, kind) for kind, of in kinds.items() for label, version in versions(token, of)]
    document: dict[str, Any] = {
        "token": key.token,
        "keys": [{"label": label, "version": version, "mechanism": kind} for label, version, kind in rows],
    }
    lines = table(("LABEL", "VERSION", "MECHANISM"), rows)
    output.answer(document, lines if rows else [f"{token.describe()} holds no key."])


def log_in(arguments: Namespace, output: Output) -> None:
    """Log in as a person does, who is told how the counter stands; a PIN's file is not looked at."""
    key = _configured(arguments.key)
    token = _token(arguments.key, key, PinPrompt(lambda words: prompts.hidden(f"{words}: ")))
    free = next_version(token)
    output.answer(
        {"token": key.token, "next_version": free},
        fields([("logged in to", token.describe()), ("next free version", free)]),
    )


def _configured(name: str) -> Pkcs11Key:
    key = load_settings().keys.get(name)
    if not isinstance(key, Pkcs11Key):
        raise UsageError(f"There is no configured key '{name}' of kind pkcs11.")
    return key


def _token(name: str, key: Pkcs11Key, pin: Any = None) -> Token:
    if pin is None or key.module is None:
        return token(name, key, asking())
    return Token(module=key.module, label=key.token, pin=pin)
