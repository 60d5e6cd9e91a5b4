"""hsm: make the keys that the configuration names in their token, list them, log in by hand."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from strongroom.cli.parser import Parser
from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.command import Command
from strongroom.cli.terminal.output import Output, fields, table
from strongroom.errors import UsageError

if TYPE_CHECKING:
    from strongroom.config import Pkcs11Key
    from strongroom.keys.pkcs11.session import Token


def _arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    create = actions.add_parser("create", help="make a configured key in its token; it never leaves it")
    show = actions.add_parser("list", help="list the keys in a configured key's token")
    login = actions.add_parser("login", help="log in with a typed PIN: that sets the token's counter back")
    for action in (create, show, login):
        action.add_argument("key", metavar="KEY", help="a configured key of kind pkcs11")


def _hsm(arguments: Namespace, output: Output) -> None:
    from strongroom.cli.shared.settings import settings  # noqa: PLC0415 - the whole configuration
    from strongroom.config import Pkcs11Key  # noqa: PLC0415

    found = settings().keys.get(arguments.key)
    if not isinstance(found, Pkcs11Key):
        raise UsageError(f"There is no configured key '{arguments.key}' of kind pkcs11.")
    {"create": _create, "list": _list, "login": _login}[arguments.action](arguments.key, found, output)


def _create(name: str, key: Pkcs11Key, output: Output) -> None:
    """Make the key; it is believed only after it opened what was sealed for it."""
    from strongroom.keys.pkcs11.provision import generate_aes, generate_ec  # noqa: PLC0415

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
        "It cannot be read out: without the token or its own backup, what is sealed for it alone is lost.",
    ]


def _refuse_file(key: Pkcs11Key) -> None:
    from strongroom.system.atomic_file import refuse_existing  # noqa: PLC0415

    if key.public_key_file is not None:
        refuse_existing(key.public_key_file, replace=False)


def _kept(name: str, key: Pkcs11Key, public: str) -> list[str]:
    """Write the public half where the configuration looks for it, or say where it belongs."""
    from strongroom.system.atomic_file import write_whole  # noqa: PLC0415

    if key.public_key_file is None:
        return [
            "Its public half, all that a backup host needs (public_key_file):",
            "",
            public,
        ]
    write_whole(key.public_key_file, f"{public}\n".encode())
    key.public_key_file.chmod(0o644)
    return [f"{key.public_key_file} holds its public half, all that a backup host needs."]


def _list(name: str, key: Pkcs11Key, output: Output) -> None:
    from strongroom.keys.pkcs11.objects import versions  # noqa: PLC0415

    token = _token(name, key)
    kinds = {"ec": "PRIVATE_KEY", "aes": "SECRET_KEY"}
    rows = [(label, version, kind) for kind, of in kinds.items() for label, version in versions(token, of)]
    document: dict[str, Any] = {
        "token": key.token,
        "keys": [{"label": label, "version": version, "mechanism": kind} for label, version, kind in rows],
    }
    lines = table(("LABEL", "VERSION", "MECHANISM"), rows)
    output.answer(document, lines if rows else [f"{token.describe()} holds no key."])


def _login(name: str, key: Pkcs11Key, output: Output) -> None:
    """Log in as a person does, who is told how the counter stands; a PIN's file is not looked at."""
    from strongroom.keys.pkcs11.pin import PinPrompt  # noqa: PLC0415
    from strongroom.keys.pkcs11.provision import next_version  # noqa: PLC0415

    token = _token(name, key, PinPrompt(lambda words: prompts.hidden(f"{words}: ")))
    free = next_version(token)
    output.answer(
        {"token": key.token, "next_version": free},
        fields([("logged in to", token.describe()), ("next free version", free)]),
    )


def _token(name: str, key: Pkcs11Key, pin: Any = None) -> Token:
    from strongroom.cli.shared.settings import asking  # noqa: PLC0415
    from strongroom.keys.pkcs11.session import Token  # noqa: PLC0415
    from strongroom.wiring.key_services import token  # noqa: PLC0415

    if pin is None or key.module is None:
        return token(name, key, asking())
    return Token(module=key.module, label=key.token, pin=pin)


COMMANDS = {
    "hsm": Command(_arguments, _hsm, "Module, token, label, version and PIN are those of [keys.KEY].")
}
