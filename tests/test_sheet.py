"""One sheet renders as text, as a page and as a table, and others' words stay words in each."""

from __future__ import annotations

import csv
import io
import re

import pytest

from strongroom.sheet import Cell, Lines, Mood, Pairs, Picture, Share, Sheet, Table, marked

HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e'\"&\nforged"


def every_part(words: object) -> Sheet:
    parts = [
        Pairs([("Name", words), ("Nothing", ""), ("None", None)], "In short"),
        Table(("Name", "Said"), [(words, Cell(words, link=f"/backups/{words}", small=words))], words),
        Lines([words], "Left to do", style="list"),
        Lines([words], style="code"),
        Table(("Name",), [], nothing=str(words)),
    ]
    return Sheet(title=str(words), verdict=str(words), about=str(words), kind="Report", parts=parts)


def rows_of(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


def test_text_lays_out_pairs_tables_and_lines_under_their_headings() -> None:
    sheet = Sheet(
        verdict="All is well.",
        parts=[
            Pairs([("Backup", "b1"), ("Policy", ""), ("Secrets", 1200)]),
            Table(("Target", "Bytes", "Good"), [("dublin", 1024, True), ("rome", 7, False)], "Replicas"),
            Lines(["first", "second"], style="list"),
            Lines(["third"]),
        ],
    )
    assert sheet.text() == (
        "All is well.\n"
        "\n"
        "Backup   b1\n"
        "Secrets  1,200\n"
        "\n"
        "Replicas\n"
        "  TARGET  BYTES  GOOD\n"
        "  dublin  1,024  yes\n"
        "  rome        7  no\n"
        "\n"
        "  - first\n"
        "  - second\n"
        "  third\n"
    )


def test_an_empty_table_says_so_and_an_empty_sheet_says_nothing() -> None:
    assert Sheet(parts=[Table(("A",), [], nothing="Nothing is held.")]).text() == "Nothing is held.\n"
    empty = Sheet(parts=[Table(("A",), [], "Held"), Lines([], "Left"), Pairs([("A", "")], "Facts")])
    assert (empty.text(), empty.body()) == ("", "")


def test_a_terminal_folds_the_last_column_only_and_a_pipe_gets_whole_rows() -> None:
    words = "one two three four five six seven eight nine ten"
    sheet = Sheet(parts=[Table(("Name", "Why"), [("a" * 30, words)])])
    assert [len(line) for line in sheet.text().splitlines()] == [35, 32 + len(words)]
    folded = sheet.text(60).splitlines()
    assert max(map(len, folded)) <= 60
    assert [line[32:] for line in folded[1:]] == ["one two three four five six", "seven eight nine ten"]


def test_colour_is_for_a_terminal_and_leaves_the_columns_where_they_are() -> None:
    sheet = Sheet(
        verdict="Bad",
        mood=Mood.BAD,
        parts=[Table(("Name", "To"), [(marked("a", bad=True), "b"), ("cc", "d")])],
    )
    assert "\x1b" not in sheet.text()
    painted = sheet.text(colour=True)
    assert "\x1b[31;1mBad\x1b[0m" in painted
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == sheet.text()


def test_no_words_of_others_move_a_cursor_or_forge_a_line() -> None:
    text = every_part(HOSTILE).text()
    assert not set("\x1b\u202e") & set(text)
    assert [line for line in text.splitlines() if line.startswith("forged")] == []


def test_no_words_of_others_end_a_tag_or_reorder_a_page() -> None:
    page = every_part(HOSTILE).html().decode()
    assert not set("\x1b\u202e") & set(page)
    assert "<script" not in page
    assert re.findall(r"href=\"([^\"]*)\"", page) == [
        "/backups/%3Cscript%3Ealert%281%29%3C/script%3E%1B%5B2J%E2%80%AE%27%22&amp;%0Aforged"
    ]


def test_a_page_needs_nothing_else_and_runs_nothing() -> None:
    parts = [Table(("Step", "Took"), [("a", Share(0.4, "2 s"))], "Steps"), Picture("<svg></svg>\n")]
    page = Sheet(title="T", verdict="V", mood=Mood.WARN, parts=parts, foot="1.0").html().decode()
    assert not re.search(r"<script|<link|\ssrc=|url\(|\son\w+=|\sstyle=|http", page)
    assert page.count("<section>") == page.count("</section>") == 1
    assert "<strong>! V</strong>" in page


def test_a_sub_heading_stays_within_its_section() -> None:
    parts = [Lines(["a"], "One"), Lines(["b"], "Part", sub=True), Lines(["c"], "Two")]
    body = Sheet(parts=parts).body()
    assert body.count("<section>") == body.count("</section>") == 2
    assert body.index("<h3>Part") < body.index("</section>") < body.index("<h2>Two")


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_no_words_of_others_make_a_spreadsheet_compute(formula: str) -> None:
    assert rows_of(Sheet(parts=[Table(("A",), [(formula,)])]).csv()) == [["A"], [f"'{formula}"]]


def test_a_spreadsheet_gets_the_tables_or_what_is_meant_for_it() -> None:
    parts = [Table(("A", "B"), [("x", 1200)]), Lines(["no table"]), Table(("C",), [(None,)])]
    assert rows_of(Sheet(parts=parts).csv()) == [["A", "B"], ["x", "1200"], [], ["C"], [""]]
    assert rows_of(Sheet(parts=parts, data=Table(("D",), [("d, e",)])).csv()) == [["D"], ["d, e"]]
