"""A snapshot is checked offline: what is cut, flipped, incomplete or put together wrongly is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.container.errors import FormatError, Malformed, Tampered, Truncated
from strongroom.sources.raft.snapshot import Chunked, SnapshotFacts, check_archive
from tests.live.openbao import RaftServer
from tests.live.raft_parts import MEMBERS, entry, members_of, packed, snapshot_of, summed, varint

MIB = 1 << 20


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A real one, of a server with 50 secrets."""
    with RaftServer() as server:
        server.initialise(shares=5, threshold=3)
        for number in range(50):
            server.put("secret/", f"app/{number}", {"password": f"CANARY-{number}"})
        return snapshot_of(server, tmp_path_factory.mktemp("raft"))


@pytest.fixture(scope="module")
def members(snapshot: bytes) -> dict[str, bytes]:
    return members_of(snapshot)


def checked(content: bytes) -> SnapshotFacts:
    return check_archive(io.BytesIO(content))


def test_a_real_snapshot_is_whole_and_says_what_it_is(snapshot: bytes) -> None:
    facts = checked(snapshot)

    assert facts.index > 50
    assert facts.state.logical > 100, "each secret has metadata and a version"
    assert facts.state.entries > facts.state.logical
    assert (facts.state.seal_type, facts.state.shares, facts.state.threshold) == ("shamir", 5, 3)
    assert len(facts.state.unseal_generation) == 16


def test_it_is_read_as_a_stream_in_pieces_of_any_size(snapshot: bytes) -> None:
    for size in (1, 7, 4096, MIB):
        pieces = (snapshot[start : start + size] for start in range(0, len(snapshot), size))
        stream = Chunked(pieces)
        assert check_archive(stream.stream()) == checked(snapshot)
        assert stream.size == len(snapshot)


def test_put_together_by_hand_it_is_still_one(members: dict[str, bytes]) -> None:
    """What follows changes one thing of this, and is refused for that one thing."""
    assert checked(summed(members)).index == checked(packed(members.items())).index


