"""Forgeries of whoever may write to a target, or to a file, and has no key at all."""

from __future__ import annotations

from collections.abc import Callable

from strongroom.container import layout
from tests.forgeries.forgery import WRITE, forgery
from tests.forgeries.genuine import BACKUP, NEWER, OLDER, Forge, Made, Objects, older

Pick = Callable[[Made], str]


def manifest(made: Made) -> str:
    return made.name


def container(made: Made) -> str:
    return made.pieces[0]


def second(made: Made) -> str:
    return made.pieces[1]


def envelope(made: Made) -> str:
    return made.envelope()


def generation(number: int) -> Pick:
    return lambda made: made.envelope(number)


def among_envelopes(name: str) -> Pick:
    return lambda made: f"keys/{made.wrapping.id}/{name}"


def edit(pick: Pick, change: Callable[[bytes], bytes]) -> Forge:
    def forge(objects: Objects, made: Made) -> None:
        objects[pick(made)] = change(objects[pick(made)])

    return forge


def flip(pick: Pick, at: Callable[[bytes], int]) -> Forge:
    def change(content: bytes) -> bytes:
        place = at(content) % len(content)
        return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]

    return edit(pick, change)


def drop(*picks: Pick) -> Forge:
    def forge(objects: Objects, made: Made) -> None:
        for pick in picks:
            del objects[pick(made)]

    return forge


def put(name: str | Pick, content: bytes | Pick) -> Forge:
    """Put bytes, or a copy of an object, under a name."""

    def forge(objects: Objects, made: Made) -> None:
        place = name if isinstance(name, str) else name(made)
        objects[place] = content if isinstance(content, bytes) else objects[content(made)]

    return forge


def both(*parts: Forge) -> Forge:
    def forge(objects: Objects, made: Made) -> None:
        for part in parts:
            part(objects, made)

    return forge


def copy(pick: Pick, number: int) -> Pick:
    return lambda made: f"{pick(made)}.r{number}"


def swap(one: Pick, other: Pick) -> Forge:
    def forge(objects: Objects, made: Made) -> None:
        a, b = one(made), other(made)
        objects[a], objects[b] = objects[b], objects[a]

    return forge


def move(pick: Pick, name: Pick) -> Forge:
    return both(put(name, pick), drop(pick))


def with_older(forge: Forge) -> Forge:
    """Put the older backup there too."""

    def forged(objects: Objects, made: Made) -> None:
        objects.update(older().objects)
        forge(objects, made)

    return forged


def nothing(objects: Objects, made: Made) -> None:
    """Leave it as it is."""


# -- where a bit is changed -------------------------------------------------------------------------

TAIL = layout.TRAILER.size + layout.SIGNATURE.size


def trailer(content: bytes) -> tuple[int, int, int]:
    directory, index, envelope_size, *_ = layout.TRAILER.unpack(content[-layout.TRAILER.size :])
    return directory, index, envelope_size


def before_end(content: bytes, *parts: int) -> int:
    """Return where the part begins that has these lengths after and in it."""
    return len(content) - TAIL - sum(trailer(content)[part] for part in parts)


IN_CONTAINER: dict[str, Callable[[bytes], int]] = {
    "magic": lambda _: 1,
    "version": lambda _: 9,
    "suite": lambda _: 11,
    "flags": lambda _: 15,
    "file id": lambda _: 20,
    "header tag": lambda _: 50,
    "values": lambda _: 90,
    "rows": lambda content: before_end(content, 0, 1, 2) - 1,
    "directory": lambda content: before_end(content, 0, 1, 2) + 9,
    "index": lambda content: before_end(content, 1, 2) + 9,
    "envelope": lambda content: before_end(content, 2) + 40,
    "certificate": lambda content: len(content) - TAIL - 60,
    "signer": lambda content: len(content) - TAIL + 3,
    "signature": lambda content: len(content) - TAIL + 40,
    "directory's length": lambda content: len(content) - 25,
    "total length": lambda content: len(content) - 9,
    "end marker": lambda content: len(content) - 1,
}


def at(word: bytes, ahead: int = 0) -> Callable[[bytes], int]:
    return lambda content: content.index(word) + len(word) + ahead


