"""Showing a value to a person: the one place of the command line that reveals any."""

from __future__ import annotations

import os
from argparse import Namespace
from typing import NamedTuple

from strongroom.cli.shared import access_log, approval
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.container.manifest import Manifest
from strongroom.model import COMMAND, ApprovalAction, SecretBytes
from strongroom.operations.evidence import access_log as evidence_access_log


class ValueHolder(NamedTuple):
    """What holds a value: in words, and as an approval is bound to it."""

    words: str
    what: str
    policy: str = ""

    @classmethod
    def backup(cls, manifest: Manifest) -> ValueHolder:
        policy = "" if manifest.policy == COMMAND else manifest.policy
        return cls(f"backup {manifest.backup_id}", manifest.backup_id, policy)


def reveal_value(
    value: SecretBytes,
    *,
    of: tuple[str, int],
    held_by: ValueHolder,
    arguments: Namespace,
    output: Output,
    installation: InstallationPlace,
) -> bytes:
    """Return a value for the screen, once that is approved, where a rule asks for it, and on record.

    Args:
        of: the secret's name, and the version's number.

    Raises:
        ApprovalNeeded, NotApproved: people have to approve it first, or did not.
    """
    name, version = of
    approval.require_approved(
        installation,
        ApprovalAction.EXPORT,
        {"shown": held_by.what, "name": name, "version": version},
        policy=held_by.policy,
        size=1,
        lines=(f"show version {version} of one secret of {held_by.words}, on {os.uname().nodename}",),
    )
    access_log.record_access(evidence_access_log.SHOWN, arguments, output, installation)
    return value.reveal()
