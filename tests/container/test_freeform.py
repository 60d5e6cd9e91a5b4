"""Free-form metadata: the text of a number is whoever wrote it's, from the source to the source."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from msgspec import Raw

from strongroom import freeform
from strongroom.container.errors import Malformed
from strongroom.container.ranges import BytesReader
from strongroom.container.reader import Container
from strongroom.container.segment import decode_rows, encode_secrets
from strongroom.errors import SourceError
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.model import Secret
from strongroom.operations.backup.single_file import backup_to_file
from strongroom.sources.database import pack_head, unpack_head
from strongroom.sources.files import FilesSource
from strongroom.sources.vault.secrets import custom_of, free_of
from strongroom.system import files
from tests.container.parts import KEY, sealed, secret
from tests.operations.world import make_world
from tests.recover.test_recover import run
from tests.vectors.good import NUMBERS
from tests.vectors.spelling import metadata_text

KEY_FILE = KeyFileIdentity(bytes(range(32)))


@pytest.mark.parametrize("written", NUMBERS)
def test_a_number_is_written_as_it_was_read(written: str) -> None:
    metadata = freeform.parse(b'{"n":%b}' % written.encode())
    columns = encode_secrets([_with(metadata)])
    assert columns.endswith(b'\n{"n":%b}\n' % written.encode())
    [row] = decode_rows(columns, 1)
    assert encode_secrets([_with(row.metadata)]) == columns


def test_a_number_that_a_float_gives_back_is_a_float() -> None:
    assert freeform.parse(b'{"a":1.5,"b":-0.0,"c":3}') == {"a": 1.5, "b": -0.0, "c": 3}
    assert freeform.parse(b'{"a":1.50}') == {"a": Raw(b"1.50")}


def test_what_another_library_wrote_is_read_though_ours_would_write_it_otherwise() -> None:
    chooser = random.Random(7)
    for _ in range(300):
        written = metadata_text(chooser)
        [row] = decode_rows(encode_secrets([_with({})])[:-1] + written + b"\n", 1)
        assert row.metadata == freeform.parse(written)
        line = encode_secrets([_with(row.metadata)]).split(b"\n")[8]
        again = json.loads(line, parse_int=str, parse_float=str)
        assert again == json.loads(written, parse_int=str, parse_float=str)


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), "deep", "\ud800"])
def test_a_writer_refuses_metadata_that_no_reader_takes(odd: object) -> None:
    deep: object = odd
    for _ in range(64 if odd == "deep" else 0):
        deep = [deep]
    with pytest.raises(SourceError, match="metadata of 'a'"):
        sealed([_with({"odd": deep})])


def test_metadata_may_be_nested_up_to_its_limit_and_no_deeper() -> None:
    for depth, fits in ((63, True), (64, False)):
        nested: object = "CANARY-deep"
        for _ in range(depth):
            nested = [nested]
        assert freeform.fits({"nested": nested}) is fits
    data, _ = sealed([_with({"nested": [[["CANARY"]]]})])
    [found] = Container.open(BytesReader(data), [KEY], trusted=None).secrets()
    assert found.metadata == {"nested": [[["CANARY"]]]}


def test_a_version_beyond_what_the_format_numbers_is_refused() -> None:
    columns = b'"a"\n"t"\n[[%d,null,"text","live",null]]\n' + b"\n" * 6
    assert decode_rows(columns % (2**64 - 1), 1)
    with pytest.raises(Malformed):
        decode_rows(columns % 2**64, 1)


def test_numbers_reach_another_file_as_they_stood_in_the_first(tmp_path: Path) -> None:
    """From JSONL through a backup file, ours and recover.py's reading of it."""
    members = ",".join(f'"n{place}":{written}' for place, written in enumerate(NUMBERS) if len(written) < 99)
    (tmp_path / "s.jsonl").write_text(f'{{"name":"a","value":"CANARY-v",{members}}}\n')
    source = FilesSource(str(tmp_path / "s.jsonl"), layout="jsonl", name="vault")
    world = make_world(tmp_path / "world", secrets=[])
    path = tmp_path / "f.strongroom"
    backup_to_file(path, source=source, recipients=[KEY_FILE.recipient()], services=world.services())
    key = tmp_path / "key"
    files.write_line(key, kind="strongroom-key-1", variety="AES256", content=bytes(range(32)))

    done = run(path, "--key-file", key, "--jsonl")

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout, parse_float=str, parse_int=str)["metadata"]
    assert list(found.values()) == [written for written in NUMBERS if len(written) < 99]


def test_numbers_go_into_the_local_store_and_vault_as_they_stood() -> None:
    held = _with(freeform.parse(b'{"n":[%b]}' % b",".join(map(str.encode, NUMBERS[:-1]))))
    again, _ = unpack_head(pack_head(held, held.current, 0), "a", 1)
    in_vault = free_of(custom_of(held) or {})
    for metadata in (again.metadata, in_vault):
        kept = Secret(name="a", versions=held.versions, metadata=metadata)
        assert encode_secrets([kept]).replace(b",0,", b",-0,") == encode_secrets([held])


def _with(metadata: dict[str, object]) -> Secret:
    bare = secret("a", b"CANARY-a")
    return Secret(name=bare.name, versions=bare.versions, metadata=metadata)