IN_DOCUMENT: dict[str, tuple[Callable[[bytes], int], str]] = {
    "magic": (lambda _: 3, "Tampered"),
    "version": (at(b"strongroom-", 9), "UnsupportedVersion"),
    "body": (at(b'"body":{"', 30), "Tampered"),
    "certificate": (at(b'"installation":"', 5), "Tampered"),
    "role": (at(b'"role":"', 1), "Tampered"),
    "signature": (at(b',\n"signature":"', 5), "Tampered"),
    "length": (lambda content: len(content) - 5, "Tampered"),
    "end": (lambda content: len(content) - 2, "Tampered"),
}


def _place(what: str, place: str) -> Callable[[bytes], int]:
    where = IN_DOCUMENT[place][0]
    return (lambda content: content.index(b'/1",') + 1) if place == "version" else where


def flips() -> None:
    for place, where in IN_CONTAINER.items():
        forgery(f"flip container: {place}", WRITE, flip(container, where), "Tampered")
    forgery(
        "flip the second container too",
        WRITE,
        both(flip(container, lambda _: 90), flip(second, lambda _: 90)),
        "Tampered",
    )
    for place, (_, expect) in IN_DOCUMENT.items():
        where = _place("manifest", place)
        forgery(f"flip manifest: {place}", WRITE, flip(manifest, where), expect)
        forgery(f"flip envelope: {place}", WRITE, flip(envelope, where), aside=expect, key="old")
    forgery("flip envelope, and have the new key", WRITE, flip(envelope, IN_DOCUMENT["body"][0]), "WrongKey")
    forgery(
        "flip the newer of two manifests",
        WRITE,
        with_older(flip(manifest, IN_DOCUMENT["body"][0])),
        aside="Tampered",
        comes="older",
        chooses=True,
    )


