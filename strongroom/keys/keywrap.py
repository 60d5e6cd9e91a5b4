"""Wrapping a 32-byte key under another, and the installation's own symmetric keys."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroom.container.canonical import unhex
from strongroom.container.cobblestone import KEY_SIZE, Random, hkdf, require_key
from strongroom.container.errors import Malformed
from strongroom.container.wrapping import Stanza
from strongroom.errors import ConfigError, UsageError
from strongroom.keys import rolelist
from strongroom.keys.errors import RoleNotHere
from strongroom.system import files

# -- Wrapping a 32-byte key under another: AES-256-GCM under HKDF-SHA-512(key, fresh salt) ------
#
# Each derived key (RFC 5869) encrypts one message and is forgotten, so the nonce may be
# constant: NIST SP 800-38D 8 asks that a key and nonce pair never repeat. ``info`` binds the
# recipient's type and the context; a wrap made for one place opens at no other.
#
# AES-GCM does not commit to its key: a ciphertext can be made that opens under several, at a
# block of it for each (Len, Grubbs, Ristenpart, "Partitioning Oracle Attacks", USENIX Security
# 2021). So a wrapped key is exactly 48 bytes, and the MAC of the record round it confirms what
# was opened.


SALT = 32
WRAPPED = KEY_SIZE + 16
_NONCE = bytes(12)

Args = Mapping[str, str | int]


def wrap(
    kek: bytes, key: bytes, *, label: bytes, context: bytes, random: Random = os.urandom
) -> dict[str, str]:
    """Return ``salt`` and ``wrapped``, in hex."""
    require_key(key, "key to wrap")
    salt = random(SALT)
    wrapped = AESGCM(hkdf(kek, salt=salt, info=label + context)).encrypt(_NONCE, key, None)
    return {"salt": salt.hex(), "wrapped": wrapped.hex()}


def unwrap(kek: bytes, args: Args, *, label: bytes, context: bytes) -> bytes | None:
    """Return the key, or ``None`` if it was not wrapped under this key, label and context.

    Raises:
        Malformed: ``salt`` or ``wrapped`` is not of its one length.
    """
    salt, wrapped = hex_arg(args, "salt", SALT), hex_arg(args, "wrapped", WRAPPED)
    try:
        return AESGCM(hkdf(kek, salt=salt, info=label + context)).decrypt(_NONCE, wrapped, None)
    except InvalidTag:
        return None


def require_args(stanza: Stanza, names: frozenset[str]) -> None:
    """Refuse a stanza with other arguments than its type has."""
    if stanza.args.keys() != names:
        # The names found are whatever the file says: they are not repeated to a terminal.
        raise Malformed(f"A stanza of type {stanza.type} must have {', '.join(sorted(names))} and no more.")


def hex_arg(args: Args, name: str, size: int) -> bytes:
    """Return an argument of ``size`` bytes; raise Malformed for anything else."""
    return unhex(text_arg(args, name), size, f"A stanza's {name}")


def text_arg(args: Args, name: str) -> str:
    """Return an argument that is a text; raise Malformed for anything else."""
    value = args[name]
    if not isinstance(value, str):
        raise Malformed(f"A stanza's {name} is not hex.")
    return value


def int_arg(args: Args, name: str) -> int:
    """Return an argument that is a whole number; raise Malformed for anything else."""
    value = args[name]
    if type(value) is not int:  # a bool is an int to Python, but no number of the format
        raise Malformed(f"A stanza's {name} is not a whole number.")
    return value


# -- The installation's own symmetric keys, made on first use; none of them is a recipient ------
#
# ``work`` seals what lies on the stage, ``digest`` keys the digests of values. On several
# hosts they are copied to those that need them, as the roles' keys are.


KIND = "strongroom-cluster-key-1"


def load_or_create(folder: Path, name: str, *, first: bool = False) -> bytes:
    """Return the 32 bytes of the key ``name``, made if there is none and this host is alone.

    All hosts of a cluster have the same: the first makes it, and a token brings it to whoever needs it.

    Args:
        first: this is one of several hosts, and no other can have it yet.

    Raises:
        RoleNotHere: this is one of several hosts, and has it not.
        ConfigError: the file is damaged, or open to others.
    """
    path = folder / f"{name}.key"
    with files.locked_folder(folder):
        if not path.exists():
            if not first and rolelist.this_host(folder / "roles"):
                raise RoleNotHere(
                    f"this host, one of several, does not have the installation's key '{name}'",
                    hint="Nothing was done. Repeat it on a host that seals, verifies or restores "
                    "('strongroom cluster hosts'), or have the cluster do it (--cluster, where the command "
                    f"has that). If this host is to have the key, bring '{path}' from such a host. As long "
                    "as no host has such a role, type 'strongroom cluster init --role ROLE' where the "
                    "cluster was begun, with a role that it has: that makes the key.",
                )
            try:
                files.write_line(path, kind=KIND, variety=name, content=os.urandom(KEY_SIZE))
            except UsageError as error:
                raise ConfigError(error.message) from None
    variety, key = files.read_line(path, kind=KIND)
    if variety != name or len(key) != KEY_SIZE:
        raise ConfigError(f"'{path}' is not the key '{name}'")
    return key
