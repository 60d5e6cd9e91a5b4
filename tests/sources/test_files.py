"""Files against the suite, and each format's own rules."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from strongroom.container.errors import DuplicateSecret
from strongroom.errors import SourceError, UsageError
from strongroom.model import ListedSecret, Media, RotationSchedule, Secret, SecretVersion
from strongroom.plugins.conformance.sources import Filled, SourceConformance, secret
from strongroom.sources import Listable, Source, json_files
from strongroom.sources.errors import EmptySource, SourceChanged
from strongroom.sources.files import detect, open_files
from strongroom.sources.records import BadRecordError, Records
from tests.sources.rights import as_nobody


def bare(held: Secret) -> Secret:
    """Return what a file that knows names and values alone keeps."""
    value = held.current.value
    assert value is not None
    return Secret(name=held.name, versions=(SecretVersion(number=1, value=value),))


def record(held: Secret) -> dict[str, Any]:
    """Return a secret of one text version as a record."""
    value = held.current.value
    assert value is not None
    return {"name": held.name, "value": value.reveal().decode(), "tags": held.tags}


def quoted(value: str) -> str:
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("$", "\\$")):
        value = value.replace(plain, escaped)
    return f'"{value}"'


def text_of(held: Secret) -> str:
    value = held.current.value
    assert value is not None
    return value.reveal().decode()


class TestDotenvFile(SourceConformance):
    @pytest.fixture
    def filled(self, tmp_path: Path) -> Filled:
        def fill(secrets: Sequence[Secret]) -> Source:
            lines = [f"{held.name}={quoted(text_of(held))}\n" for held in secrets]
            (tmp_path / ".env").write_text("".join(lines))
            return open_files(tmp_path / ".env")

        return fill

    def kept(self, held: Secret) -> Secret:
        return bare(held)


class TestJsonlFile(SourceConformance):
    @pytest.fixture(autouse=True)
    def in_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(json_files, "PART", 64)

    @pytest.fixture
    def filled(self, tmp_path: Path) -> Filled:
        def fill(secrets: Sequence[Secret]) -> Source:
            lines = [json.dumps(record(held)) + "\n" for held in secrets]
            (tmp_path / "secrets.jsonl").write_text("".join(lines))
            return open_files(tmp_path / "secrets.jsonl")

        return fill


class TestJsonListFile(SourceConformance):
    @pytest.fixture
    def filled(self, tmp_path: Path) -> Filled:
        def fill(secrets: Sequence[Secret]) -> Source:
            document = json.dumps([record(held) for held in secrets], indent=2, ensure_ascii=False)
            (tmp_path / "secrets.json").write_text(document)
            return open_files(tmp_path / "secrets.json")

        return fill


class TestJsonObjectFile(SourceConformance):
    @pytest.fixture
    def filled(self, tmp_path: Path) -> Filled:
        def fill(secrets: Sequence[Secret]) -> Source:
            (tmp_path / "s.json").write_text(json.dumps({held.name: record(held) for held in secrets}))
            return open_files(tmp_path / "s.json")

        return fill


class TestSecretTree(SourceConformance):
    @pytest.fixture
    def filled(self, tmp_path: Path) -> Filled:
        def fill(secrets: Sequence[Secret]) -> Source:
            for held in secrets:
                (tmp_path / held.name).write_text(text_of(held))
            return open_files(tmp_path)

        return fill

    def kept(self, held: Secret) -> Secret:
        return bare(held)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


def read_all(path: Path, layout: str) -> list[Secret]:
    source = open_files(path, layout)
    return [held for held in source.read(list(source.list())) if held]


def values(path: Path, layout: str) -> dict[str, bytes]:
    found = {}
    for held in read_all(path, layout):
        assert held.current.value is not None
        found[held.name] = held.current.value.reveal()
    return found


# -- .env --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("A=plain", b"plain"),
        ("A=", b""),
        ("A = spaced out  ", b"spaced out"),
        ("export A=exported", b"exported"),
        ("A=with # a comment", b"with"),
        ("A=with#no comment", b"with#no comment"),
        ("A=#nothing", b""),
        ("A='single $X \\n # \"'", b'single $X \\n # "'),
        ('A="double \\n \\t \\" \\\\ \\$X \\z # \'"', b"double \n \t \" \\ $X \\z # '"),
        ('A="on\ntwo lines"', b"on\ntwo lines"),
        ("A='on\ntwo lines' # and a comment", b"on\ntwo lines"),
        ("A=crlf\r", b"crlf"),
        ("\ufeffA=after a byte order mark", b"after a byte order mark"),
        ("# A=no\n\n  \nA=yes", b"yes"),
        ("A=it's", b"it's"),
        ("A=a=b=c", b"a=b=c"),
        ("  A=indented", b"indented"),
    ],
)
def test_a_dotenv_value_is_read_as_shells_mean_it(file: Path, written: str, meant: bytes) -> None:
    file.write_text(written + "\n")
    assert values(file, "env") == {"A": meant}


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ('A=1\nB="CANARY never closed\nC=2\n', 2),
        ("A=1\n\nB='CANARY never closed", 3),
        ("A=1\nCANARY\n", 2),
        ("1A=CANARY\n", 1),
        ("A='CANARY'CANARY\n", 1),
        ("A=1\n=CANARY\n", 2),
        ("A\n=CANARY\n", 1),
    ],
)
def test_a_broken_dotenv_file_names_the_line_and_no_value(file: Path, written: str, line: int) -> None:
    file.write_text(written)
    with pytest.raises(SourceError, match=f"line {line}:") as caught:
        list(open_files(file, "env").list())
    assert_silent(caught.value)


def test_a_dotenv_value_that_is_not_text_is_kept_byte_for_byte(file: Path) -> None:
    file.write_bytes(b"A=\xff\xfe\n")
    (found,) = read_all(file, "env")
    assert found.current.media is Media.BINARY
    assert values(file, "env") == {"A": b"\xff\xfe"}


def test_two_dotenv_lines_of_one_name_are_both_listed(file: Path) -> None:
    file.write_text("A=1\nA=2\n")
    source = open_files(file, "env")
    assert [entry.name for entry in source.list()] == ["A", "A"]
    with pytest.raises(DuplicateSecret):
        list(source.read([ListedSecret("A", 0)]))


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r")))
def test_every_text_survives_double_quotes(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    path = tmp_path_factory.mktemp("env") / ".env"
    path.write_bytes(f"A={quoted(value)}\nB=after\n".encode())
    assert values(path, "env") == {"A": value.encode(), "B": b"after"}


# -- records -----------------------------------------------------------------

RECORD = (
    b'{"name":"a","value":"CANARY","type":"api_key","version":7,"tags":{"k":"v"},'
    b'"created_at":"2024","updated_at":"2025","expires_at":"2026",'
    b'"rotation":{"enabled":false,"days":30},"description":"words","n":{"x":[1.5,null]}}'
)


@pytest.mark.parametrize("layout", ["jsonl", "json"])
def test_every_field_of_a_record_is_kept(file: Path, layout: str) -> None:
    file.write_bytes(RECORD if layout == "jsonl" else b"[" + RECORD + b"]")
    (found,) = read_all(file, layout)
    assert found == replace(
        secret("a", "CANARY", number=7, tags={"k": "v"}, type="api_key"),
        created_at="2024",
        updated_at="2025",
        expires_at="2026",
        rotation=RotationSchedule(days=30, enabled=False),
        metadata={"description": "words", "n": {"x": [1.5, None]}},
    )


def test_further_fields_are_kept_whatever_came_before(file: Path) -> None:
    records: list[dict[str, Any]] = [
        {"name": "a", "value": "1", "x": 1, "cost-center": "c"},
        {"name": "b", "value": "2"},
        {"name": "c", "value": "3", "y": None, "x": [2]},
        {"name": "d", "value": "4", "class": 1, "name ": 2, "": 3, "further_0": 4},
        *({"name": f"n{n}", "value": "5", f"field{n}": n} for n in range(100)),
        {"name": "e", "value": "6", "x": 5, "field99": 1},
    ]
    file.write_text("".join(json.dumps(fields) + "\n" for fields in records))
    for _ in range(2):
        expected = [{k: v for k, v in fields.items() if k not in ("name", "value")} for fields in records]
        assert [held.metadata for held in read_all(file, "jsonl")] == expected


def test_values_of_all_kinds_may_follow_each_other(file: Path) -> None:
    written = ['"1"', "[2]", '"3"', "4", '"5"', '"\\u00e9"', "null"]
    file.write_text("".join(f'{{"name":"n{n}","value":{v},"x":{n}}}\n' for n, v in enumerate(written)))
    found = read_all(file, "jsonl")
    assert [v.reveal().decode() for held in found if (v := held.current.value)] == [
        *("1", "[2]", "3", "4", "5", "é", "null")
    ]
    assert [held.current.media is Media.JSON for held in found] == [v[0] != '"' for v in written]
    assert [held.metadata for held in found] == [{"x": n} for n in range(len(written))]


def test_how_values_are_written_is_learned_from_the_first_that_is_no_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = Records()
    records.parse(b'{"name":"a","value":[1]}')
    monkeypatch.setattr(Records, "_learn", None)
    assert records.parse(b'{"name":"b","value":{"x":1}}').current.media is Media.JSON
    assert records.parse(b'{"name":"c","value":"text"}').current.media is Media.TEXT


@pytest.mark.parametrize("field", ["CORP\\user", 'a "quoted" one', "nul\x00", "tab\t", "", "ключ", "\x7f"])
def test_a_further_field_may_have_any_name(file: Path, field: str) -> None:
    records = [{"name": f"n{n}", "value": "1", "x": n, **({field: n} if n % 2 else {})} for n in range(6)]
    file.write_text("".join(json.dumps(fields) + "\n" for fields in records))
    expected = [{k: v for k, v in fields.items() if k not in ("name", "value")} for fields in records]
    assert [held.metadata for held in read_all(file, "jsonl")] == expected


def test_further_fields_of_a_rotation_are_kept(file: Path) -> None:
    file.write_text('{"name":"a","value":"","rotation":{"days":1,"owner":"me"}}\n{"name":"b","value":""}')
    first, second = read_all(file, "jsonl")
    assert first.rotation == RotationSchedule(days=1)
    assert first.metadata == {"rotation": {"owner": "me"}}
    assert second.metadata == {}


@pytest.mark.parametrize(
    "written",
    ['{"b": 1.50,  "a":"\\u00e9"}', "12345678901234567890123", "1e999", "true", "null", "[1, 2]", "1.0"],
)
@pytest.mark.parametrize(
    "shape", ['{"name":"a","value": %s }\n', '[{"name":"a","value": %s }]', '{"a": %s }']
)
def test_a_value_that_is_no_string_is_kept_exactly_as_written(file: Path, shape: str, written: str) -> None:
    file.write_text(shape % written)
    (found,) = read_all(file, "jsonl" if shape.endswith("\n") else "json")
    assert found.current.media is Media.JSON
    assert found.current.value is not None
    assert found.current.value.reveal() == written.encode()


BAD_RECORDS = {
    "broken": b'{"name":"b","value":"CANARY"',
    "no name": b'{"value":"CANARY"}',
    "an empty name": b'{"name":"","value":"CANARY"}',
    "a name that is no string": b'{"name":5,"value":"CANARY"}',
    "no value": b'{"name":"b","description":"CANARY"}',
    "no object": b'["CANARY"]',
    "bytes that are not UTF-8": b'{"name":"b","value":"CANARY\xff"}',
    "bytes that are not UTF-8 in a value that is no string": b'{"name":"b","value":{"CANARY":"\xff"}}',
    "half a surrogate pair": b'{"name":"b","value":"CANARY\\ud800"}',
    "tags that are no strings": b'{"name":"b","value":"CANARY","tags":{"a":1}}',
    "a version that is no number": b'{"name":"b","value":"CANARY","version":"CANARY"}',
    "a version below 1": b'{"name":"b","value":"CANARY","version":0}',
    "a rotation of no days": b'{"name":"b","value":"CANARY","rotation":{"days":0}}',
    "not JSON": b'{"name":"b","value":NaN,"x":"CANARY"}',
    "deep nesting": b'{"name":"b","value":"CANARY","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("bad", BAD_RECORDS)
@pytest.mark.parametrize("layout", ["jsonl", "json"])
def test_a_bad_record_names_file_and_line_and_no_value(file: Path, layout: str, bad: str) -> None:
    good = b'{"name":"a","value":"CANARY"}'
    if layout == "jsonl":
        file.write_bytes(b"\n".join((good, b"", BAD_RECORDS[bad], good)))
    else:
        file.write_bytes(b"[" + good + b",\n\n" + BAD_RECORDS[bad] + b"]")
    with pytest.raises(SourceError, match=r"file', line 3: ") as caught:
        read_all(file, layout)
    assert not caught.value.transient
    assert_silent(caught.value)


def assert_silent(error: BaseException) -> None:
    """Assert that an error says no value, and that nothing hangs on it that could."""
    assert "CANARY" not in repr(error) + str(vars(error))
    assert error.__context__ is None


@pytest.mark.parametrize("bad", BAD_RECORDS)
def test_what_is_wrong_with_a_record_carries_none_of_it(bad: str) -> None:
    with pytest.raises(BadRecordError) as caught:
        Records().parse(BAD_RECORDS[bad])
    assert_silent(caught.value)


def test_blank_lines_and_windows_line_ends_are_fine_in_jsonl(file: Path) -> None:
    file.write_bytes(b'\r\n{"name":"a","value":"1"}\r\n  \n\n{"name":"b","value":"2"}')
    assert values(file, "jsonl") == {"a": b"1", "b": b"2"}


def test_a_jsonl_file_is_listed_across_its_blocks(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_files, "BLOCK", 7)
    lines = [f'{{"name":"n{n}","value":"{"x" * n}"}}' for n in range(50)]
    file.write_text("\n".join(lines))
    assert values(file, "jsonl") == {f"n{n}": b"x" * n for n in range(50)}


LINES = st.sampled_from([b"", b"  ", b"\r", b'{"name":"a","value":"1"}', b'{"name":"b","value":[2]} '])


@given(lines=st.lists(LINES, max_size=30), most=st.integers(1, 9), block=st.sampled_from([3, 40, 1000]))
def test_a_jsonl_file_is_listed_in_parts_as_it_is_whole(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], most: int, block: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "parts.jsonl"
    path.write_bytes(b'{"name":"first","value":""}\n' + b"\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_files, "BLOCK", block)
        patch.setattr(json_files, "PART", 8)
        parts = parts_of(path, most)
        assert [entry for part in parts for entry in part.list()] == list(open_files(path, "jsonl").list())
        assert 1 <= len(parts) <= most


def parts_of(path: Path, most: int) -> Sequence[Listable]:
    source = open_files(path)
    return source.parts(most)


def test_a_large_jsonl_file_has_a_part_for_each_process_and_others_are_one(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_files, "PART", 1000)
    file.write_text("".join(f'{{"name":"n{n}","value":"{"x" * 80}"}}\n' for n in range(100)))
    assert [len(list(part.list())) for part in parts_of(file, 4)] == [26, 25, 25, 24]
    assert len(parts_of(file, 100)) == file.stat().st_size // 1000
    (tmp_path / ".env").write_text("A=1\n" * 1000)
    assert len(parts_of(tmp_path / ".env", 4)) == 1


def test_a_jsonl_file_is_not_searched_through_for_the_end_of_a_line(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text('{"name":"a","value":"1"}\n{"name":"b","value":"2"}\n')
    with file.open("ab") as out:
        out.truncate(1 << 40)
    read: list[int] = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: read.append(size) or pread(fd, size, at))
    assert len(parts_of(file, 4)) == 1
    assert sum(read) <= 2 * json_files.LARGEST


def exchange(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


def grow(path: Path) -> None:
    with path.open("a") as more:
        more.write('{"name":"c","value":"3"}\n')


def write_over(path: Path) -> None:
    text = path.read_text()
    path.write_text(text)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


@pytest.mark.parametrize("change", [exchange, grow, write_over])
def test_parts_of_a_file_that_is_not_the_one_that_was_cut_are_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(json_files, "PART", 8)
    file.write_text('{"name":"a","value":"1"}\n{"name":"b","value":"2"}\n')
    first, second = parts_of(file, 2)
    assert [entry.name for entry in first.list()] == ["a"]
    change(file)
    with pytest.raises(SourceChanged):
        list(second.list())


def test_a_jsonl_file_replaced_meanwhile_is_noticed(file: Path) -> None:
    file.write_text('{"name":"a","value":"1"}\n{"name":"b","value":"2"}\n')
    source = open_files(file, "jsonl")
    entries = list(source.list())
    for changed in (
        '{"name":"b","value":"2"}\n{"name":"a","value":"1"}\n',
        '{"name":"a","value":"longer"}\n{"name":"b","value":"2"}\n',
        '{"name":"a","value":"1"}\n',
        "",
    ):
        file.write_text(changed)
        with pytest.raises(SourceChanged) as caught:
            list(source.read(entries))
        assert caught.value.transient


def test_listing_a_large_jsonl_file_takes_no_more_memory_than_a_small_one(file: Path) -> None:
    def peak(count: int) -> int:
        with file.open("w") as out:
            out.writelines(f'{{"name":"secret/{n}","value":"{"x" * 400}"}}\n' for n in range(count))
        tracemalloc.start()
        assert sum(1 for _ in open_files(file, "jsonl").list()) == count
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(40_000) < peak(10_000) * 1.3


# -- JSON documents ----------------------------------------------------------


def test_an_object_may_mix_values_and_records(file: Path) -> None:
    file.write_text(
        '{"plain": "text", "object": {"user": "u"}, "record": {"value": "v", "type": "api_key", "n": 1},'
        ' "own": {"name": "own", "value": [1]}}'
    )
    found = {held.name: held for held in read_all(file, "json")}
    assert values(file, "json") == {
        "plain": b"text",
        "object": b'{"user": "u"}',
        "record": b"v",
        "own": b"[1]",
    }
    assert found["record"].type == "api_key"
    assert found["record"].metadata == {"n": 1}


def test_a_name_that_a_json_object_has_twice_is_listed_twice(file: Path) -> None:
    file.write_text('{"a": "1", "b": "2", "a": "3"}')
    assert [entry.name for entry in open_files(file, "json").list()] == ["a", "b", "a"]


@pytest.mark.parametrize("block", [1, 2, 3, 5, 1000])
def test_a_json_document_is_read_through_a_window_of_any_size(
    file: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strongroom.sources.json_files.BLOCK", block)
    document = {"a": 123456, "ü": 'ä\\"ö', "nested": {"x": [1, {"y": "}"}]}, "b": -1.5e3, "c": True, "": None}
    del document[""]
    file.write_text(json.dumps(document, indent=1, ensure_ascii=False))
    found = values(file, "json")
    assert list(found) == list(document)
    assert found["a"] == b"123456"
    assert found["ü"] == 'ä\\"ö'.encode()
    assert found["b"] == b"-1500.0"


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ('"CANARY"', 1),
        ('{"a": "CANARY"', 1),
        ('{"a": "CANARY"\n "b": 1}', 2),
        ('{"a": "CANARY",\n}', 2),
        ('{"a"\n "CANARY"}', 2),
        ('{\n1: "CANARY"}', 2),
        ('{"a": "CANARY"}\n{"b": 1}', 2),
        ('["CANARY"]', 1),
        ('{"": "CANARY"}', 1),
        ('{"a": {"name": "b", "value": "CANARY"}}', 1),
        ('\n\n{"a": "b", "CANARY', 3),
        ('{"a": CANARY}', 1),
        ("[" * 100_000, 1),
    ],
)
def test_a_broken_document_names_file_and_line_and_no_value(file: Path, written: str, line: int) -> None:
    file.write_text(written)
    with pytest.raises(SourceError, match=f"file', line {line}: ") as caught:
        list(open_files(file, "json").list())
    assert_silent(caught.value)


# -- what any file can be ----------------------------------------------------


@pytest.mark.parametrize("layout", ["env", "jsonl"])
@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_file_without_a_secret_is_an_empty_source(file: Path, layout: str, content: str) -> None:
    file.write_text(content)
    with pytest.raises(EmptySource, match="file"):
        list(open_files(file, layout).list())


@pytest.mark.parametrize("content", ["[]", "{}", " { } "])
def test_an_empty_document_is_an_empty_source(file: Path, content: str) -> None:
    file.write_text(content)
    with pytest.raises(EmptySource, match="file"):
        list(open_files(file, "json").list())


def test_a_document_of_no_bytes_is_refused(file: Path) -> None:
    file.write_text("")
    with pytest.raises(SourceError, match="it is empty"):
        list(open_files(file, "json").list())


@pytest.mark.parametrize("layout", ["env", "json", "jsonl", "tree", None])
def test_a_missing_path_is_named(tmp_path: Path, layout: str | None) -> None:
    source = open_files(tmp_path / "nowhere", layout)
    with pytest.raises(SourceError, match="nowhere' does not exist"):
        list(source.list())


def test_a_path_that_the_system_refuses_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="too long"):
        list(open_files(tmp_path / ("y" * 300 + ".jsonl")).list())


@pytest.mark.parametrize("layout", ["env", "json", "jsonl", None])
def test_a_file_that_may_not_be_read_is_named(file: Path, layout: str | None) -> None:
    file.write_text("A=1\n")
    file.chmod(0)
    with as_nobody(file.parent), pytest.raises(SourceError, match="'file' may not be read"):
        list(open_files("file", layout).list())


@pytest.mark.parametrize("layout", ["env", "json", "jsonl"])
def test_a_directory_is_no_file_of_secrets(tmp_path: Path, layout: str) -> None:
    with pytest.raises(SourceError, match="not a regular file"):
        list(open_files(tmp_path, layout).list())


def test_a_pipe_is_refused_and_does_not_hang(file: Path) -> None:
    os.mkfifo(file)
    with pytest.raises(SourceError, match="not a regular file"):
        list(open_files(file, "jsonl").list())


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("secrets.jsonl", "", "jsonl"),
        ("secrets.ndjson", "", "jsonl"),
        ("secrets.json", "", "json"),
        (".env", "", "env"),
        (".env.production", "", "env"),
        ("prod.env", "", "env"),
        ("plain", "# c\nexport A=1\n", "env"),
        ("plain", ' {"name":"a","value":"b"}\n{"name":"b"}', "jsonl"),
        ("plain", '{"a": 1}', "json"),
        ("plain", '{"name": "a",\n "value": "b"}', "json"),
        ("plain", "[1]", "json"),
        ("prod.sops.yaml", "", "sops"),
        ("prod.sops.json", "", "sops"),
        ("prod.yaml", "a: ENC[x]\nsops:\n    age: []\n", "sops"),
        ("prod.yaml", "apiVersion: v1\nkind: Secret\n", "kubernetes"),
        ("prod.yml", "---\nkind: 'List'\nitems: []\n", "kubernetes"),
        ("prod.yaml", "kind: Secret\nsops:\n    age: []\n", "kubernetes"),
        ("prod.json", '{"a": "x",\n"sops": {\n"mac": "ENC[AES256_GCM,data"}}', "sops"),
        ("prod.json", '{"sops": {"mac": "CANARY"}}', "json"),
        ("prod.env", "A=ENC[x]\nsops_mac=ENC[AES256_GCM,data\n", "sops"),
    ],
)
def test_the_format_is_found_out(tmp_path: Path, name: str, content: str, found: str) -> None:
    (tmp_path / name).write_text(content)
    assert detect(os.fspath(tmp_path / name)) == found


def test_a_directory_is_a_tree(tmp_path: Path) -> None:
    assert detect(os.fspath(tmp_path)) == "tree"


def test_a_directory_that_says_whose_keys_seal_it_is_a_store_of_pass(tmp_path: Path) -> None:
    (tmp_path / ".gpg-id").write_text("CANARY\n")
    assert detect(os.fspath(tmp_path)) == "pass"


@pytest.mark.parametrize("name", ["values.yaml", ".sops.yaml"])
def test_yaml_of_no_known_kind_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("password: CANARY\n")
    with pytest.raises(SourceError, match="neither a Secret manifest nor sealed by sops"):
        list(open_files(tmp_path / name).list())


def test_an_unknown_format_is_refused(file: Path) -> None:
    file.write_bytes(b"\x7fELF")
    with pytest.raises(SourceError, match="no format known"):
        list(open_files(file).list())
    with pytest.raises(UsageError, match="'yaml'"):
        open_files(file, "yaml")


def test_nothing_is_touched_before_the_first_use(tmp_path: Path) -> None:
    source = open_files(tmp_path / "later.json", name="later")
    (tmp_path / "later.json").write_text('{"a": "b"}')
    assert source.name == "later"
    assert [entry.name for entry in source.list()] == ["a"]


MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("layout", "content"),
    [
        ("json", b'{"A": "CANARY-1", "B": "CANARY-2"}'),
        ("jsonl", b'{"name": "A", "value": "CANARY-1"}\n{"name": "B", "value": "CANARY-2"}\n'),
        ("env", b"A=CANARY-1\nB=CANARY-2\n"),
    ],
)
@pytest.mark.parametrize("said", [True, False])
def test_a_byte_order_mark_is_passed_over(file: Path, layout: str, content: bytes, said: bool) -> None:
    file.write_bytes(MARK + content)
    source = open_files(file, layout if said else None)
    found = {held.name: held.current.value for held in source.read(list(source.list())) if held}
    assert {name: value.reveal() for name, value in found.items() if value} == {
        "A": b"CANARY-1",
        "B": b"CANARY-2",
    }


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('["a", "b"]', "an object with a 'name' and a 'value'"),
        ("[1]", "an object with a 'name' and a 'value'"),
        ('{"A": "\\ud800"}', "half of a surrogate pair"),
        ('{"data": {"data": {"password": "CANARY"}}}', "an answer of a Vault server"),
        (
            '{"request_id": "1", "data": {"data": {"a": "CANARY"}, "metadata": {"version": 1}}}',
            "an answer of a Vault server",
        ),
    ],
)
def test_an_odd_document_is_refused_with_what_it_is(file: Path, written: str, said: str) -> None:
    file.write_text(written)
    with pytest.raises(SourceError, match=said) as caught:
        list(open_files(file, "json").list())
    assert "CANARY" not in str(caught.value)


def test_a_secret_that_is_called_data_is_one_all_the_same(file: Path) -> None:
    file.write_text('{"data": {"user": "a"}, "other": "CANARY"}')
    assert values(file, "json").keys() == {"data", "other"}
    file.write_text('{"data": {"data": {"a": "CANARY"}}, "other": "CANARY"}')
    assert values(file, "json").keys() == {"data", "other"}
