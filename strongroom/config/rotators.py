"""What gives secrets new values, in an incident or because they have been in use for long."""

# Annotations are no text here: see strongroom.config.schema.
from collections.abc import Iterator, Mapping, Sequence
from math import log2
from typing import Annotated, Any, ClassVar, Literal, TypeGuard

from msgspec import Meta, field

from strongroom.config.kinds import KindSection, Misfit
from strongroom.config.schema import SettingsSection
from strongroom.config.shared import VaultName
from strongroom.config.values import Duration, Name, Text
from strongroom.system.errors import PluginBroken

ROTATOR_KIND = Meta(description="Which kind of rotator this is.")
_Field = Annotated[
    str,
    Meta(
        description="Field of a JSON object that holds the value; its other fields stay as they are.",
        examples=["password"],
        extra={"default": "the whole value, or the only field"},
    ),
]
_Length = Annotated[int, Meta(ge=12, le=4096, description="How many characters.", examples=[40])]
_Alphabet = Annotated[
    Literal["alphanumeric", "letters", "digits", "hex"],
    Meta(description="Which characters.", examples=["alphanumeric"]),
]
_Symbols = Annotated[
    str, Meta(description="Further characters, of which at least one is in each value.", examples=["-_.~"])
]
_Command = Annotated[
    tuple[Text, ...],
    Meta(
        min_length=1,
        description="Program, by its absolute path, and its arguments. No shell reads them. It gets the new "
        "value on its standard input, and the secret's name in `ROTATE_SECRET`. If its exit code is not 0, "
        "the former value is made current again. After a crash it may get the same value a second time.",
        examples=[["/usr/local/bin/set-database-password", "--host", "db.example.org"]],
    ),
]


class RotatorKind(KindSection, frozen=True, kw_only=True):
    """Which secrets a rotator is for, and what every kind has. The first that fits a secret is used.

    ``MADE_BY`` makes, of its name, its settings and all settings, what it does: a
    :class:`~strongroom.operations.engine.services.RotatorWork`.
    """

    FAMILY: ClassVar[str] = "rotators"

    source: Annotated[
        Name | None,
        Meta(description="The source whose secrets it is for.", examples=["vault"], extra={"default": "any"}),
    ] = None
    destination: Annotated[
        Name | None,
        Meta(
            description="The source whose login writes the new value, where that of `source` may only read. "
            "It has to be on the same server.",
            examples=["recovery"],
            extra={
                "default": "of a Vault: the one source of the same address and namespace that has "
                "`destination = true`; else the source itself"
            },
        ),
    ] = None
    include: Annotated[
        tuple[Text, ...],
        Meta(
            description="Patterns (`*`, `?`, `[…]`, case counts) of names that it is for.",
            examples=[["prod/db/*"]],
            extra={"default": "every name; then `tags` has to say which"},
        ),
    ] = ()
    exclude: Annotated[
        tuple[Text, ...], Meta(description="Patterns of names that it is not for.", examples=[["*/legacy"]])
    ] = ()
    tags: Annotated[
        dict[str, str],
        Meta(description="Tags of the secrets that it is for, all of them.", examples=[{"rotate": "random"}]),
    ] = field(default_factory=dict)
    check: Annotated[
        tuple[Text, ...],
        Meta(
            description="Program that tries the new value, which it gets on its standard input. Exit code 0 "
            "says that it works.",
            examples=[["/usr/local/bin/try-login"]],
            extra={"default": "nothing is tried"},
        ),
    ] = ()
    timeout: Annotated[
        Duration,
        Meta(
            ge=1,
            le=3600,
            description="How long a program, or a rotation by others, may take.",
            examples=["2m"],
        ),
    ] = 60
    to_do: Annotated[
        str,
        Meta(
            description="What a person must still do afterwards; printed for each secret.",
            examples=["restart the web servers of the shop"],
        ),
    ] = ""
    field: _Field = ""

    def unfit(self) -> Iterator[Misfit]:
        return _relative("check", self.check)

    @classmethod
    def stand_in(cls, kind: str, raw: Mapping[str, Any], broken: PluginBroken) -> SettingsSection:
        """Return what keeps its secrets from being left to the next rotator, which may not know them."""
        tags = raw.get("tags")
        return UnusableRotator(
            kind=kind,
            problem=broken.message,
            mend=broken.hint,
            source=source if isinstance(source := raw.get("source"), str) else None,
            include=_texts(raw.get("include")),
            exclude=_texts(raw.get("exclude")),
            tags=dict(tags) if isinstance(tags, Mapping) and all(map(_is_text, tags.values())) else {},
        )


