"""The index of names: what is written comes back, also by the document alone, and nothing else passes."""

from __future__ import annotations

import json
import os
import random

import msgspec
import pytest

from strongroom.config.values import Name
from strongroom.container import segment
from strongroom.container.errors import FormatError, Malformed, NotABackup
from strongroom.container.name_index import (
    GONE,
    MOST_BLOCK,
    SOURCE,
    Block,
    IndexHead,
    IndexRow,
    NameIndex,
    Older,
    blocks,
    decode_row,
    encode_row,
    quoted_name,
    unpack_block,
    write_name_index,
)
from strongroom.container.ranges import BytesReader
from strongroom.container.wrapping import WrappingKey
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.model import VersionState
from tests.reader.reader import Keys, RefusedError
from tests.reader.reader import block as read_block
from tests.reader.reader import container as read_container
from tests.reader.reader import names as read_names
from tests.reader.reader import outer as read_outer
from tests.vectors import material as m
from tests.vectors.good import NAMES_FIRST, NAMES_NEXT
from tests.vectors.vector import parse, stored

IDENTITY = KeyFileIdentity(bytes.fromhex(m.KEY_FILE_LINE[1]))
TRUSTED = frozenset({m.INSTALLATION.fingerprint})
VECTORS = {"index-first": NAMES_FIRST, "index-next": NAMES_NEXT}


def opened(content: bytes) -> NameIndex:
    return NameIndex.open(BytesReader(content), (IDENTITY,), trusted=TRUSTED)


@pytest.mark.parametrize("name", VECTORS)
def test_a_published_index_gives_its_rows(name: str) -> None:
    index = opened(parse(stored()[name]).body)
    lines = (line for number in range(len(index.head.blocks)) for line in index.block(number).lines())
    assert tuple(map(decode_row, lines)) == VECTORS[name]
    assert index.head.rows == len(VECTORS[name])


@pytest.mark.parametrize("name", VECTORS)
def test_a_reader_that_was_written_from_the_document_alone_reads_it(name: str) -> None:
    vector = parse(stored()[name])
    keys = Keys(keyfiles=[bytes.fromhex(m.KEY_FILE_LINE[1])])
    head, rows = read_names(read_container(read_outer(vector.body, keys), keys))
    assert (head["previous"] is None) == (name == "index-first")
    assert [row["name"] for row in rows] == [row.name for row in VECTORS[name]]
    for row, own in zip(rows, VECTORS[name], strict=True):
        there = own.version != GONE
        told = (row["number"], row["state"], row["written_at"], row["tags"], row["digest"])
        assert told == (own.version if there else None, own.state, own.written_at, own.tags, own.digest)
        assert [tuple(run) for run in row["older"]] == [msgspec.structs.astuple(run) for run in own.older]


def test_a_container_of_secrets_is_no_index_even_if_one_is_called_as_its_parts_are() -> None:
    secrets = [m.secret("head", b"{}"), m.secret("00000000", b"x")]
    with pytest.raises(NotABackup):
        opened(m.container("no index", secrets, lambda r: [m.key_file(r)]))


def written(head: IndexHead, *frames: bytes) -> bytes:
    content = bytearray()
    write_name_index(
        content.extend,
        head,
        frames.__getitem__,
        backup_id="b",
        policy="p",
        created_at="2026-11-25T02:45:01Z",
        wrapping_key=WrappingKey.create([m.key_file(os.urandom)]),
        signer=m.SEAL,
    )
    return bytes(content)


LINES = [encode_row(IndexRow(name, 1, digest="00" * 16)) for name in ("a", "b", "c")]


def block_of(*columns: bytes, digests: int = 3, rows: int = 3) -> bytes:
    return segment.join_rows(segment.Packed.of(columns, rows, [bytes(16)] * digests))


NAMES, REST = b'"a"\n"b"\n"c"\n', (b"1\n" * 3, *[b"\n" * 3] * 6)
GOOD = block_of(NAMES, *REST)


