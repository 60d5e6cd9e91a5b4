"""The families of failures that recover.py tells apart, as FORMAT.md has them."""

from __future__ import annotations

import re

from tests.process import ROOT

_ROW = re.compile(r"^\| `(\w+)` \| .* \| (\w+) \| (\w+) \|$", re.MULTILINE)
_FORMAT = (ROOT / "strongroom" / "container" / "FORMAT.md").read_text(encoding="utf-8")
FAMILIES = {name: family for name, _, family in _ROW.findall(_FORMAT)}
"""By class of failure its family. The product and the third reader tell the classes apart."""


def family(kind: str) -> str:
    """Return the family of a class of failure; of what is none, such as ``ok``, that itself."""
    return FAMILIES.get(kind, kind)
