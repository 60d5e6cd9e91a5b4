"""The worked example in FORMAT.md is what its own vector gives, step by step."""

from __future__ import annotations

from tests.vectors import apart, example
from tests.vectors.vector import parse, stored


def test_the_example_in_the_document_is_what_the_vector_gives() -> None:
    document = example.DOCUMENT.read_text("utf-8")
    assert example.text() in document


def test_the_example_ends_in_what_the_container_itself_says() -> None:
    values = dict(example.lines())
    body = parse(stored()["container-xwing"]).body
    assert values["header tag"] == body[48:80]
    mac = values["mac"]
    assert isinstance(mac, bytes)
    assert b'"mac":"' + mac.hex().encode() + b'"' in body
    for kind in ("index", "rows", "values"):
        commitment = values[f"commitment of {kind}"]
        assert isinstance(commitment, bytes)
        assert commitment in body


def test_the_backup_on_the_page_is_what_its_vector_gives() -> None:
    page = apart.PAGE.read_text("utf-8")
    assert apart.written(page) == page


def test_the_parts_on_the_page_are_the_whole_file() -> None:
    data = apart.container_of(apart.backup()[0])
    assert b"".join(content for _, content in apart.parts(data)) == data
