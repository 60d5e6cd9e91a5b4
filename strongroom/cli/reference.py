"""The pages of commands and of exit codes, made from the parsers and the errors so that they cannot go stale,
and the same texts as pages of the manual.

``python scripts/make_reference.py`` writes the pages, and building the package the manual.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib import import_module
from textwrap import wrap
from types import ModuleType
from typing import Final

from strongroom import __version__
from strongroom.cli.parser import load, parser_of
from strongroom.cli.table import (
    ALSO,
    COMMANDS,
    GROUPS,
    INTRODUCTION,
    PROCEDURES,
    PROGRAM,
    summaries,
    summaries_of,
)
from strongroom.cli.terminal import failures
from strongroom.config.reference import reference_markdown
from strongroom.errors import FAMILIES, MODULES, StrongroomError, meaning_of

_HEAD = """\
# Commands

<!-- Made from the code: python scripts/make_reference.py -->

Run a command as `strongroom COMMAND`.
`python scripts/secrets_cli.py COMMAND` runs the same program.

- The answer goes to stdout.
  With `--json` it is exactly one JSON document, also after an error.
- Progress, remarks and errors go to stderr.
  Progress is shown on a terminal only, and `--quiet` leaves out progress and remarks.
- An error says what happened, what it means for the data, and what to do next ([exit codes](exit-codes.md)).
- A secret value is read from stdin or a hidden prompt, never from the command line.
- A passphrase is read from the first of these that is set: `--passphrase-file`, `STRONGROOM_PASSPHRASE_FILE`,
  `STRONGROOM_PASSPHRASE`, a hidden prompt.
- No file is overwritten without `--force`, and a new file gets its name only after it was read back.
- Reading and restoring from a file need no configuration, no database and no broker.
- `STRONGROOM_DEBUG=1` shows where an error came from, and never a value.

"""
_SHARED_HEAD = """\
## Options that several commands take

A command lists these by name alone.
Where it takes one with another meaning, that stands with the command.

"""
SEVERAL: Final = 3
"""An option that so many commands take with one meaning is described once."""
_CODES = """\
# Exit codes

<!-- Made from the code: python scripts/make_reference.py -->

The exit code of a command names a *family* of errors, which is what a shell script needs.
The error itself has a name, which the first line of its report on stderr gives: `strongroom: WrongKey`.
The report also says what to do, as `strongroom runs show RUN` does of a run that failed.
With `--json` the document has `error`, which is `null` if the exit code is 0.
Otherwise it holds `code` (the name), `family`, `exit_code`, `message`, `means`, `hint` (what to do) and
`transient` (whether trying again can help).
A command that answered before it ended with an error gives both: its answer, and `error`.

| Code | Family | Meaning |
|---:|---|---|
| 0 | | The command did its work, to the depth that the answer says. |
"""


def commands_markdown() -> str:
    """Return the page of commands."""
    shared = _shared()
    described = "".join(f"- `{shown}`: {meaning}\n" for shown, meaning in shared.items())
    return f"{_HEAD}{_SHARED_HEAD}{described}\n{''.join(_groups(shared))}".rstrip("\n") + "\n"


def exit_codes_markdown() -> str:
    """Return the page of exit codes."""
    return _CODES + "".join(_codes())


def _shared() -> dict[str, str]:
    """Return the options that several commands take with one meaning, each with its most common one."""
    every = Counter(
        option for name in COMMANDS for _, _, parser in _parsers(name) for option in _options(parser)
    )
    often = [option for option, many in every.most_common() if many >= SEVERAL]
    meanings = dict(reversed(often))
    return {shown: meanings[shown] for shown, _ in every if shown in meanings}


def _groups(shared: Mapping[str, str]) -> Iterator[str]:
    for group, commands in GROUPS.items():
        yield f"## {group}\n\n"
        for name in commands:
            yield _command(name, shared)
    yield "## Names from the procedures\n\n"
    yield "Each takes the options of the command that it stands for, and does what that does.\n\n"
    yield from (f"- `{name}`: `{words}`\n" for name, words in (PROCEDURES | ALSO).items())


def _command(name: str, shared: Mapping[str, str]) -> str:
    summary, details = COMMANDS[name].summary, load(name).details
    text = f"### {name}\n\n{summary[0].upper()}{summary[1:]}.\n\n"
    if details:
        text += f"```text\n{details}\n```\n\n" if "  " in details else f"{details}\n\n"
    for nested, description, parser in _parsers(name):
        text += f"#### {nested}\n\n{description}\n\n" if nested != name else ""
        text += _list(parser, shared)
    return text


def _parsers(name: str) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """Yield a command's parser and those nested in it, each with its name and what it does."""
    parser = parser_of(name)
    yield name, "", parser
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to look
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for word, inner in action.choices.items():
                yield f"{name} {word}", inner.description or "", inner