def test_a_block_is_what_the_document_says() -> None:
    assert Block.of(LINES).content == GOOD
    assert list(unpack_block(GOOD, "a", 3).lines()) == LINES


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no block",
        bytes(len(GOOD)),
        GOOD[:-1],
        GOOD + b"\0",
        GOOD[:15] + b"\xff" + GOOD[16:],
        block_of(NAMES, *REST, b"\n\n\n"),
        block_of(NAMES, *REST[:-1]),
        block_of(NAMES, *REST[:-1], b"\n\n", b"x"),
        block_of(b'"a"\n"b"\n"d"\n"c"\n', *REST),
        block_of(b'"a"\n"c"\n"b"\n', *REST),
        block_of(b'"a"\n"b"\n"b"\n', *REST),
        block_of(b'"b"\n"c"\n"d"\n', *REST),
        block_of(b'"a"\n2\n"c"\n', *REST),
        block_of(b'"a"\n\n"c"\n', *REST),
        block_of(NAMES, *REST, rows=4),
        block_of(NAMES, *REST, rows=0),
        block_of(bytes(MOST_BLOCK), *REST),
    ],
    ids=[
        "empty", "junk", "zeros", "cut", "behind", "frame", "a column more", "a column less", "lines",
        "one more", "unsorted", "twice", "another first", "no text", "a hole", "four", "none", "a bomb",
    ],
)  # fmt: skip
def test_a_block_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(Malformed):
        unpack_block(content, "a", 3)
    head = IndexHead(source="s", containers="0" * 64, previous=None, blocks=(("a", 3),))
    index = opened(written(head, content))
    with pytest.raises(Malformed):
        index.block(0)
    assert isinstance(index.damage, Malformed)


@pytest.mark.parametrize("digests", [2, 4])
def test_a_block_with_more_or_fewer_digests_than_values_is_refused(digests: int) -> None:
    with pytest.raises(Malformed):
        list(unpack_block(block_of(NAMES, *REST, digests=digests), "a", 3).lines())


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b'"a"',
        b'"a"\t1\t\t\t\t\t\t\t',
        b'"a"\t1\t\t\t\t\t\t\t00',
        b'"a"\t1\t\t\t\t\t\t\t\t',
        b'"a"\t01\t\t\t\t\tfalse\t\t',
        b'"a"\t-1\t\t\t\t\tfalse\t\t',
        b'"a"\t-5\t\t\t\t\tfalse\t\t',
        b'"a"\t1.0\t\t\t\t\tfalse\t\t',
        b'"a"\t1\t"asleep"\t\t\t\tfalse\t\t',
        b'"a"\t1\t"live"\t\t\t\tfalse\t\t',
        b'"a"\t1\t\tnull\t\t\tfalse\t\t',
        b'"a"\t1\t\t\t{}\t\tfalse\t\t',
        b'"a"\t1\t\t\t{"b":"","a":""}\t\tfalse\t\t',
        b'"a"\t1\t\t\t\t\ttrue\t\t' + b"0" * 32,
        b'"a"\t1\t\t\t\t\tfalse\t\t' + b"0" * 32,
        b'"a"\t\t"deleted"\t\t\t\t\t\t',
        b'"a"\t\t\t\t\t\t\t\t' + b"0" * 32,
        b'"a"\t1\t\t\t\t\tfalse\t[]\t',
        b'"a"\t9\t\t\t\t\tfalse\t[[3,3,"live",true,null]]\t',
        b'"a"\t9\t\t\t\t\tfalse\t[[4,3,"live",true,null,null]]\t',
        b'"a"\t9\t\t\t\t\tfalse\t[[3,9,"live",true,null,null]]\t',
        b'"a"\t9\t\t\t\t\tfalse\t[[-2,3,"live",true,null,null]]\t',
        b'"a"\t9\t\t\t\t\tfalse\t[[3,5,"live",true,null,null],[5,6,"live",false,null,null]]\t',
        b'"a"\t999999\t\t\t\t\tfalse\t[[1,100001,"live",true,null,null]]\t',
        b"\xff\t1\t\t\t\t\tfalse\t\t",
    ],
)
def test_a_row_in_another_spelling_is_refused(line: bytes) -> None:
    with pytest.raises(FormatError):
        decode_row(line)


@pytest.mark.parametrize("name", ["", "a", 'a"b', "a\\", '\\"', "ü😀", "\n\t\x7f", '",1'])
def test_the_name_of_a_line_is_found_whatever_is_in_it(name: str) -> None:
    line = encode_row(IndexRow(name, 1))
    assert json.loads(quoted_name(line)) == name
    assert decode_row(line).name == name


