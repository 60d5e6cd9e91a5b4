"""What a record says of its fields is what can be typed, and what was typed comes back as the record."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from shlex import split
from typing import Annotated

import pytest
from msgspec import Struct

import strongroom
from strongroom.cli.parameters import (
    argument,
    command_line,
    declare,
    group,
    limit,
    one_of,
    option,
    record_of,
    words_of,
)
from strongroom.cli.parser import Parser, load, parse
from strongroom.cli.table import COMMANDS
from strongroom.errors import UsageError
from tests.cli.test_work_halves import parsers


class Fruit(StrEnum):
    APPLE = "apple"
    PEAR = "pear"


@one_of(required=True)
class Basket(Struct, frozen=True, kw_only=True):
    left: Annotated[str | None, option("the left one", metavar="NAME")] = None
    right: Annotated[str | None, option("the right one", metavar="NAME")] = None


@group("which colour")
class Colours(Struct, frozen=True, kw_only=True):
    dark: Annotated[bool, option("only dark ones")] = False


class Pick(Struct, frozen=True, kw_only=True):
    name: Annotated[str, argument("its name", metavar="NAME")]
    files: Annotated[tuple[Path, ...], argument("where", metavar="FILE")] = ()
    basket: Basket
    colours: Colours = Colours()
    kind: Annotated[Fruit, option("which kind", metavar="KIND")] = Fruit.APPLE
    tag: Annotated[tuple[str, ...], option("repeatable")] = ()
    digest: Annotated[tuple[str, ...], option("in parts", many=True)] = ()
    count: Annotated[int | None, option("how many", read=limit)] = None
    origin: Annotated[str, option("from where", name="--from")] = "here"
    always: Annotated[bool, option(hidden=True)] = False


def parsed(*words: str) -> Pick:
    parser = Parser(prog="pick")
    declare(parser, Pick)
    return record_of(Pick, parser.parse_args(words))


def test_what_is_left_out_is_the_default_of_its_field() -> None:
    assert parsed("a", "--left", "x") == Pick(name="a", basket=Basket(left="x"))


def test_what_was_typed_comes_back_as_values_of_the_fields_types() -> None:
    words = ["a", "b", "c", "--right", "y", "--dark", "--kind", "pear", "--tag", "1", "--tag", "2"]
    words += ["--digest", "aa", "bb", "--count", "3", "--from", "there", "--always"]
    assert parsed(*words) == Pick(
        name="a",
        files=(Path("b"), Path("c")),
        basket=Basket(right="y"),
        colours=Colours(dark=True),
        kind=Fruit.PEAR,
        tag=("1", "2"),
        digest=("aa", "bb"),
        count=3,
        origin="there",
        always=True,
    )


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("a",), "one of the arguments --left --right is required"),
        (("a", "--left", "x", "--right", "y"), "not allowed with argument"),
        (("--left", "x"), "the following arguments are required: NAME"),
        (("a", "--left", "x", "--kind", "CANARY-plum"), "--kind: is one of apple, pear"),
        (("a", "--left", "x", "--count", "CANARY-many"), "--count: is a whole number from 1 to 1,000,000"),
    ],
)
def test_what_does_not_fit_is_refused_without_repeating_it(words: tuple[str, ...], why: str) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(*words)
    assert why in str(caught.value)
    assert "CANARY" not in str(caught.value)


def test_the_help_shows_groups_and_hides_what_is_hidden() -> None:
    parser = Parser(prog="pick")
    declare(parser, Pick)
    text = parser.format_help()
    assert "which colour:\n  --dark" in text
    assert "(--left NAME | --right NAME)" in text
    assert "--always" not in text


@pytest.mark.parametrize("name", COMMANDS)
def test_no_two_fields_of_a_command_have_one_name(name: str) -> None:
    for parser in parsers(name):
        typed = [action.dest for action in parser._actions]
        assert len(typed) == len(set(typed))


def test_an_option_beside_another_that_it_goes_with_is_refused_in_words_of_its_own() -> None:
    with pytest.raises(UsageError, match="--follow goes with --cluster"):
        parse("restore", ["--follow", "--full-restore"])


SAID_AGAIN = [
    ("restore", "--full-restore --from-target a --from-target b --at 2026-07-20 --signer sr1:x --to other"),
    ("restore", "--secret-name -odd --version 3 --backup-file full.sr --identity my.key --confirm-overwrite"),
    ("restore", "--plan 'a plan' --passphrase-file words --force"),
    ("restore undo", "20260720-1 --include 'S*' --include=-x --cluster --follow"),
    ("restore snapshot", "--backup-file 1.strongroom 2.strongroom --vault main"),
    ("drill", "category --tag a=b --objective 90s --random-within 7"),
    ("incident", "open --key laptop --reason 'it is lost' --since 2026-07-20 --due 24h"),
    ("incident", "waive 1 reseal --reason 'test data'"),
    ("recover", "--resume 1 --from-target copy --at 2026-07-20T18:00 --ask-passphrase"),
    ("check secrets", "--secrets A B --source local"),
    ("secrets rotate", "A B --incident 1 --dry-run"),
]


@pytest.mark.parametrize(("command", "typed"), SAID_AGAIN)
def test_a_record_says_the_words_that_give_it_again_from_any_folder(
    command: str, typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = typed.replace("--secret-name -odd", "--secret-name=-odd")
    given = parse(command, split(typed)).given
    word = [split(typed)[0]] if load(command).words else []
    line = split(command_line(command, given))
    assert line[: 1 + len(command.split())] == ["strongroom", *command.split()]
    again = [*word, *line[1 + len(command.split()) :]]
    first = list(words_of(parse(command, again).given))
    monkeypatch.chdir(tmp_path)
    assert list(words_of(parse(command, again).given)) == first == again[len(word) :]


def test_what_is_read_from_a_pipe_is_not_to_be_typed_again() -> None:
    given = parse("recover", ["--passphrase-file", "/dev/fd/9", "--identity", "/my.key"]).given
    assert command_line("recover", given) == "strongroom recover --identity /my.key"


def test_what_argparse_made_of_a_line_is_known_where_it_is_parsed_alone() -> None:
    """Whatever else takes a Namespace takes what nobody declared."""
    cli = Path(strongroom.__file__).parent / "cli"
    naming = {str(file.relative_to(cli)) for file in cli.rglob("*.py") if "Namespace" in file.read_text()}
    assert naming <= {"parameters.py", "parser.py"}
    parsing = {str(file.relative_to(cli)) for file in cli.rglob("*.py") if "argparse" in file.read_text()}
    of_parsers = {"reference.py", "commands/setup/completion.py"}  # they read which parameters there are
    assert parsing == {"parameters.py", "parser.py"} | of_parsers