def cuts() -> None:
    for name, change in {
        "by one": lambda content: content[:-1],
        "in half": lambda content: content[: len(content) // 2],
        "to its magic": lambda content: content[:8],
        "to nothing": lambda _: b"",
    }.items():
        forgery(f"cut container {name}", WRITE, edit(container, change), "Truncated")
        forgery(f"cut manifest {name}", WRITE, edit(manifest, change), "Truncated")
        forgery(f"cut envelope {name}", WRITE, edit(envelope, change), aside="Truncated", key="old")
    for name, more in {"one byte": b"x", "itself": b""}.items():
        grow = lambda content, more=more: content + (more or content)  # noqa: E731
        forgery(f"add {name} to container", WRITE, edit(container, grow), "Tampered")
        expect = "Malformed" if more else "Tampered"
        forgery(f"add {name} to manifest", WRITE, edit(manifest, grow), expect)
        forgery(f"add {name} to envelope", WRITE, edit(envelope, grow), aside=expect, key="old")
    forgery("drop the first container", WRITE, drop(container), "MissingPiece")
    forgery("drop the second container", WRITE, drop(second), "MissingPiece")
    forgery("drop both containers", WRITE, drop(container, second), "MissingPiece")
    forgery("drop manifest", WRITE, drop(manifest), "NotABackup")
    forgery(
        "drop manifest beside an older backup", WRITE, with_older(drop(manifest)), comes="older", chooses=True
    )
    forgery("drop envelope, and have the old key", WRITE, drop(envelope), key="old")
    forgery("drop envelope, and have the new key", WRITE, drop(envelope), "WrongKey")


def swaps() -> None:
    forgery("swap the containers", WRITE, swap(container, second), "Tampered")
    forgery(
        "another backup's container in a container's place",
        WRITE,
        with_older(
            lambda objects, made: objects.__setitem__(made.pieces[0], older().objects[older().pieces[0]])
        ),
        "Tampered",
    )
    forgery("the manifest's bytes in a container's place", WRITE, put(container, manifest), "Truncated")
    forgery("a container's bytes in the manifest's place", WRITE, put(manifest, container), "NotABackup")
    forgery("the envelope's bytes in the manifest's place", WRITE, put(manifest, envelope), "NotABackup")
    forgery(
        "the manifest's bytes in the envelope's place",
        WRITE,
        put(envelope, manifest),
        aside="NotABackup",
        key="old",
    )
    forgery(
        "a container's bytes in the envelope's place",
        WRITE,
        put(envelope, container),
        aside="NotABackup",
        key="old",
    )
    forgery(
        "an older backup's manifest under this one's name",
        WRITE,
        put(manifest, older().objects[older().name]),
        "MissingPiece",
    )
    forgery(
        "an older backup's manifest as a copy beside",
        WRITE,
        put(copy(manifest, 1), older().objects[older().name]),
    )
    forgery(
        "another wrapping key's envelope in the envelope's place",
        WRITE,
        put(envelope, older().objects[older().envelope()]),
        aside="Tampered",
        key="old",
    )
    forgery(
        "another wrapping key's envelope of generation 3",
        WRITE,
        put(lambda made: made.envelope(3), older().objects[older().envelope()]),
        aside="Tampered",
    )
    forgery(
        "move a container into another backup's folder",
        WRITE,
        move(container, lambda made: made.pieces[0].replace(BACKUP, OLDER)),
        "MissingPiece",
    )
    forgery(
        "put a container into another backup's folder too",
        WRITE,
        put(lambda made: made.pieces[0].replace(BACKUP, OLDER), container),
    )


def names() -> None:
    for number in (3, 7, 99_999_999):
        forgery(
            f"the envelope again as generation {number}",
            WRITE,
            put(generation(number), envelope),
            aside="Stale",
        )
        forgery(
            f"junk as generation {number}",
            WRITE,
            put(generation(number), b"junk"),
            aside="NotABackup",
        )
    forgery(
        "move the envelope to generation 3",
        WRITE,
        move(envelope, lambda made: made.envelope(3)),
        aside="Stale",
        key="old",
    )
    forgery("the envelope again as generation 1", WRITE, put(lambda made: made.envelope(1), envelope))
    forgery(
        "junk as generation 1, and no envelope",
        WRITE,
        both(drop(envelope), put(lambda made: made.envelope(1), b"junk")),
        key="old",
    )
    forgery(
        "move the envelope to generation 1", WRITE, move(envelope, lambda made: made.envelope(1)), key="old"
    )
    for odd in ("2", "junk", "00000003.r0", "00000003.r10", "000000003", "0000000x", "00000003.json"):
        forgery(
            f"junk beside the envelopes: {odd}",
            WRITE,
            put(among_envelopes(odd), b"junk"),
        )
    forgery("move the envelope into a copy's name", WRITE, move(envelope, copy(envelope, 1)))
    forgery(
        "move the envelope to where no copy is looked for",
        WRITE,
        move(envelope, copy(envelope, 10)),
        key="old",
    )
    forgery(
        "junk as the envelope, and the envelope as its ninth copy",
        WRITE,
        both(put(copy(envelope, 9), envelope), put(envelope, b"junk")),
    )
    forgery(
        "junk as all nine copies of the envelope",
        WRITE,
        both(*(put(copy(envelope, n), b"junk") for n in range(1, 10))),
    )
    forgery(
        "junk as the manifest, and the manifest as its ninth copy",
        WRITE,
        both(put(copy(manifest, 9), manifest), put(manifest, b"junk")),
    )
    forgery(
        "junk as all nine copies of the manifest",
        WRITE,
        both(*(put(copy(manifest, n), b"junk") for n in range(1, 10))),
    )
    forgery("move the manifest into a copy's name", WRITE, move(manifest, copy(manifest, 1)))
    forgery(
        "junk as the manifest and as its copies",
        WRITE,
        both(put(manifest, b"junk"), *(put(copy(manifest, n), b"junk") for n in range(1, 10))),
        "NotABackup",
    )
    forgery(
        "move the manifest to where no copy is looked for",
        WRITE,
        move(manifest, copy(manifest, 10)),
        "NotABackup",
    )
    forgery("the manifest again where no copy is looked for", WRITE, put(copy(manifest, 10), manifest))
    forgery(
        "a damaged container, and a whole copy beside it",
        WRITE,
        both(put(copy(container, 1), container), flip(container, lambda _: 90)),
    )
    forgery(
        "an empty container, and a whole ninth copy",
        WRITE,
        both(put(copy(container, 9), container), put(container, b"")),
    )
    forgery("another container as a copy beside", WRITE, put(copy(container, 1), second))
    forgery(
        "a damaged container, and another as its copy",
        WRITE,
        both(put(copy(container, 1), second), flip(container, lambda _: 90)),
        "Tampered",
    )
    forgery("move a container into a copy's name", WRITE, move(container, copy(container, 2)))
    forgery(
        "move a container to where no copy is looked for",
        WRITE,
        move(container, copy(container, 10)),
        "MissingPiece",
    )


def manifests() -> None:
    def named(name: str) -> Pick:
        return lambda _: f"manifests/{name}"

    forgery(
        "the manifest again as a newer backup's",
        WRITE,
        put(named(f"{NEWER}.json"), manifest),
        aside="MissingPiece",
        chooses=True,
    )
    forgery(
        "the manifest again as one sealed anew",
        WRITE,
        put(named(f"{BACKUP}-r1.json"), manifest),
        aside="MissingPiece",
        chooses=True,
    )
    forgery("the manifest again as an older backup's", WRITE, put(named(f"{OLDER}.json"), manifest))
    forgery(
        "move the manifest to a newer backup's name",
        WRITE,
        move(manifest, named(f"{NEWER}.json")),
        "MissingPiece",
    )
    forgery(
        "junk as a newer backup's manifest",
        WRITE,
        put(named(f"{NEWER}.json"), b"junk"),
        aside="NotABackup",
        chooses=True,
    )
    forgery(
        "nothing as a newer backup's manifest",
        WRITE,
        put(named(f"{NEWER}.json"), b""),
        aside="Truncated",
        chooses=True,
    )
    forgery(
        "junk as a copy of a newer backup's manifest",
        WRITE,
        put(named(f"{NEWER}.json.r1"), b"junk"),
        aside="NotABackup",
        chooses=True,
    )
    forgery(
        "a hundred newer manifests of junk",
        WRITE,
        both(*(put(named(f"20991231T000000Z-{n:08x}.json"), b"junk") for n in range(100))),
        aside="NotABackup",
        chooses=True,
    )
    forgery(
        "a manifest of the year 9999 that is cut",
        WRITE,
        lambda objects, made: objects.__setitem__(
            "manifests/99991231T235959Z-ffffffff.json", objects[made.name][:-1]
        ),
        aside="Truncated",
        chooses=True,
    )
    forgery("the manifest without its ending", WRITE, put(named(BACKUP), manifest))
    forgery("junk in a folder among the manifests", WRITE, put(named(f"{NEWER}/{NEWER}.json"), b"junk"))
    forgery("a file of another kind among the manifests", WRITE, put(named("zzz.txt"), b"junk"))
    forgery("move the manifest to a name without ending", WRITE, move(manifest, named(BACKUP)), "NotABackup")
    forgery("an older backup beside", WRITE, with_older(nothing), chooses=True)
    forgery(
        "junk beside everything",
        WRITE,
        both(
            *(
                put(name, b"junk")
                for name in (
                    "junk",
                    "containers/junk",
                    f"containers/{BACKUP}/junk",
                    "keys/junk",
                    "quarantine/junk",
                    "ledger/junk/junk",
                )
            )
        ),
    )
    mark = put(f"quarantine/{BACKUP}/00000001.json", b"junk")
    forgery("a quarantine mark of junk", WRITE, mark, aside="NotABackup", marks=True)


GIB = 1 << 30


def oversized() -> None:
    forgery(
        "a terabyte of zeros as a newer manifest",
        WRITE,
        nothing,
        aside="NotABackup",
        chooses=True,
        sparse={f"manifests/{NEWER}.json": GIB << 10},
    )
    forgery(
        "a terabyte of zeros as a container",
        WRITE,
        drop(container),
        "Tampered",
        sparse={"container": GIB << 10},
    )
    forgery(
        "a terabyte of zeros as generation 3",
        WRITE,
        nothing,
        aside="NotABackup",
        sparse={"envelope": GIB << 10},
    )
    forgery(
        "a megabyte after the envelope's beginning",
        WRITE,
        edit(envelope, lambda c: c[:40] + bytes(1 << 20)),
        aside="NotABackup",
        key="old",
    )
    forgery(
        "a megabyte after the manifest's beginning",
        WRITE,
        edit(manifest, lambda c: c[:40] + bytes(1 << 20)),
        "Truncated",
    )
    forgery(
        "more than a manifest may have after its beginning",
        WRITE,
        edit(manifest, lambda c: c[:40] + bytes((64 << 20) + 1)),
        "NotABackup",
    )


def enter() -> None:
    forgery("nothing is forged", WRITE, nothing)
    for enter_group in (flips, cuts, swaps, names, manifests, oversized):
        enter_group()
