"""Hex has one spelling: whatever else a decoder would take is refused."""

from __future__ import annotations

import pytest

from strongroom.container.canonical import check_hex, unhex
from strongroom.container.errors import Malformed

BAD = ("0A", "0 ", "\n0", "0g", "0x", "é0", "١٢", "\ud800a", "0", "000", "")


@pytest.mark.parametrize("text", BAD)
def test_what_is_not_lower_case_hex_of_its_size_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        unhex(text, 1, "It")
    with pytest.raises(Malformed):
        check_hex(["00", text, "00"], 1, "It")


def test_every_byte_is_taken() -> None:
    texts = [f"{byte:02x}" for byte in range(256)]
    check_hex(texts, 1, "It")
    assert bytes(unhex(text, 1, "It")[0] for text in texts) == bytes(range(256))
    check_hex([], 1, "It")
    check_hex(["", ""], 0, "It")