def _texts(listed: object) -> tuple[str, ...]:
    return tuple(filter(_is_text, listed)) if isinstance(listed, list) else ()


def _is_text(given: object) -> TypeGuard[str]:
    return isinstance(given, str)


_PATH = 'Write where it is, for example: ["/usr/local/bin/try-login"].'
LEAST_BITS = 64
CHARACTERS = {"alphanumeric": 62, "letters": 52, "digits": 10, "hex": 16}


def _relative(key: str, program: Sequence[str]) -> Iterator[Misfit]:
    if program and not program[0].startswith("/"):
        yield Misfit((key,), "the program is not named by its absolute path", _PATH)


def _weak(length: int, alphabet: str, symbols: str) -> Iterator[Misfit]:
    """Yield that values can be guessed."""
    bits = length * log2(CHARACTERS[alphabet] + len(set(symbols)))
    if bits < LEAST_BITS:
        what = f"values of {bits:.0f} bits can be guessed"
        yield Misfit(("length",), what, f"Make it longer: {LEAST_BITS} bits at least.")


class RandomRotator(RotatorKind, frozen=True, kw_only=True):
    """Writes a random value. Whatever checks the value has to read it at the source by itself."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.jobs:random_work"

    kind: Annotated[Literal["random"], ROTATOR_KIND]
    length: _Length = 32
    alphabet: _Alphabet = "alphanumeric"
    symbols: _Symbols = ""

    def unfit(self) -> Iterator[Misfit]:
        yield from super().unfit()
        yield from _weak(self.length, self.alphabet, self.symbols)


class CommandRotator(RotatorKind, frozen=True, kw_only=True):
    """Writes a random value, then hands it to a program, which brings it to whatever checks it."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.jobs:command_work"

    kind: Annotated[Literal["command"], ROTATOR_KIND]
    command: _Command
    length: _Length = 32
    alphabet: _Alphabet = "alphanumeric"
    symbols: _Symbols = ""

    def unfit(self) -> Iterator[Misfit]:
        yield from super().unfit()
        yield from _relative("command", self.command)
        yield from _weak(self.length, self.alphabet, self.symbols)


class VaultEngineRotator(RotatorKind, frozen=True, kw_only=True):
    """Has a secrets engine of a Vault rotate, such as `database`, and writes what it made to the secret."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.jobs:engine_work"

    kind: Annotated[Literal["vault-engine"], ROTATOR_KIND]
    vault: Annotated[VaultName, Meta(examples=["main"])]
    rotate: Annotated[
        Text,
        Meta(
            description="Path that is written to. `{last}` stands for the last part of the secret's name.",
            examples=["database/rotate-role/{last}"],
        ),
    ]
    read: Annotated[
        str,
        Meta(
            description="Path that gives the new value, if the engine gives it. Without one, the secret is "
            "left as it is, and what it holds is void.",
            examples=["database/static-creds/{last}"],
        ),
    ] = ""
    read_field: Annotated[
        Text, Meta(description="Field of that answer that holds the value.", examples=["password"])
    ] = "password"

    @property
    def on_vault(self) -> str | None:
        return self.vault

    def unfit(self) -> Iterator[Misfit]:
        yield from super().unfit()
        if self.check and not self.read:
            yield Misfit(
                ("check",), "there is nothing to try: 'read' is missing", "Add read, or leave it out."
            )


class AwsRotator(RotatorKind, frozen=True, kw_only=True):
    """Has Secrets Manager run the rotation function that the secret has, and waits for its end."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.jobs:aws_work"

    kind: Annotated[Literal["aws"], ROTATOR_KIND]


class UnusableRotator(RotatorKind, frozen=True, kw_only=True):
    """What stands in for a rotator whose plug-in cannot be used: its secrets are left to no other one."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.jobs:broken_work"

    kind: str
    problem: str
    mend: str
