"""What must not be together: a key and what it opens, a Vault and the only key to its backup."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from strongroom.cli.errors import UnsafeSetup
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.errors import TargetError
from strongroom.operations.key_management.misplaced_keys import keys_under

_VAULTS = ("vault", "raft")


def refuse_on_target(path: Path, place: InstallationPlace) -> None:
    """Refuse to write a key where backups lie, under whatever link. Raises UnsafeSetup."""
    folder = path.absolute().parent.resolve()
    for name, table in place.section("targets").items():
        target = place.path(table.get("path")) if table.get("kind") == "directory" else None
        if target is not None and folder.is_relative_to(target.resolve()):
            raise UnsafeSetup(
                f"{path} would be on the target '{name}': anyone who gets that has the backups and their key",
                hint="Never store a key with backups. Write it elsewhere.",
            )


def warn_of_keys_beside(file: Path, output: Output) -> None:
    """Say so if a private key lies in the folder that a backup is written to."""
    folder = file.absolute().parent
    try:
        found = list(keys_under(folder, deep=False))
    except TargetError:
        return  # writing there says what is wrong with it
    if found:
        output.warn(
            f"{', '.join(found)} in {folder} is a private key: anyone who gets that folder has the backup "
            "and a key. Keep them apart."
        )


def refuse_circular_keys(arguments: Namespace, names: list[str], place: InstallationPlace) -> None:
    """Refuse a backup of a Vault that only that Vault's own keys would open. Raises UnsafeSetup.

    Args:
        names: the configured keys that it is sealed for, if it is for nobody else.
    """
    source = getattr(arguments, "source", "")
    if not names or place.section("sources").get(source, {}).get("kind") not in _VAULTS:
        return
    from strongroom.config import load_settings
    from strongroom.config.checks.servers import SHUT_IN, needs_its_source

    if needs_its_source(load_settings(), source, names):
        raise UnsafeSetup(SHUT_IN[0], hint=SHUT_IN[1])
