"""What lies beside an emergency backup, so that it can be opened when nothing else is left."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import strongroom
from strongroom.errors import ConfigError
from strongroom.operations.emergency.kit import (
    SERVICES,
    Way,
    asking,
    asks,
    named,
    options,
    paths,
    recover,
    recovering,
    restore,
)

TOOL = ("recover.py", "recover_extra.py", "requirements.txt", "README.md")
_HERE = Path(strongroom.__file__).parent
_PLACES = (_HERE / "recover", _HERE.parent / "ops" / "recover")
"""Where the recovery program lies: in an installed package, and in the sources."""


def recovery_files() -> dict[str, bytes]:
    """Return the recovery program, what it needs, and the format's description.

    Raises:
        ConfigError: this installation came without them.
    """
    folder = next((path for path in _PLACES if all((path / name).is_file() for name in TOOL)), None)
    if folder is None:
        raise ConfigError(
            "this installation came without the recovery program",
            hint="Take 'ops/recover' from the sources of this version and put it beside the backup.",
        )
    found = {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file()}
    return {**found, "FORMAT.md": (_HERE / "container" / "FORMAT.md").read_bytes()}


def runbook(
    *,
    backup: str,
    medium: str,
    signers: tuple[str, ...],
    opens_for: tuple[str, ...],
    quorums: tuple[str, ...] = (),
    configured: bool = False,
    part: bool = False,
) -> bytes:
    """Return the runbook for one backup on a medium: what to type, in order.

    What opens it stands there as a mark, until :func:`completed` puts it in, off the backup itself.

    Args:
        signers: the installation's fingerprint, which is to be pinned.
        quorums: the names of the quorums' files beside the backup.
        configured: whether a strongroom.toml that names the HSM's and key services' keys lies there too.
        part: the backup was made of some secrets only, and restores what it holds.
    """
    folder = f"emergency/{backup}"
    text = _RUNBOOK.format(
        backup=backup,
        medium=medium,
        marks=MARKS,
        signers="\n".join(f"       {signer}" for signer in signers),
        opens_for="\n".join(f"   - {words}" for words in opens_for),
        beside=f"\n\n   Beside it: {', '.join(f'`{folder}/{name}`' for name in quorums)}." if quorums else "",
        configured=f"       export STRONGROOM_CONFIG=$PWD/{folder}/strongroom.toml\n" if configured else "",
        restore="\n".join(_indented(restore(_where(backup, part=part), (), signers))),
        recover=f"       {recover(f'{folder}/recover.py', f'. --backup {backup}', (), signers)}",
    )
    return text.encode()


def _where(backup: str, *, part: bool) -> str:
    return f"--from-target . --backup {backup}" + (" --partial" if part else "")


def completed(text: bytes, backup: str, ways: Sequence[Way]) -> bytes:
    """Put into a runbook what the backup opens with, as far as it has the marks for it."""
    folder = f"emergency/{backup}"
    found = text.decode()
    for mark, put in {
        f"{PATHS}\n": "".join(f"{line}\n" for line in _indented(paths(ways, quorums=folder))),
        CHOICE: " Any one of the ways is enough." if len(ways) > 1 else "",
        CORRECT: "".join(_correct(backup, ways)),
        ASKS: f" It asks for {said}." if (said := asks(ways)) else "",
        WITHOUT: "".join(f" {said}" for said in _without(ways)),
    }.items():
        found = found.replace(mark, put)
    return _each(found, ways, backup, folder).encode()


def _each(text: str, ways: Sequence[Way], backup: str, folder: str) -> str:
    """Repeat the commands between marks, once a way."""
    parts = text.split(f"{EACH}\n")
    parts[1::2] = [
        "".join(_command(part, way, ways, backup, folder) for way in ways or ((),)) for part in parts[1::2]
    ]
    return "".join(parts)


def _command(command: str, way: Way, ways: Sequence[Way], backup: str, folder: str) -> str:
    program = f"{folder}/recover.py"
    signers = re.findall(r"--signer (\S+)", command)
    asked = asking(program, f". --backup {backup}", way, signers) if program in command else ()
    head = "".join(f"       {line}\n" for line in (*_headed(way, ways), *asked))
    typed = "".join(f"           {option} \\\n" for option in options(way, quorums=folder))
    command = command.replace("--full-restore \\\n", f"--full-restore \\\n{typed}")
    words = f"recover.py . --backup {backup} "
    return head + command.replace(words, words + "".join(f"{word} " for word in recovering(way)), 1)


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"       {line}".rstrip() for line in lines)


MARKS = tuple(f"\x02{number}\x02" for number in range(6))
"""Marks in a runbook. They cannot be printed, so no name of a key has one."""
PATHS, CHOICE, CORRECT, ASKS, WITHOUT, EACH = MARKS


def _headed(way: Way, ways: Sequence[Way]) -> Iterator[str]:
    if len(ways) > 1:
        yield f"# with {named(way)}:"


def _without(ways: Sequence[Way]) -> Iterator[str]:
    """Yield what else is to be known of opening without Strongroom, by the kinds of keys."""
    kinds = {key.kind for way in ways for key in way}
    if "pkcs11" in kinds:
        yield "The HSM needs a third package, `python-pkcs11`."
    if kinds & SERVICES:
        yield "Afterwards remove what Vault or KMS answered: `rm ~/ask-* ~/answers-*`."


def _correct(backup: str, ways: Sequence[Way]) -> Iterator[str]:
    """Yield what may have to be put right in the strongroom.toml that comes along."""
    kinds = {key.kind for way in ways for key in way}
    toml = f"copy\n   `emergency/{backup}/strongroom.toml`, correct the copy, and name that."
    if "pkcs11" in kinds:
        yield f" The HSM's module may lie elsewhere there; then {toml}"
    elif kinds & SERVICES:
        yield f" Log in to Vault or AWS first. Where they are reached elsewhere now, {toml}"


_RUNBOOK = """# Recovering from this medium

Backup {backup}, target `{medium}`. Plain words, in the order in which to do it. Nobody should do it alone.

1. **Check the medium.** From its top folder:

       sha256sum --check emergency/{backup}/SHA256SUMS

   One line that is not `OK`: stop, take another copy, and keep this one as evidence.

2. **Bring together who can open it.** Needed:

{opens_for}{beside}

3. **Compare the installation's fingerprint.** On the printed recovery kit and here must stand the same:

{signers}

   If they differ, somebody else made this backup: do not restore it.

4. **With Strongroom**, installed on a clean machine.{marks[1]}{marks[2]}
   From the medium's top folder:

{marks[0]}
{configured}{marks[5]}
{restore}
{marks[5]}

   It restores, reads back and compares.{marks[3]}

5. **Without Strongroom**, with Python 3.11 and the two packages in `requirements.txt`.{marks[4]}

{marks[5]}
{recover}
{marks[5]}

   That lists; `--out recovered` in place of `--list` writes what it holds. It checks the whole backup,
   rotations included. What is lost it names, and then it does not end with 0. `CONTENTS.json` says how many
   secrets must come out.

6. **Afterwards**: change every secret that may have been seen, make a new emergency backup, put the medium
   back.
"""
