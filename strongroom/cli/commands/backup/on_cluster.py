"""backup --policy --cluster: the workers do what a backup in this process does."""

from __future__ import annotations

from argparse import Namespace

from strongroom.cli.commands.backup.by_policy import refuse_beside_policy
from strongroom.cli.shared.submission import answer_submission, known_policy
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.config import load_settings


def back_up_there(arguments: Namespace, output: Output) -> Answer:
    refuse_beside_policy(arguments)
    policy = known_policy(arguments.policy, load_settings())
    from tasks.backup import full_backup, metadata_backup

    task = full_backup if policy.kind == "full" else metadata_backup
    return answer_submission(task.delay(policy=arguments.policy), output, wait=arguments.follow)
