"""Damages of bytes, place by place: tables of small changes, each with the class that it must be told as."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.forgeries.forgery import WRITE, forgery
from tests.forgeries.writing import (
    TAIL,
    before_end,
    both,
    container,
    copy,
    edit,
    envelope,
    manifest,
    put,
    second,
)

Change = Callable[[bytes], bytes]


def xor(place: int, mask: int) -> Change:
    return lambda data: data[:place] + bytes([data[place] ^ mask]) + data[place:][1:]


def cut(size: int) -> Change:
    return lambda data: data[:size]


def over(place: Callable[[bytes], int], content: bytes) -> Change:
    """Write bytes over what stands at a place."""

    def change(data: bytes) -> bytes:
        start = place(data) % len(data)
        return data[:start] + content + data[start + len(content) :]

    return change


# -- containers -------------------------------------------------------------------------------------

PLACES: dict[str, Callable[[bytes], int]] = {
    "the magic's end": lambda _: 7,
    "the version's first byte": lambda _: 8,
    "the suite's first byte": lambda _: 10,
    "the flags' first byte": lambda _: 12,
    "the file id's first byte": lambda _: 16,
    "the file id's last byte": lambda _: 47,
    "the header tag's first byte": lambda _: 48,
    "the header tag's last byte": lambda _: 79,
    "the first salt": lambda _: 80,
    "the first commitment": lambda _: 110,
    "the last segment's last byte": lambda data: before_end(data, 0, 1, 2) - 1,
    "a length in the directory": lambda data: before_end(data, 0, 1, 2) + 3,
    "another length in the directory": lambda data: before_end(data, 0, 1, 2) + 7,
    "the directory's last byte": lambda data: before_end(data, 1, 2) - 1,
    "the index's salt": lambda data: before_end(data, 1, 2),
    "the index's last byte": lambda data: before_end(data, 2) - 1,
    "the envelope's first byte": lambda data: before_end(data, 2),
    "the envelope's last byte": lambda data: len(data) - TAIL - 1,
    "the signer's first byte": lambda data: len(data) - TAIL,
    "the signature's last byte": lambda _: -29,
    "the directory's length": lambda _: -28,
    "the index's length": lambda _: -24,
    "the envelope's length": lambda _: -20,
    "the total's first byte": lambda _: -16,
    "the marker's first byte": lambda _: -8,
}
MASKS = {"a low bit": 1, "a high bit": 0x80}


def flips() -> None:
    for number, (where, place) in enumerate(PLACES.items()):
        name, mask = list(MASKS.items())[number % 2]

        def change(data: bytes, place: Callable[[bytes], int] = place, mask: int = mask) -> bytes:
            return xor(place(data) % len(data), mask)(data)

        forgery(f"container: {name} of {where}", WRITE, edit(container, change), "Tampered")


CUTS = (1, 4, 9, 16, 48, 79, 80, 124, 203, 204, 1000)


def cuts() -> None:
    for size in CUTS:
        forgery(f"container: its first {size} bytes alone", WRITE, edit(container, cut(size)), "Truncated")
    for size in (28, 124):
        less = lambda data, size=size: data[:-size]  # noqa: E731
        forgery(f"container: without its last {size} bytes", WRITE, edit(container, less), "Truncated")
    forgery("container: without its first byte", WRITE, edit(container, lambda data: data[1:]), "Truncated")
    forgery("container: its end alone", WRITE, edit(container, lambda data: data[-28:]), "Truncated")


SAME_SIZE: dict[str, Change] = {
    "zeros": lambda data: bytes(len(data)),
    "ones": lambda data: b"\xff" * len(data),
    "its bytes backwards": lambda data: data[::-1],
    "its halves exchanged": lambda data: data[len(data) // 2 :] + data[: len(data) // 2],
    "its header and zeros": lambda data: data[:80] + bytes(len(data) - 80),
    "zeros and its end": lambda data: bytes(len(data) - 28) + data[-28:],
    "its first half and zeros": lambda data: data[: len(data) // 2].ljust(len(data), b"\0"),
    "a hole of 512 zeros": over(lambda _: 512, bytes(512)),
    "an old file's beginning": over(lambda _: 0, b"0123456789abcdefgAAAA"),
    "a document's beginning": over(lambda _: 0, b'{"format":"strongroom-manifest/1",\n'),
    "a backup file's beginning": over(lambda _: 0, b"SRBF\r\n\x1a\n\x00\x01"),
    "a gzip file's beginning": over(lambda _: 0, b"\x1f\x8b\x08"),
    "its line feeds as carriage returns": lambda data: data.replace(b"\n", b"\r"),
    "a newer version": over(lambda _: 8, b"\x00\x63"),
    "an unknown suite": over(lambda _: 10, b"\x00\x63"),
    "an unknown flag": over(lambda _: 12, b"\x80\x00\x00\x00"),
    "a directory longer than the file": over(lambda _: -28, b"\xff\xff\xff\xff"),
    "an index longer than the file": over(lambda _: -24, b"\xff\xff\xff\xff"),
    "an envelope longer than the file": over(lambda _: -20, b"\xff\xff\xff\xff"),
    "no directory": over(lambda _: -28, bytes(4)),
    "a total of 2^64 - 1": over(lambda _: -16, b"\xff" * 8),
    "a signer of zeros": over(lambda data: len(data) - TAIL, bytes(32)),
    "the neutral point as signer": over(lambda data: len(data) - TAIL, b"\x01" + bytes(31)),
    "a signature of zeros": over(lambda data: len(data) - TAIL + 32, bytes(64)),
}
ADDED: dict[str, Change] = {
    "a zero": lambda data: data + b"\0",
    "a line feed": lambda data: data + b"\n",
    "its own end again": lambda data: data + data[-28:],
    "4,096 zeros": lambda data: data + bytes(4096),
    "a mebibyte of zeros": lambda data: data + bytes(1 << 20),
    "a byte before it": lambda data: b"\0" + data,
    "a byte in it": lambda data: data[:500] + b"\0" + data[500:],
}


def replaced() -> None:
    for name, change in SAME_SIZE.items():
        forgery(f"container: {name}", WRITE, edit(container, change), "Tampered")
    for name, change in ADDED.items():
        forgery(f"container: and {name}", WRITE, edit(container, change), "Tampered")
    forgery(
        "container: zeros, and a whole copy beside",
        WRITE,
        both(put(copy(container, 1), container), edit(container, SAME_SIZE["zeros"])),
    )
    forgery(
        "both containers: each the other's end",
        WRITE,
        lambda objects, made: objects.update(
            {
                container(made): objects[container(made)][:-TAIL] + objects[second(made)][-TAIL:],
                second(made): objects[second(made)][:-TAIL] + objects[container(made)][-TAIL:],
            }
        ),
        "Tampered",
    )


# -- documents --------------------------------------------------------------------------------------


def lines(change: Callable[[list[bytes]], object]) -> Change:
    """Change a document's lines, without their line feeds; the last of them is empty."""

    def changed(data: bytes) -> bytes:
        found = data.split(b"\n")
        change(found)
        return b"\n".join(found)

    return changed


