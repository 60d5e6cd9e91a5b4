"""People with real SSH keys, who sign with OpenSSH's own program."""

from __future__ import annotations

import base64
import subprocess
from dataclasses import dataclass
from pathlib import Path

from strongroom.operations.engine.approvals import (
    BREAK_GLASS,
    NAMESPACE,
    ApprovalDocument,
    Signature,
    break_glass_message,
)


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody with a key of their own."""

    name: str
    file: Path

    @property
    def public(self) -> str:
        return " ".join(self.file.with_suffix(".pub").read_text().split()[:2])

    @property
    def key(self) -> bytes:
        return base64.b64decode(self.public.split()[1])

    def sign(self, message: bytes, *, namespace: str = NAMESPACE) -> str:
        """Return an armored signature by ``ssh-keygen -Y sign``."""
        command = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(self.file)]
        return subprocess.run(command, input=message, check=True, capture_output=True).stdout.decode()

    def approve(self, document: ApprovalDocument) -> Signature:
        return Signature(armored=self.sign(document.content))

    def break_glass(self, document: ApprovalDocument, reason: str) -> Signature:
        message = break_glass_message(document, reason)
        armored = self.sign(message, namespace=BREAK_GLASS)
        return Signature(armored=armored, break_glass=True, reason=reason)


def person(folder: Path, name: str, *options: str) -> Person:
    """Make somebody a key; ed25519 unless options say otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name.partition("@")[0]
    command = ["ssh-keygen", "-q", "-N", "", "-C", name, "-f", str(file), *(options or ("-t", "ed25519"))]
    subprocess.run(command, check=True, capture_output=True)
    return Person(name=name, file=file)


def allow(file: Path, *people: Person, options: str = "") -> Path:
    """Write a file of allowed signers."""
    lines = (f"{one.name} {options + ' ' if options else ''}{one.public}\n" for one in people)
    file.write_text("# who may approve\n\n" + "".join(lines))
    file.chmod(0o644)
    return file
