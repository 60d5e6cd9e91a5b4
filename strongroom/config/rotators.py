"""What gives secrets new values, in an incident or because they have been in use for long."""

# Annotations are no text here: see strongroom.config.schema.
from typing import Annotated, Literal

from msgspec import Meta, field

from strongroom.config.kinds import KindSection
from strongroom.config.shared import VaultName
from strongroom.config.values import Duration, Name, Text

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


class RotatorSection(KindSection, frozen=True, kw_only=True):
    """Which secrets a rotator is for, and what every kind has. The first that fits a secret is used."""

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


class RandomRotator(RotatorSection, frozen=True, kw_only=True):
    """Writes a random value. Whatever checks the value has to read it at the source by itself."""

    kind: Annotated[Literal["random"], ROTATOR_KIND]
    field: _Field = ""
    length: _Length = 32
    alphabet: _Alphabet = "alphanumeric"
    symbols: _Symbols = ""


class CommandRotator(RotatorSection, frozen=True, kw_only=True):
    """Writes a random value, then hands it to a program, which brings it to whatever checks it."""

    kind: Annotated[Literal["command"], ROTATOR_KIND]
    command: _Command
    field: _Field = ""
    length: _Length = 32
    alphabet: _Alphabet = "alphanumeric"
    symbols: _Symbols = ""


class VaultEngineRotator(RotatorSection, frozen=True, kw_only=True):
    """Has a secrets engine of a Vault rotate, such as `database`, and writes what it made to the secret."""

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
    field: _Field = ""


class AwsRotator(RotatorSection, frozen=True, kw_only=True):
    """Has Secrets Manager run the rotation function that the secret has, and waits for its end."""

    kind: Annotated[Literal["aws"], ROTATOR_KIND]
    field: _Field = ""


RotatorSettings = RandomRotator | CommandRotator | VaultEngineRotator | AwsRotator
