"""JSON in spellings that no writer of ours has: RFC 8259 allows each, and a reader must not mind."""

from __future__ import annotations

import json
import random

from tests.vectors.good import NUMBERS


def metadata_text(chooser: random.Random) -> bytes:
    """Return a JSON object, with at least one member, on one line."""
    count = chooser.randint(1, 5)
    return _object(chooser, [f"{place}{chooser.choice('aé鍵😀 /')}" for place in range(count)], 4).encode()


def number_text(chooser: random.Random) -> str:
    """Return a number in one of its spellings."""
    if chooser.random() < 0.3:
        return chooser.choice(NUMBERS)
    text = chooser.choice(("", "-")) + str(chooser.getrandbits(chooser.choice((3, 20, 64, 200))))
    if chooser.random() < 0.5:
        text += f".{chooser.getrandbits(40)}{'0' * chooser.randrange(3)}"
    if chooser.random() < 0.5:
        text += chooser.choice("eE") + chooser.choice(("", "+", "-")) + str(chooser.randrange(400))
    return text


def _object(chooser: random.Random, names: list[str], depth: int) -> str:
    space = chooser.choice(("", "", " ", "\t", "\r"))
    members = (f"{_text(chooser, name)}{space}:{space}{_value(chooser, depth)}" for name in names)
    return f"{{{space}{f'{space},'.join(members)}{space}}}"


def _value(chooser: random.Random, depth: int) -> str:
    kind = chooser.randrange(6 if depth else 4)
    if kind == 4:
        return f"[{','.join(_value(chooser, depth - 1) for _ in range(chooser.randrange(4)))}]"
    if kind == 5:
        return _object(chooser, [f"n{place}" for place in range(chooser.randrange(4))], depth - 1)
    if kind == 3:
        return chooser.choice(("true", "false", "null"))
    return (
        number_text(chooser)
        if kind
        else _text(chooser, chooser.choice(("", "CANARY-ü", 'a"\\/\n\t', "😀\x7f")))
    )


def _text(chooser: random.Random, text: str) -> str:
    written = json.dumps(text, ensure_ascii=chooser.random() < 0.5)
    return written.replace("/", "\\/") if chooser.random() < 0.3 else written
