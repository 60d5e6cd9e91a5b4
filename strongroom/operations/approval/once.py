"""Each approval is used once: by one run, or by one command.

Two records hold it. A lease in the state database keeps another host from using it as well. A file of this
host's own keeps whoever edits the database from having it used again.
"""

from __future__ import annotations

from pathlib import Path

from strongroom.operations.approval.record import LONGEST
from strongroom.operations.approval.request import ApprovalDocument
from strongroom.operations.services import Services
from strongroom.system.atomic_file import write_whole

SPENT = "spent"


def is_ours(services: Services, document: ApprovalDocument, holder: str) -> bool:
    """Tell whether this host has used it for this run before."""
    return _read(_file(services, document)) == holder


def take(services: Services, document: ApprovalDocument, holder: str) -> bool:
    """Take an approval for a run or a command; return whether it has it now, or had it before."""
    file = _file(services, document)
    if (known := _read(file)) not in ("", holder):
        return False
    if services.store.take_lease(_lease(document), holder, seconds=LONGEST + 86_400.0) != holder:
        return False
    if not known:
        _write(file, holder)
    return True


def spend(services: Services, document: ApprovalDocument) -> None:
    """Let nobody use it any more, not even who had it: what was approved is over."""
    _write(_file(services, document), SPENT)


def _file(services: Services, document: ApprovalDocument) -> Path:
    return services.state_dir / "approvals" / document.id


def _lease(document: ApprovalDocument) -> str:
    return f"approval {document.id}"


def _write(file: Path, user: str) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(file, user.encode(), replace=True)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
