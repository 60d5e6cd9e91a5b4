"""Who can open a backup is said in words, and whether it withstands a quantum computer."""

from __future__ import annotations

from tests.cli.program import Machine
from tests.keys.quorum.made import made

CONFIG = """
[keys.board]
kind = "quorum"
file = "board.quorum"
[keys.pair]
kind = "hpke"
public_key_file = "pair.pub"
[keys.both]
kind = "all-of"
legs = [["pair"], ["board"]]
[policies.all]
kind = "full"
targets = ["region-a", "region-b", "region-c"]
recipients = ["both", "board"]
"""
BOARD = "any 3 of 5 custodians of the quorum `"
PAIR = "the holder of the private key `pair` (X25519, not post-quantum)"


def said(text: str) -> str:
    return " ".join(text.split())


def test_a_run_a_file_and_a_look_name_the_readers_and_what_a_quantum_computer_would_do(
    stocked: Machine,
) -> None:
    stocked.ok("keys", "new", "--output", "pair", "--algorithm", "x25519")
    stocked.path("board.quorum").write_bytes(made()[0].encode())
    stocked.path("strongroom.toml").write_text(CONFIG)

    run = stocked.ok("backup", "--policy", "all", "--force").out
    words = said(run)
    assert f"opens for all of these together: {PAIR}; and {BOARD}" in words
    assert f"; or {BOARD}" in words
    assert "quantum withstands a quantum computer" in words

    document = stocked.ok("backup", "full.sr", "--include-values", "--force", "--recipient", "pair", "--json")
    assert (document.document["recipients"], document.document["post_quantum"]) == ([PAIR], False)
    looked = said(stocked.ok("backups", "verify", "full.sr").out)
    assert f"opens for {PAIR} quantum would fall to a quantum computer, by pair" in looked
