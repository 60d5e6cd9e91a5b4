"""What lies beside an emergency backup, so that it can be opened when nothing else is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import strongroom
from strongroom.errors import ConfigError

TOOL = ("recover.py", "requirements.txt", "README.md")
_HERE = Path(strongroom.__file__).parent
_PLACES = (_HERE / "recover", _HERE.parent / "ops" / "recover")
"""Where the one-file program lies: in an installed package, and in the sources."""


def recovery_files() -> dict[str, bytes]:
    """Return the one-file recovery program, what it needs, and the format's description.

    Raises:
        ConfigError: this installation came without them.
    """
    folder = next((place for place in _PLACES if all((place / name).is_file() for name in TOOL)), None)
    if folder is None:
        raise ConfigError(
            "this installation came without the one-file recovery program",
            hint="Take 'ops/recover' from the sources of this version and put it beside the backup.",
        )
    found = {name: (folder / name).read_bytes() for name in TOOL}
    return {**found, "FORMAT.md": (_HERE / "container" / "FORMAT.md").read_bytes()}


def runbook(
    *,
    backup: str,
    medium: str,
    signers: tuple[str, ...],
    sealers: tuple[str, ...],
    opens_for: tuple[str, ...],
    quorums: tuple[str, ...] = (),
    configured: bool = False,
) -> bytes:
    """Return the runbook for one backup on a medium: what to type, in order.

    Args:
        signers: fingerprints of whoever signs manifests here.
        sealers: those of whoever sealed its containers.
        quorums: the names of the quorums' files beside the backup.
        configured: whether a strongroom.toml that names the HSM's keys lies there too.
    """
    text = _RUNBOOK.format(
        backup=backup,
        medium=medium,
        signers="\n".join(f"       {signer}" for signer in dict.fromkeys((*signers, *sealers))),
        opens_for="\n".join(f"   - {words}" for words in opens_for),
        restore="\n".join(_restore(backup, signers, quorums, configured=configured)),
        trust_sealers=_trust(sealers),
    )
    return text.encode()


def _restore(
    backup: str, signers: tuple[str, ...], quorums: tuple[str, ...], *, configured: bool
) -> Iterator[str]:
    folder = f"emergency/{backup}"
    if configured:
        yield f"       export STRONGROOM_CONFIG=$PWD/{folder}/strongroom.toml"
    yield f"       strongroom restore --from-target . --backup {backup} --full-restore \\"
    yield from (f"           --quorum {folder}/{name} \\" for name in quorums)
    yield from (f"           --signer {signer} \\" for signer in signers)
    yield "           --verify-after-restore"


def _trust(fingerprints: tuple[str, ...]) -> str:
    return " ".join(f"--signer {one}" for one in fingerprints)


_RUNBOOK = """# Recovering from this medium

Backup {backup}, target `{medium}`. Plain words, in the order in which to do it. Nobody should do it alone.

1. **Check the medium.** From its top folder:

       sha256sum --check emergency/{backup}/SHA256SUMS

   One line that is not `OK`: stop, take another copy, and keep this one as evidence.

2. **Bring together who can open it.** Needed:

{opens_for}

3. **Compare the signers.** On the printed recovery kit and here must stand the same:

{signers}

   If they differ, somebody else made this backup: do not restore it.

4. **With Strongroom**, installed on a clean machine. The HSM's module may lie elsewhere there; then copy
   `strongroom.toml`, correct the copy, and name that:

{restore}

   It asks for the HSM's PIN and the custodians' words, restores, reads back and compares.

5. **Without Strongroom**, with Python 3.11 and the two packages in `requirements.txt`:

       python3 emergency/{backup}/recover.py containers/{backup}/* {trust_sealers} --list
       python3 emergency/{backup}/recover.py containers/{backup}/* {trust_sealers} --out recovered

   Add what opens: `--hsm MODULE --token LABEL`, `--shares`, `--private-key FILE`. If there are files under
   `keys/`, add the last of them with `--newer`. `CONTENTS.json` says how many secrets must come out.

6. **Afterwards**: change every secret that may have been seen, make a new emergency backup, put the medium
   back.
"""