def measured(change: Change) -> Change:
    """Change a document, and put its own length right, as anybody can."""

    def changed(data: bytes) -> bytes:
        done = change(data)
        return re.sub(rb'"length":"[0-9]{12}"\}\n\Z', b'"length":"%012d"}\n' % len(done), done)

    return changed


DOCUMENT: dict[str, tuple[Change, str]] = {
    "one byte": (cut(1), "Truncated"),
    "its first line": (lambda data: data[: data.index(b"\n") + 1], "Truncated"),
    "its first line without the line feed": (lambda data: data[: data.index(b"\n")], "Truncated"),
    "all but its last line": (lambda data: data[: data.rindex(b'"length"')], "Truncated"),
    "all but the line feed at the end": (cut(-1), "Truncated"),
    "all but three bytes": (cut(-3), "Truncated"),
    "itself and a line feed": (lambda data: data + b"\n", "Malformed"),
    "itself and 4,000 zeros": (lambda data: data + bytes(4000), "Malformed"),
    "itself and 5,000 zeros": (lambda data: data + bytes(5000), "Truncated"),
    "a mark of byte order and itself": (lambda data: b"\xef\xbb\xbf" + data, "NotABackup"),
    "a space and itself": (lambda data: b" " + data, "NotABackup"),
    "carriage returns": (lambda data: data.replace(b"\n", b"\r\n"), "NotABackup"),
    "version 2": (lambda data: data.replace(b'/1",\n', b'/2",\n', 1), "UnsupportedVersion"),
    "version 12345": (lambda data: data.replace(b'/1",\n', b'/12345",\n', 1), "NotABackup"),
    "no version": (lambda data: data.replace(b'/1",\n', b'/",\n', 1), "NotABackup"),
    "a kind that is none": (lambda data: data.replace(b"strongroom-", b"strongroom+", 1), "Tampered"),
    "a length one higher": (lambda data: _longer(data, 1), "Tampered"),
    "a length one lower": (lambda data: _longer(data, -1), "Tampered"),
    "a length of nines": (lambda data: _length(data, b"9" * 12), "Tampered"),
    "a length that is no number": (lambda data: _length(data, b"x" * 12), "Tampered"),
    "its body twice": (measured(lines(lambda found: found.insert(1, found[1]))), "Tampered"),
    "no body": (measured(lines(lambda found: found.pop(1))), "Tampered"),
    "no certificate": (measured(lines(lambda found: found.pop(2))), "Tampered"),
    "no signature": (measured(lines(lambda found: found.pop(3))), "Tampered"),
    "body and certificate exchanged": (
        measured(lines(lambda found: found.insert(1, found.pop(2)))),
        "Tampered",
    ),
    "an empty body": (measured(lines(lambda found: found.__setitem__(1, b'"body":{},'))), "Tampered"),
    "a body of 200,000 bytes": (
        measured(lines(lambda found: found.__setitem__(1, b'"body":"%s",' % (b"x" * 200_000)))),
        "Tampered",
    ),
    "a body of 200,000 lists": (
        measured(lines(lambda found: found.__setitem__(1, b'"body":%s,' % (b"[" * 200_000)))),
        "Tampered",
    ),
    "a space in its first line": (measured(lambda data: data.replace(b'":', b'": ', 1)), "Tampered"),
    "a space in its body": (measured(lines(lambda found: found.__setitem__(1, found[1] + b" "))), "Tampered"),
    "capitals in its signature": (
        measured(lines(lambda found: found.__setitem__(3, _capital(found[3])))),
        "Tampered",
    ),
    "a signature of zeros": (
        measured(lines(lambda found: found.__setitem__(3, b'"signature":"%s",' % (b"0" * 128)))),
        "Tampered",
    ),
    "a signature of 63 bytes": (
        measured(lines(lambda found: found.__setitem__(3, b'"signature":"%s",' % (b"0" * 126)))),
        "Tampered",
    ),
    "a line more": (measured(lines(lambda found: found.insert(3, b'"z":1,'))), "Tampered"),
    "a bit of a zero byte": (lambda data: data[:60] + b"\0" + data[61:], "Tampered"),
}
"""What becomes of a signed document, and what it is told as."""


def _length(data: bytes, digits: bytes) -> bytes:
    return data[:-15] + digits + data[-3:]


def _longer(data: bytes, by: int) -> bytes:
    return _length(data, b"%012d" % (len(data) + by))


def _capital(line: bytes) -> bytes:
    head, _, rest = line.partition(b':"')
    return head + b':"' + rest.upper()


def documents() -> None:
    for name, (change, expect) in DOCUMENT.items():
        forgery(f"manifest: {name}", WRITE, edit(manifest, change), expect)
        forgery(f"envelope: {name}", WRITE, edit(envelope, change), aside=expect, key="old")
    large = measured(lines(lambda found: found.__setitem__(1, b'"body":"%s",' % (b"x" * (1 << 20)))))
    forgery("manifest: a body of a mebibyte", WRITE, edit(manifest, large), "Tampered")
    forgery("envelope: a body of a mebibyte", WRITE, edit(envelope, large), aside="NotABackup", key="old")


def enter() -> None:
    for enter_group in (flips, cuts, replaced, documents):
        enter_group()
