"""completion: the script that completes commands, options and files in a shell."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from strongroom.cli.parser import PROGRAM, whole_parser
from strongroom.cli.terminal.command import Command
from strongroom.cli.terminal.output import Output

SHELLS = ("bash", "zsh")


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash or zsh")


def _completion(arguments: Namespace, output: Output) -> None:
    import shtab  # noqa: PLC0415 - used once in a machine's life

    parser = whole_parser()
    _complete_files(parser, shtab.FILE)
    script: str = shtab.complete(parser, shell=arguments.shell)
    output.answer({"shell": arguments.shell, "script": script}, script.rstrip("\n").split("\n"))


def _complete_files(parser: ArgumentParser, files: object) -> None:
    """Complete with files whatever takes one, in every command."""
    for action in parser._actions:  # noqa: SLF001 - shtab asks for an attribute on each action
        if action.metavar in ("FILE", "PATH[:FORMAT]"):
            action.complete = files  # type: ignore[attr-defined]
        if isinstance(action.choices, dict):
            for command in action.choices.values():
                _complete_files(command, files)


COMMANDS = {
    "completion": Command(
        _arguments,
        _completion,
        f"  bash:  {PROGRAM} completion bash > ~/.local/share/bash-completion/completions/{PROGRAM}\n"
        f"  zsh:   {PROGRAM} completion zsh > a directory of $fpath, as _{PROGRAM}",
    )
}
