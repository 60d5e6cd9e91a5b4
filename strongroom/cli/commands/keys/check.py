"""check keys: each key tried by itself, then on a backup of each class that needs it."""

from __future__ import annotations

from argparse import Namespace

from strongroom.cli.commands.keys.diagnose import diagnose
from strongroom.cli.commands.keys.health import prove_keys
from strongroom.cli.shared.options import refuse_beside
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output


def check_keys(arguments: Namespace, output: Output) -> Answer:
    if alone := bool(arguments.key or arguments.no_backups):
        option = "--key" if arguments.key else "--no-backups"
        refuse_beside(arguments, ("identity", "passphrase_file"), option)
    tried = diagnose(arguments.key, whole=alone)
    if alone:
        return tried
    return tried.joined(prove_keys(arguments, output))
