"""hsm: make the keys that the configuration names in their token, list them, log in by hand."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from strongroom.cli.shared.settings import asking
from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.config import Pkcs11Key, load_settings
from strongroom.errors import UsageError
from strongroom.keys.pkcs11.objects import versions
from strongroom.keys.pkcs11.pin import PinPrompt
from strongroom.keys.pkcs11.provision import generate_aes, generate_ec, next_version
from strongroom.keys.pkcs11.session import Token
from strongroom.sheet import Lines, Pairs, Sheet, Table
from strongroom.system.atomic_file import refuse_existing, write_whole
from strongroom.wiring.hsm import token


def create_key(arguments: Namespace, output: Output) -> Answer:
    """Make the key; it is believed only after it opened what was sealed for it."""
    name, key = arguments.key, _configured(arguments.key)
    token = _token(name, key)
    made = (
        f"{token.describe()} holds a new key `{key.label}` v{key.version}, tried with a wrap and an unwrap."
    )
    lost = "It cannot be read out. If the token and its copy are lost, so is every backup that only it opens."
    record: dict[str, object] = {"key": name, "version": key.version}
    if key.mechanism == "aes":
        record["id"] = generate_aes(token, key=key.label, version=key.version)
        parts = [Lines([f'key_id = "{record["id"]}"'], f"Add to [keys.{name}]", style="code")]
    else:
        _refuse_file(key)
        public = str(generate_ec(token, key=key.label, version=key.version))
        record["public_key"] = public
        parts = [_kept(key, public)]
    return Answer(record=record, sheet=Sheet(verdict=made, about=lost, parts=parts))


def _refuse_file(key: Pkcs11Key) -> None:
    if key.public_key_file is not None:
        refuse_existing(key.public_key_file, replace=False)


def _kept(key: Pkcs11Key, public: str) -> Lines:
    """Write the public half where the configuration looks for it, or say where it belongs."""
    if key.public_key_file is None:
        where = "Its public half, all that a backup host needs (public_key_file)"
        return Lines([public], where, style="code")
    write_whole(key.public_key_file, f"{public}\n".encode())
    key.public_key_file.chmod(0o644)
    return Lines([f"{key.public_key_file} holds its public half, all that a backup host needs."])


def list_keys(arguments: Namespace, output: Output) -> Answer:
    key = _configured(arguments.key)
    token = _token(arguments.key, key)
    kinds = {"ec": "PRIVATE_KEY", "aes": "SECRET_KEY"}
    rows = [(label, version, kind) for kind, of in kinds.items() for label, version in versions(token, of)]
    keys = [{"label": label, "version": version, "mechanism": kind} for label, version, kind in rows]
    table = Table(("Label", "Version", "Mechanism"), rows, nothing=f"{token.describe()} holds no key.")
    return Answer(record={"token": key.token, "keys": keys}, sheet=Sheet(parts=[table]))


def log_in(arguments: Namespace, output: Output) -> Answer:
    """Log in as a person does, who is told how the counter stands; a PIN's file is not looked at."""
    key = _configured(arguments.key)
    token = _token(arguments.key, key, PinPrompt(lambda words: prompts.hidden(f"{words}: ")))
    free = next_version(token)
    pairs = Pairs([("logged in to", token.describe()), ("next free version", free)])
    return Answer(record={"token": key.token, "next_version": free}, sheet=Sheet(parts=[pairs]))


def _configured(name: str) -> Pkcs11Key:
    key = load_settings().keys.get(name)
    if not isinstance(key, Pkcs11Key):
        raise UsageError(f"There is no configured key '{name}' of kind pkcs11.")
    return key


def _token(name: str, key: Pkcs11Key, pin: Any = None) -> Token:
    if pin is None or key.module is None:
        return token(name, key, asking())
    return Token(module=key.module, label=key.token, pin=pin)