def test_a_cut_anywhere_is_refused(snapshot: bytes) -> None:
    for cut in {*range(0, len(snapshot), max(1, len(snapshot) // 200)), len(snapshot) - 1, len(snapshot) - 8}:
        with pytest.raises(FormatError):
            checked(snapshot[:cut])


def test_a_cut_is_called_one(snapshot: bytes) -> None:
    with pytest.raises(Truncated, match="ends early"):
        checked(snapshot[: len(snapshot) // 2])


def test_a_flipped_bit_anywhere_behind_the_head_is_refused(snapshot: bytes) -> None:
    """Ten bytes of head say when and where it was compressed."""
    for place in {*range(10, len(snapshot), max(1, len(snapshot) // 200)), len(snapshot) - 1}:
        changed = bytearray(snapshot)
        changed[place] ^= 1 << place % 8
        with pytest.raises(FormatError):
            checked(bytes(changed))


@pytest.mark.parametrize("missing", MEMBERS)
def test_a_member_that_is_missing_is_named(members: dict[str, bytes], missing: str) -> None:
    with pytest.raises(Malformed, match=f"lacks {missing}"):
        checked(packed((name, content) for name, content in members.items() if name != missing))


@pytest.mark.parametrize("name", ["more.txt", "../state.bin", "state.bin"])
def test_a_member_too_many_or_twice_is_refused(members: dict[str, bytes], name: str) -> None:
    with pytest.raises(Malformed, match="too many"):
        checked(packed([*members.items(), (name, members["state.bin"])]))


@pytest.mark.parametrize("name", ["meta.json", "state.bin"])
def test_content_that_does_not_fit_its_sum_is_refused(members: dict[str, bytes], name: str) -> None:
    # A blank more in the one, an entry more in the other: each still reads well.
    more = {"meta.json": b" ", "state.bin": entry(b"logical/x", b"y")}[name]
    changed = members | {name: members[name] + more}
    with pytest.raises(Tampered, match="checksums"):
        checked(packed(changed.items()))


@pytest.mark.parametrize("sums", [b"", b"nonsense", b"\xff" * 100])
def test_sums_that_say_nothing_are_refused(members: dict[str, bytes], sums: bytes) -> None:
    with pytest.raises(Tampered, match="checksums"):
        checked(packed((members | {"SHA256SUMS": sums}).items()))


def test_sums_that_are_not_sealed_are_refused(members: dict[str, bytes]) -> None:
    with pytest.raises(Malformed, match="not sealed"):
        checked(packed((members | {"SHA256SUMS.sealed": b"\n"}).items()))


def test_a_state_of_another_length_than_announced_is_refused(members: dict[str, bytes]) -> None:
    whole = members_of(summed(members))
    meta = whole["meta.json"].replace(b'"Size": ', b'"Size": 1')
    sums = whole["SHA256SUMS"].splitlines()[1]
    listed = f"{hashlib.sha256(meta).hexdigest()}  meta.json\n".encode() + sums + b"\n"
    with pytest.raises(Malformed, match="not as long"):
        checked(packed((whole | {"meta.json": meta, "SHA256SUMS": listed}).items()))


@pytest.mark.parametrize("meta", [b"{}", b"[]", b"\xff", b'{"Version":1,"Index":"x","Term":1,"Size":1}'])
def test_a_meta_that_is_none_is_refused(members: dict[str, bytes], meta: bytes) -> None:
    # The server writes the two in any order.
    [state] = [line for line in members["SHA256SUMS"].splitlines() if line.endswith(b"state.bin")]
    sums = f"{hashlib.sha256(meta).hexdigest()}  meta.json\n".encode() + state + b"\n"
    with pytest.raises(Malformed, match=r"meta\.json"):
        checked(packed((members | {"meta.json": meta, "SHA256SUMS": sums}).items()))


def test_a_state_without_the_keyring_is_refused_since_no_key_opens_it(members: dict[str, bytes]) -> None:
    state = entry(b"core/mounts", b"x") + entry(b"logical/a", b"y")
    with pytest.raises(Malformed, match="keyring"):
        checked(summed(members, state_bin=state))


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        (varint(5) + b"ab", Truncated),
        (b"\x80", Truncated),
        (varint(3) + b"\x0a\x05a", Malformed),
        (varint(2) + b"\x0b\x00", Malformed),
        (varint(1 << 40), Malformed),
        (varint(1 << 30), Malformed),
        (b"\xff" * 11, Malformed),
        (varint(11) + b"\xff" * 11, Malformed),
        (varint(3) + b"\x0d\x00\x00", Malformed),
    ],
    ids=[
        "cut",
        "cut length",
        "field too long",
        "group",
        "endless",
        "too large",
        "long varint",
        "long tag",
        "cut number",
    ],
)
def test_a_state_that_is_not_made_of_entries_is_refused(
    members: dict[str, bytes], more: bytes, kind: type[FormatError]
) -> None:
    with pytest.raises(kind):
        checked(summed(members, state_bin=members["state.bin"] + more))


def test_entries_with_fields_of_every_kind_are_read(members: dict[str, bytes]) -> None:
    message = b"\x18\x01" + b"\x21" + bytes(8) + b"\x2d" + bytes(4) + b"\x0a\x09logical/z"
    more = varint(len(message)) + message
    before = checked(summed(members)).state
    after = checked(summed(members, state_bin=members["state.bin"] + more)).state
    assert (after.entries, after.logical) == (before.entries + 1, before.logical + 1)


@pytest.mark.parametrize(
    "config", [b"", b"[]", b"\xff", b'{"secret_shares": "many"}', b'{"secret_shares": 1e9}']
)
def test_a_seal_that_is_not_described_is_not_made_up(members: dict[str, bytes], config: bytes) -> None:
    state = entry(b"core/keyring", b"x") + entry(b"core/seal-config", config)
    found = checked(summed(members, state_bin=state)).state
    assert (found.seal_type, found.shares, found.threshold, found.unseal_generation) == ("", 0, 0, "")


def test_a_small_member_that_is_large_is_not_read(members: dict[str, bytes]) -> None:
    with pytest.raises(Malformed, match="too large"):
        checked(packed((members | {"SHA256SUMS": bytes(MIB)}).items()))


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.SYMTYPE])
def test_a_member_that_is_no_file_is_refused(members: dict[str, bytes], kind: bytes) -> None:
    out = io.BytesIO(gzip.decompress(packed(members.items())))
    with tarfile.open(fileobj=out, mode="a") as archive:
        member = tarfile.TarInfo("link")
        member.type = kind
        member.linkname = "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(Malformed, match="no file"):
        checked(gzip.compress(out.getvalue()))


@pytest.mark.parametrize("more", [b"x" * 20_000, gzip.compress(b"x" * 20_000)], ids=["bytes", "gzip"])
def test_what_follows_the_snapshot_is_refused(snapshot: bytes, more: bytes) -> None:
    with pytest.raises(FormatError):
        checked(snapshot + more)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"\x1f\x8b", gzip.compress(b""), gzip.compress(b"x" * 600)],
    ids=["nothing", "json", "magic", "empty", "text"],
)
def test_something_else_is_no_snapshot(content: bytes) -> None:
    with pytest.raises(FormatError):
        checked(content)


def test_a_large_snapshot_is_checked_in_bounded_memory(members: dict[str, bytes], tmp_path: Path) -> None:
    file = tmp_path / "large.snap"
    value = os.urandom(MIB)
    state = members["state.bin"] + b"".join(entry(b"logical/%d" % number, value) for number in range(96))
    file.write_bytes(summed(members, state_bin=state))
    del state

    def chunks() -> Iterator[bytes]:
        with file.open("rb") as stream:
            while piece := stream.read(MIB):
                yield piece

    tracemalloc.start()
    try:
        facts = check_archive(Chunked(chunks()).stream())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert facts.state_bytes > 96 * MIB
    assert peak < 16 * MIB
