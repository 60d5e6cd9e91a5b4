"""The examples in docs/keys.md are settings that the configuration takes."""

from __future__ import annotations

import re
import textwrap
import tomllib
from pathlib import Path

from strongroom.config import KeySettings
from strongroom.config.reading import read

DOCUMENT = Path(__file__).parents[2] / "docs" / "keys.md"


def test_every_example_of_a_key_is_taken() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    blocks = re.findall(r"(?:^    \[keys\.[^\n]*\n(?:    [^\n]+\n|\n(?=    [a-z\[]))+)", text, re.MULTILINE)
    found = [
        read(KeySettings, table, base=DOCUMENT.parent)
        for block in blocks
        for table in tomllib.loads(re.sub(r"\n\n.*", "\n", textwrap.dedent(block), flags=re.DOTALL))[
            "keys"
        ].values()
    ]
    assert [wrong for _, wrong in found if wrong] == []
    assert {key.kind for key, _ in found} >= {"pkcs11", "all-of"}