def _list(parser: argparse.ArgumentParser, shared: Mapping[str, str]) -> str:
    options = [*_options(parser)]
    own = [f"- `{shown}`: {meaning}\n" for shown, meaning in options if shared.get(shown) != meaning]
    also = [
        f"`{shown.split(' ')[0].rstrip(',')}`" for shown, meaning in options if shared.get(shown) == meaning
    ]
    lines = [*own, f"- and {', '.join(also)}\n"] if also else own
    return "".join(lines) + "\n" if lines else ""


def _options(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Yield what a command takes, as it is typed, and what it means."""
    for action in parser._actions:  # noqa: SLF001
        unseen = action.help == argparse.SUPPRESS or action.dest in ("help", "json", "quiet")
        if not unseen and not isinstance(action.choices, dict):
            takes = str(action.metavar or "") if action.nargs != 0 else ""
            repeated = " …" if action.nargs == "+" else ""
            yield f"{', '.join(action.option_strings)} {takes}".strip() + repeated, action.help or ""


def _codes() -> Iterator[str]:
    """Yield a row for each exit code, then a list of each family's errors."""
    families = {kind.exit_code: (f"`{kind.family}`", meaning_of(kind)) for kind in FAMILIES}
    for code, (name, meaning) in sorted((_OWN_CODES | families).items()):
        yield f"| {code} | {name} | {_cell(meaning)} |\n"
    for family in FAMILIES:
        yield f"\n## {family.family} ({family.exit_code})\n\n"
        yield from (
            _error(kind, family)
            for kind in (family, *leaves())
            if issubclass(kind, family) and kind.default_hint
        )


_OWN_CODES: Final = {
    failures.UNEXPECTED: ("", "Strongroom itself failed. Please report it, with the line that it prints."),
    failures.INTERRUPTED: ("", "Ctrl-C ended it. It left nothing half-written, or says what it left."),
    failures.BROKEN_PIPE: ("", "The program that read the output stopped reading."),
    failures.TERMINATED: ("", "SIGTERM ended it. It left nothing half-written, or says what it left."),
}


def _error(kind: type[StrongroomError], family: type[StrongroomError]) -> str:
    """Return the line of an error. What its family means stands in the table above."""
    meaning = meaning_of(kind)
    return f"- `{kind.__name__}`\n" if meaning == meaning_of(family) else f"- `{kind.__name__}`: {meaning}\n"


def leaves() -> list[type[StrongroomError]]:
    """Return every error that belongs to a family."""
    return [kind for name in MODULES for kind in _defined(import_module(name)) if kind.family]


def _defined(module: ModuleType) -> list[type[StrongroomError]]:
    return [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, StrongroomError) and kind.__module__ == module.__name__
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


# -- The manual: the same texts as `man` shows them -------------------------------------------------


def manual(date: str) -> dict[str, str]:
    """Return each page of the manual by the name of its file: ``strongroom.1``, a page for each word that a
    command begins with, and ``strongroom.toml.5``. ``date`` is when the package was made, as 2026-11-30."""
    settings = (
        "# DESCRIPTION\n" + reference_markdown().partition("-->")[2] + f"\n# SEE ALSO\n\n`{PROGRAM}(1)`\n"
    )
    texts = {
        f"{PROGRAM}.1": (INTRODUCTION.rstrip("."), _of_program()),
        f"{PROGRAM}.toml.5": ("configuration of Strongroom", settings),
        **{f"{PROGRAM}-{word}.1": (summary, _of_word(word)) for word, summary in summaries().items()},
    }
    pages = {}
    for file, (summary, text) in texts.items():
        name, _, section = file.rpartition(".")
        head = f'.TH {name.upper()} {section} {date} "strongroom {__version__}" Strongroom\n.ad l\n.nh\n'
        head += f".SH NAME\n{_in_roff(name)} \\- {_in_roff(summary)}\n"
        pages[file] = head + "".join(_roff(text))
    return pages


_SETTINGS_PAGE: Final = f"`{PROGRAM}.toml(5)`"


def _of_program() -> str:
    codes = exit_codes_markdown().partition("|---:|---|---|\n")[2].partition("\n\n")[0]
    families = [re.split(r"(?<!\\\\) \\| ", row.strip("| ")) for row in codes.splitlines()]
    return (
        f"# SYNOPSIS\n\n`{PROGRAM} COMMAND` …\n\n# DESCRIPTION\n"
        + _HEAD.partition("-->")[2].partition("`python scripts/secrets_cli.py")[0]
        + _HEAD.partition("runs the same program.")[2]
        + "".join(
            f"## {group}\n\n" + "".join(f"- `{PROGRAM} {word}`: {says}\n" for word, says in rows.items())
            for group in GROUPS
            if (rows := summaries_of(group))
        )
        + "\n# EXIT STATUS\n\n"
        + "".join(f"- `{code}`: {' '.join(rest)}\n" for code, *rest in families)
        + f"\n# SEE ALSO\n\n{', '.join(f'`{PROGRAM}-{word}(1)`' for word in summaries())}, {_SETTINGS_PAGE}\n"
    )


def _of_word(word: str) -> str:
    """Return what there is to say of the commands that begin with a word."""
    names = [name for name in COMMANDS if name.partition(" ")[0] == word]
    synopsis = "".join(f"{_typed(name, parser)}\n" for name in names for name, _, parser in _parsers(name))
    return (
        f"# SYNOPSIS\n\n```\n{synopsis}```\n\n"
        + "".join(_command(name, {}).replace("### ", f"# {PROGRAM} ", 1) for name in names)
        + f"# SEE ALSO\n\n`{PROGRAM}(1)`, {_SETTINGS_PAGE}\n"
    )


def _typed(name: str, parser: argparse.ArgumentParser) -> str:
    """Return how a command is typed, without its options."""
    words = [f"{PROGRAM} {name} [OPTION]..."]
    for action in parser._actions:  # noqa: SLF001
        if not action.option_strings and not isinstance(action.choices, dict):
            word = f"{action.metavar or action.dest.upper()}" + ("..." if action.nargs in ("+", "*") else "")
            words.append(f"[{word}]" if action.nargs in ("?", "*") else word)
    return " ".join(words)


_LEFT_OUT: Final = ("<!--", "|---", "| ---", "| Setting", "| Variable", "| Code")


def _roff(text: str) -> Iterator[str]:
    """Yield Markdown, as far as our pages use it, in the language of manual pages."""
    verbatim, new_paragraph, after_heading = False, False, True
    for line in text.splitlines():
        if line.startswith("```"):
            verbatim = not verbatim
            yield ("" if after_heading else ".PP\n") + ".nf\n" if verbatim else ".fi\n"
        elif verbatim:
            yield f"{_in_roff(line, code=True)}\n"
        elif not line:
            new_paragraph = not after_heading
        elif not line.startswith(_LEFT_OUT):
            request = _request(line)
            yield request or (".PP\n" if new_paragraph else "") + _filled(line.strip())
            new_paragraph = False
        after_heading = line.startswith("#") if line else after_heading


def _request(line: str) -> str:
    """Return the request for a line that is a heading, a row of a table or an item of a list."""
    if heading := re.fullmatch(r"(#+) (.*)", line):
        return f'.{"SH" if len(heading[1]) == 1 else "SS"} "{_in_roff(heading[2])}"\n'
    if line.startswith("| "):
        term, *cells = re.split(r"(?<!\\) \| ", line.strip("|").strip().replace("\\|", "|"))
        default = f" Default: {cells.pop(0)}." if len(cells) > 1 and cells[0] else ""
        return f".TP\n{_in_roff(term)}\n{_filled(' '.join(filter(None, cells)) + default)}"
    if item := re.fullmatch(r"- (`[^`]+`): (.*)", line):
        return f".TP\n{_in_roff(item[1])}\n{_filled(item[2])}"
    if item := re.fullmatch(r"(?:-|(\d\.)) (.*)", line):
        return f".IP {item[1] or chr(92) + '(bu'} 3\n{_filled(item[2])}"
    return ""


def _filled(text: str) -> str:
    lines = wrap(_in_roff(text), 78, break_long_words=False, break_on_hyphens=False)
    return "".join(f"\\&{line}\n" if line.startswith(".") else f"{line}\n" for line in lines)


def _in_roff(text: str, *, code: bool = False) -> str:
    """Return a line so that nothing of it is taken for a request, with what is typed in bold."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq").replace("'", "\\(aq")
    if not code:
        text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text)
        text = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", text)
    return f"\\&{text}" if text.startswith(".") else text