def test_many_lines_make_several_blocks_of_which_none_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strongroom.container.name_index.FULL_BLOCK", 100)
    lines = [encode_row(IndexRow(f"{number:03}", number)) for number in range(50)]
    made = list(blocks(lines))
    assert len(made) == 10
    unpacked = [list(unpack_block(block.content, block.first, block.rows).lines()) for block in made]
    assert [line for each in unpacked for line in each] == lines
    assert [block.first for block in made] == [decode_row(each[0]).name for each in unpacked]
    assert list(blocks([])) == []


def test_no_source_can_be_called_as_an_index() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(SOURCE, Name)
    assert msgspec.convert("strongroom-index", Name)


def test_rows_ascend_over_all_blocks() -> None:
    other = Block.of([encode_row(IndexRow("b", 1)), encode_row(IndexRow("d", 1))])
    head = IndexHead(source="s", containers="0" * 64, previous=None, blocks=(("a", 3), ("c", 1)))
    index = opened(written(head, GOOD, other.content))
    with pytest.raises(Malformed, match="row of the next one"):
        index.block(0)
    unsorted = IndexHead(source="s", containers="0" * 64, previous=None, blocks=(("b", 2), ("a", 3)))
    with pytest.raises(Malformed, match="do not ascend"):
        opened(written(unsorted, other.content, GOOD))


ODD = [
    *(b"", b'"a"', b'"b"', b'"b\\u0000"', b'"\\u00e4"', '"ä"'.encode(), b'"\xff"', b'"a\\/b"'),
    *(b' "a"', b'"\\ud800"'),
    *(b"1", b"0", b"-1", b"01", b"1.0", b"%d" % 2**64, b"%d" % (2**64 - 1), b"%d" % 2**63, b"null", b"true"),
    *(b"false", b'"live"', b'"deleted"', b"{}", b'{"a":"b"}', b'{"b":"","a":""}', b'{"a":1}', b"[]"),
    b'[[1,1,"live",true,null,null]]',
    b'[[1,2,"deleted",false,"x",null],[4,5,"live",true,null,"y"]]',
    b'[[1,1,"live",true,null]]',
    b'[[2,1,"live",true,null,null]]',
    b'[[1,5,"live",true,null,null],[5,6,"live",true,null,null]]',
    b'[[0,100000,"live",true,null,null]]',
]  # fmt: skip
SOME = [
    IndexRow("a", 5, tags={"k": "v"}, digest="11" * 16, older=(Older(1, 2, VersionState.LIVE, True),)),
    IndexRow("b", GONE),
    IndexRow("c", 200_000, VersionState.DELETED, m.CREATED),
    IndexRow("d", 3, digest="22" * 16),
]


def own_rows(content: bytes) -> list[tuple[object, ...]] | None:
    try:
        rows = [decode_row(line) for line in unpack_block(content, "a", 4).lines()]
    except FormatError:
        return None
    return [(row.name, row.version, row.state, row.tags, row.digest, len(row.older)) for row in rows]


def others_rows(content: bytes) -> list[tuple[object, ...]] | None:
    try:
        rows = read_block(content, "a", 4)
    except RefusedError:
        return None
    names = [msgspec.json.encode(row["name"]) for row in rows]
    if names != sorted(set(names)):
        return None
    numbers = [GONE if row["number"] is None else row["number"] for row in rows]
    said = [(row["state"], row["tags"], row["digest"], len(row["older"])) for row in rows]
    return [(row["name"], number, *rest) for row, number, rest in zip(rows, numbers, said, strict=True)]


def test_two_readers_agree_on_blocks_of_odd_columns() -> None:
    chance = random.Random(15)
    *columns, digests = zip(*(line.split(b"\t") for line in map(encode_row, SOME)), strict=True)
    accepted = 0
    for _ in range(1_000):
        odd = [list(column) for column in columns]
        for _ in range(chance.choice((1, 1, 2))):
            odd[chance.randrange(8)][chance.randrange(4)] = chance.choice(ODD)
        held = [bytes.fromhex(one.decode()) for one in digests if one][: chance.choice((2, 2, 2, 1))]
        parts = [b"\n".join([*column, b""]) for column in odd]
        content = segment.join_rows(segment.Packed.of(parts, 4, held))
        rows = own_rows(content)
        assert rows == others_rows(content), odd
        accepted += rows is not None
    assert accepted > 30
