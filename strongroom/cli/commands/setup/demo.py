"""demo: the whole way there and back, on made-up secrets, in under a minute.

Back up through the real cluster to three regions, lose the machine, and bring everything
back on another one with the recovery key alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from argparse import Namespace
from typing import Any

import msgspec

from strongroom.cli.commands.setup import demo_data
from strongroom.cli.commands.setup.demo_cluster import DemoBackup, back_up
from strongroom.cli.commands.setup.demo_display import Stages
from strongroom.cli.commands.setup.demo_place import Scratch, scratch
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural, size
from strongroom.container.errors import VerificationFailed
from strongroom.durations import measured
from strongroom.keys import roles
from strongroom.model import ListedSecret
from strongroom.sheet import Lines, Pairs, Part, Sheet, Table
from strongroom.sources.local import LocalStore
from strongroom.state.records import StepKind


def run_demo(arguments: Namespace, output: Output) -> Answer:
    began = time.monotonic()
    output.say(
        "Strongroom, there and back. All secrets are made up; everything happens in a scratch directory.\n"
    )
    with scratch(arguments.keep) as place:
        report = _there_and_back(place, Stages(output), arguments.secrets, output)
    return _answer(report | {"seconds": round(time.monotonic() - began, 1)})


def _there_and_back(place: Scratch, stages: Stages, count: int, output: Output) -> dict[str, Any]:
    place.use()
    _fill(place, stages, count)
    backup = back_up(place, stages, output)
    _steps(backup, stages)
    signer = _lose_everything(place, stages)
    region = backup.replicas[-1].target
    _restore(place, stages, region, signer)
    compared = _compare(place, stages, count)
    return _report(place, backup, stages, signer=signer, region=region, compared=compared)


def _fill(place: Scratch, stages: Stages, count: int) -> None:
    with stages.stage("Make a recovery key") as note:
        place.write_config(place.make_recovery_key())
        note("only its public half goes to the machine")
    with stages.stage("Fill the local store") as note:
        stored = LocalStore(place.state).import_(demo_data.secrets(count))
        note(plural(stored, "secret"))


def _steps(backup: DemoBackup, stages: Stages) -> None:
    said = {
        StepKind.CAPTURE: ("  seal", "read, seal, reopen, compare, stage"),
        StepKind.UPLOAD: ("  upload", "to three regions, read back"),
        StepKind.COMMIT: ("  commit", "the manifest, last"),
        StepKind.VERIFY: ("  verify", "read back from every region"),
    }
    for kind, (title, words) in said.items():
        many = backup.many(kind)
        stages.add(title, f"{plural(many, 'task')}: {words}", backup.spent(kind))
    bad = [replica.target for replica in backup.replicas if not replica.good]
    if bad or len(backup.replicas) != 3:
        raise VerificationFailed(
            f"Not every region holds a verified backup (bad: {', '.join(bad) or 'unknown'})."
        )


def _lose_everything(place: Scratch, stages: Stages) -> str:
    """Delete the machine; return the one line that was noted of it: its fingerprint."""
    with stages.stage("Lose the machine") as note:
        signer = roles.installation_fingerprint(place.state / "keys" / "roles")
        shutil.rmtree(place.state)
        note("state directory deleted: store, keys, configuration, catalog")
    return signer


def _restore(place: Scratch, stages: Stages, region: str, signer: str) -> None:
    command = [
        sys.executable,
        "-P",
        "-m",
        "strongroom.cli",
        "restore",
        "--from-target",
        str(place.region(region)),
        "--full-restore",
    ]
    command += ["--identity", str(place.recovery_key), "--signer", signer, "--json"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("STRONGROOM_")}
    env |= {
        "STRONGROOM_STATE_DIR": str(place.fresh),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    with stages.stage("Restore on a new machine") as note:
        done = subprocess.run(command, env=env, cwd=place.root, capture_output=True, text=True, check=False)
        if done.returncode:
            raise VerificationFailed(f"Restoring from {region} failed:\n{done.stderr.strip()}")
        note(f"from {region}, with the recovery key alone")


def _compare(place: Scratch, stages: Stages, count: int) -> int:
    """Compare every version of every secret with what was made up at the beginning."""
    with stages.stage("Compare every value") as note:
        wanted = list(demo_data.secrets(count))
        store = LocalStore(place.fresh)
        found = list(store.read([ListedSecret(secret.name, 0) for secret in wanted]))
        wrong = [a.name for a, b in zip(wanted, found, strict=True) if a != b]
        if wrong or sum(1 for _ in store.list()) != count:
            raise VerificationFailed(f"{plural(len(wrong), 'secret')} did not come back as they were.")
        note(f"{plural(count, 'secret')}, all versions, tags and dates: all equal")
    return count


def _report(
    place: Scratch, backup: DemoBackup, stages: Stages, *, signer: str, region: str, compared: int
) -> dict[str, Any]:
    run = backup.run
    return {
        "backup": run.id,
        "policy": run.spec.policy,
        "secrets": run.facts["counts"]["secrets"],
        "size": run.facts["counts"]["size"],
        "containers": run.facts["plan"]["pieces"],
        "regions": [
            {
                "region": replica.target,
                "good": replica.good,
                "verified": replica.verified,
                "holds": _held(place, replica.target),
            }
            for replica in backup.replicas
        ],
        "recipients": [pin.describes for pin in run.spec.recipients],
        "post_quantum": all(pin.post_quantum for pin in run.spec.recipients),
        "signer": signer,
        "restored_from": region,
        "compared": compared,
        "stages": msgspec.to_builtins(stages.over),
    }


def _held(place: Scratch, region: str) -> int:
    return sum(path.stat().st_size for path in place.region(region).rglob("*") if path.is_file())


def _answer(report: dict[str, Any]) -> Answer:
    regions = [
        (r["region"], size(r["holds"]), "good" if r["good"] else "BAD", r["verified"] or "never")
        for r in report["regions"]
    ]
    stages = [(took["stage"], measured(took["seconds"]), took["detail"]) for took in report["stages"]]
    end = f"All of it held, in {report['seconds']:.0f} s. Nothing is left running."
    parts: list[Part] = [
        Pairs(_facts(report), "What was backed up, and who can open it"),
        Table(("Region", "Size", "State", "Verified to"), regions, "Where it lies"),
        Table(("Step", "Time", "What"), stages, "How long each step took"),
        Lines([end]),
    ]
    return Answer(record=report, sheet=Sheet(parts=parts))


def _facts(report: dict[str, Any]) -> list[tuple[str, str]]:
    opens = "; ".join(report["recipients"])
    containers = plural(report["containers"], "sealed container")
    equal = f"{report['compared']:,} of {report['secrets']:,}"
    return [
        ("Backup", f"{report['backup']}, policy {report['policy']}"),
        ("Secrets", f"{report['secrets']:,} in {containers}, {size(report['size'])}"),
        ("Who can open it", f"{opens}, and nobody else: not the machine that made it"),
        ("Signed by", report["signer"]),
        ("Brought back", f"from {report['restored_from']} alone, on a new machine: {equal} equal"),
    ]
