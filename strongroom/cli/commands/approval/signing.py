"""Signing with a person's own SSH key: OpenSSH does it, so that agents and hardware keys work."""

from __future__ import annotations

import base64
import binascii
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from strongroom.errors import Missing, UsageError
from strongroom.keys.sshsig import ssh_fingerprint

AGENT: Final = "agent"
_MISSING = (
    "Install OpenSSH's client. Or sign elsewhere: 'strongroom approvals show ID --output FILE', there "
    "'ssh-keygen -Y sign -n strongroom-approval -f KEY FILE', and here 'strongroom approvals add FILE.sig'."
)


def sign(message: bytes, *, namespace: str, key: str, allowed: Sequence[bytes]) -> str:
    """Return an armored signature by a key file, or by the key in the agent.

    Args:
        key: a file, or ``agent``.
        allowed: the public keys that count, as far as this host knows: of an agent's keys one of these is
            meant.

    Raises:
        UsageError: there is no such key, or OpenSSH did not sign.
        Missing: OpenSSH is not installed.
    """
    if key != AGENT:
        if not Path(key).is_file():
            raise UsageError(
                f"There is no file '{key}'.", hint="--key takes your SSH key's file, or 'agent'."
            )
        return _sign(message, namespace, ["-f", key])
    with tempfile.TemporaryDirectory(prefix="strongroom-") as folder:
        public = Path(folder) / "own.pub"
        public.write_text(_agent_key(allowed), encoding="ascii")
        return _sign(message, namespace, ["-U", "-f", str(public)])


def _sign(message: bytes, namespace: str, options: Sequence[str]) -> str:
    done = _run(["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, *options], message)
    if done.returncode != 0:
        raise UsageError("OpenSSH did not sign; its own message is above.", hint="Nothing was approved.")
    return done.stdout.decode("ascii", "replace")


def _agent_key(allowed: Sequence[bytes]) -> str:
    """Return the line of the agent's one key that counts."""
    done = _run(["ssh-add", "-L"], b"", quiet=True)
    lines = done.stdout.decode("utf-8", "replace").splitlines() if done.returncode == 0 else []
    found = {blob: line for line in lines if (blob := _blob(line)) and (not allowed or blob in allowed)}
    if len(found) == 1:
        return f"{next(iter(found.values()))}\n"
    if not lines:
        raise UsageError(
            "There is no key in the SSH agent.", hint="Add yours with 'ssh-add', or give --key FILE."
        )
    known = ", ".join(ssh_fingerprint(blob) for blob in filter(None, map(_blob, lines)))
    count = "Several" if found else "None"
    raise UsageError(
        f"{count} of the keys in the SSH agent may approve this: it has {known}.",
        hint="Give your key's public half: --key FILE.pub.",
    )


def _blob(line: str) -> bytes:
    try:
        return base64.b64decode(line.split()[1], validate=True)
    except (IndexError, binascii.Error):
        return b""


def _run(command: Sequence[str], stdin: bytes, *, quiet: bool = False) -> subprocess.CompletedProcess[bytes]:
    # Its stderr is a person's: it asks there to touch a hardware key.
    told = subprocess.DEVNULL if quiet else None
    try:
        return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=told, check=False)
    except FileNotFoundError:
        raise Missing(f"'{command[0]}' is not installed here.", hint=_MISSING) from None


def is_armored(text: str) -> bool:
    """Tell whether a file is a bare signature of ``ssh-keygen``."""
    return text.lstrip().startswith("-----BEGIN SSH SIGNATURE-----")
