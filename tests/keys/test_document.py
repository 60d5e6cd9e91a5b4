"""The examples in docs/keys.md are settings that the configuration takes."""

from __future__ import annotations

import re
import textwrap
import tomllib
from pathlib import Path

from pydantic import TypeAdapter

from strongroom.config import KeySettings

DOCUMENT = Path(__file__).parents[2] / "docs" / "keys.md"


def test_every_example_of_a_key_is_taken() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    blocks = re.findall(r"(?:^    \[keys\.[^\n]*\n(?:    [^\n]+\n|\n(?=    [a-z\[]))+)", text, re.MULTILINE)
    found = [
        TypeAdapter(KeySettings).validate_python(table)
        for block in blocks
        for table in tomllib.loads(re.sub(r"\n\n.*", "\n", textwrap.dedent(block), flags=re.DOTALL))[
            "keys"
        ].values()
    ]
    assert {key.kind for key in found} >= {"pkcs11", "all-of"}
