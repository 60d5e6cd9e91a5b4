"""The index of names: what is written comes back, also by the document alone, and nothing else passes."""

from __future__ import annotations

import json
import os

import msgspec
import pytest
import zstandard

from strongroom.config.fields import Name
from strongroom.container.errors import FormatError, Malformed, NotABackup
from strongroom.container.name_index import (
    MOST_BLOCK,
    SOURCE,
    IndexHead,
    IndexRow,
    NameIndex,
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
from tests.reader.reader import Keys
from tests.reader.reader import container as read_container
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
    lines = b"".join(index.block(number) for number in range(len(index.head.blocks)))
    assert tuple(map(decode_row, lines.splitlines(keepends=True))) == VECTORS[name]
    assert index.head.rows == len(VECTORS[name])


@pytest.mark.parametrize("name", VECTORS)
def test_a_reader_that_was_written_from_the_document_alone_reads_it(name: str) -> None:
    vector = parse(stored()[name])
    keys = Keys(keyfiles=[bytes.fromhex(m.KEY_FILE_LINE[1])])
    found = read_container(read_outer(vector.body, keys), keys)
    assert (found.index["source"], found.index["pieces"]) == ("strongroom-names/1", 1)
    parts = {secret.row["name"]: secret.values[0] for secret in found.secrets}
    head = json.loads(parts.pop("head"))
    lines = b"".join(zstandard.ZstdDecompressor().decompress(parts[name]) for name in sorted(parts))
    rows = [json.loads(line) for line in lines.splitlines()]
    assert [row[0] for row in rows] == [row.name for row in VECTORS[name]]
    assert sum(count for _, count in head["blocks"]) == len(rows)
    assert (head["previous"] is None) == (name == "index-first")


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


@pytest.mark.parametrize(
    "frame",
    [
        b"no frame",
        zstandard.compress(b""),
        zstandard.compress(b'["no line feed"]'),
        zstandard.compress(bytes(MOST_BLOCK + 1)),
        zstandard.compress(b'["a"]\n') + b"more",
        zstandard.ZstdCompressor(write_content_size=False).compress(b'["a"]\n'),
    ],
    ids=["junk", "empty", "cut", "a bomb", "behind", "no size"],
)
def test_a_block_that_is_none_is_refused(frame: bytes) -> None:
    head = IndexHead(source="s", containers="0" * 64, previous=None, blocks=(("a", 1),))
    with pytest.raises(Malformed):
        opened(written(head, frame)).block(0)
    with pytest.raises(Malformed):
        opened(written(head, frame)).block(1)


@pytest.mark.parametrize(
    "line",
    [
        b"[]\n",
        b'["a",1,"live",null,{},null]\n\n',
        b'["a", 1]\n',
        b'["a",1,"asleep",null,{},null,""]\n',
        b'["a",1,"live",null,{},null,""]\n',
        b'["a",1,"live",null,{},null,"",2]\n',
        b'["a",1,"live",null,{},null,"",[],2]\n',
        b'["a",9,"live",null,{},null,"",[[3,3,"live",true,null]]]\n',
        b'["a",9,"live",null,{},null,"",[[4,3,"live",true,null,null]]]\n',
        b'["a",9,"live",null,{},null,"",[[3,9,"live",true,null,null]]]\n',
        b'["a",9,"live",null,{},null,"",[[-2,3,"live",true,null,null]]]\n',
        b'["a",9,"live",null,{},null,"",[[3,5,"live",true,null,null],[5,6,"live",false,null,null]]]\n',
        b'["a",999999,"live",null,{},null,"",[[1,100001,"live",true,null,null]]]\n',
        b'{"name":"a"}\n',
        b"\xff\n",
    ],
)
def test_a_row_in_another_spelling_is_refused(line: bytes) -> None:
    with pytest.raises(FormatError):
        decode_row(line)


@pytest.mark.parametrize("name", ["", "a", 'a"b', "a\\", '\\"', "ü😀", "\n\t\x7f", '",1'])
def test_the_name_of_a_line_is_found_whatever_is_in_it(name: str) -> None:
    line = encode_row(IndexRow(name, 1))
    assert json.loads(quoted_name(line)[1:]) == name
    assert decode_row(line).name == name


def test_many_lines_make_several_blocks_of_which_none_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strongroom.container.name_index.FULL_BLOCK", 100)
    lines = [encode_row(IndexRow(f"{number:03}", number)) for number in range(50)]
    made = list(blocks(lines))
    assert len(made) > 10
    assert b"".join(unpack_block(block.frame) for block in made) == b"".join(lines)
    assert [block.first for block in made] == [
        decode_row(unpack_block(block.frame).splitlines()[0]).name for block in made
    ]
    assert list(blocks([])) == []


def test_no_source_can_be_called_as_an_index() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(SOURCE, Name)
    assert msgspec.convert("strongroom-index", Name)
