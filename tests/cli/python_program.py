"""A program of somebody's: it is checked by ``mypy --strict``, and run."""

from __future__ import annotations

import sys

import strongroom
from strongroom import ListedBackup, NewestUnseen, PlannedRestore, UntrustedSigner, WrongKey


def newest(client: strongroom.Client, policy: str) -> ListedBackup | None:
    """Return the newest backup of a policy that has a good replica."""
    return next((one for one in client.backups(policy=policy) if any(r.good for r in one.replicas)), None)


def main(policy: str, name: str) -> int:
    """Say how an installation stands, and what a restore of its newest backup would do."""
    with strongroom.Client() as client:
        found = newest(client, policy)
        if found is None:
            return 1
        states: list[str] = [run.state for run in client.runs(limit=5)]
        keys: list[str] = [alert.key for alert in client.alerts()]
        plan: PlannedRestore = client.restore_plan(found.id, to="local", plan_out="plan.jsonl")
        counts: tuple[int, int, int] = (plan.created, plan.left, plan.missing)
        actions = {entry.name: entry.action.value for entry in plan.entries}
    try:
        with strongroom.open(policy=policy, include=[name], at="2999-01-01") as backup:
            value: bytes = backup[name].reveal()
            chosen: str = backup.chosen
            names: list[str] = backup.names()
    except (UntrustedSigner, WrongKey, NewestUnseen) as error:
        sys.stderr.write(f"{error.message} {error.hint}\n")
        return error.exit_code
    sys.stdout.write(f"{found.id} {states} {counts} {actions}\n{len(keys)}\n{chosen}\n{names} {len(value)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
