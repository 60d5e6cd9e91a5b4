"""What the pages show is true of the code, and what the code says of the pages is true of them."""

from __future__ import annotations

import ast
import re
import textwrap
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from scripts import check_docs
from strongroom.cli.table import SUBJECTS, command_of
from strongroom.config import Settings
from strongroom.config.load import read
from strongroom.config.schema import fields_of
from strongroom.operations.judge.kinds import KINDS
from tests.process import ROOT

PAGES = sorted({*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"})
WRITTEN = [page for page in PAGES if "<!-- Made from the code" not in page.read_text(encoding="utf-8")]
CODE = [ROOT / name for name in ("strongroom", "tasks", "workers", "scripts", "ops", "tests")]
EXITS = re.compile(r"\b(?:exit(?:\s+code)?|end(?:s|ed|ing)?\s+with)\s+`?([0-9]+)\b")


def tables() -> Iterator[tuple[str, str, object]]:
    """Yield each table of settings that a page shows: where, its section, and what is in it."""
    for page in WRITTEN:
        for block in re.findall(
            r"^ *```toml\n(.*?)^ *```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
        ):
            for section, value in tomllib.loads(textwrap.dedent(block)).items():
                yield page.name, section, value


@pytest.mark.parametrize(("page", "section", "value"), list(tables()))
def test_every_example_of_settings_is_taken(page: str, section: str, value: object) -> None:
    field = fields_of(Settings)[section]
    assert read(field.annotation, value, base=ROOT)[1] == [], page


def test_the_pages_show_every_kind_of_key_that_needs_settings() -> None:
    shown = {key["kind"] for _, section, keys in tables() if section == "keys" for key in keys.values()}  # type: ignore[attr-defined]
    assert shown >= {"all-of", "hpke", "kms", "pkcs11", "quorum", "transit"}


def texts() -> Iterator[tuple[Path, str]]:
    for folder in CODE:
        for path in folder.rglob("*"):
            if (
                path.suffix in (".py", ".md", ".toml", ".example", ".json", ".hcl", ".service")
                and path.is_file()
            ):
                yield path, path.read_text(encoding="utf-8")
    for name in ("Makefile", "CONTRIBUTING.md", "docker-compose.yml", "pyproject.toml", "beat_schedule.py"):
        yield ROOT / name, (ROOT / name).read_text(encoding="utf-8")


def test_a_page_or_heading_that_is_gone_is_noticed_where_it_is_linked_and_where_the_code_names_it() -> None:
    page = ROOT / "docs/how-to/monitor.md"
    text = "[a](restore.md#one-secret) [b](restore.md#nowhere) [c](nowhere.md) [d](#the-page) [e](#nowhere)"
    gone = ["link to restore.md#nowhere", "link to nowhere.md", "link to #nowhere"]
    assert [*check_docs.dead_links(page, text)] == gone
    assert [*check_docs.dead_names()] == []
    assert not check_docs.leads(page.with_name("nowhere.md"), "")


def error_names() -> set[str]:
    rows = (ROOT / "docs/reference/exit-codes.md").read_text(encoding="utf-8")
    return set(re.findall(r"`([A-Z]\w+)`", rows))


def test_every_exit_code_that_a_page_or_the_changelog_names_is_one() -> None:
    known = re.findall(
        r"^\| ([0-9]+) \|", (ROOT / "docs/reference/exit-codes.md").read_text("utf-8"), re.MULTILINE
    )
    pages = [*WRITTEN, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
    named = {(page.name, code) for page in pages for code in EXITS.findall(page.read_text("utf-8"))}
    assert len(named) > 2, "they are found"
    assert sorted(f"{page}: {code}" for page, code in named if code not in known) == []


@pytest.mark.parametrize("page", ["symptoms.md", "use-a-quorum.md", "restore.md", "shred-a-backup.md"])
def test_every_error_that_a_page_names_is_one(page: str) -> None:
    text = (ROOT / "docs" / "how-to" / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`", text))
    assert named, "they are found"
    assert named <= error_names()


def test_the_page_on_architecture_says_what_is_in_each_room() -> None:
    page = (ROOT / "docs/explanation/architecture.md").read_text(encoding="utf-8")
    rooms = {path.parent.name for path in (ROOT / "strongroom/operations").glob("*/__init__.py")}
    assert set(re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE)) == rooms


@pytest.mark.parametrize("page", [*WRITTEN, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_every_file_of_the_source_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(
        r"`((?:strongroom|tests|scripts|ops|tasks|workers)/[\w./-]+\.\w+)`", page.read_text(encoding="utf-8")
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


def said() -> str:
    """Return every text of the product, one a line, with a gap for what is put in."""
    lines = []
    for path in (path for name in ("strongroom", "workers", "tasks") for path in (ROOT / name).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                lines.append("".join(p.value if isinstance(p, ast.Constant) else "…" for p in node.values))  # type: ignore[misc]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                lines.append(node.value)
    return "\n".join(lines)


def test_the_words_that_the_symptoms_quote_are_those_of_the_product() -> None:
    page = (ROOT / "docs/how-to/symptoms.md").read_text(encoding="utf-8")
    quoted = re.findall(r'"([^"|]*…[^"|]*)"', page)
    logged = re.findall(r"`((?:accesses|key|ledger|message)-[a-z-]+)`", page)
    assert (len(quoted) > 1, len(logged) > 3) == (True, True), "they are found"
    words = said()
    parts = [part.strip(" ,") for text in quoted for part in text.split("…") if len(part.strip(" ,")) > 8]
    assert [part for part in [*parts, *logged] if part not in words] == []


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_every_setting_or_field_that_a_page_names_is_in_the_product(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"`(?:[a-z]+\.)*([a-z]+(?:_[a-z]+)+)(?: = [^`]*)?`", text))
    named.discard("pg_dump")  # PostgreSQL's own
    assert sorted(name for name in named if name not in source()) == []


@cache
def source() -> str:
    files = [*ROOT.glob("strongroom/**/*.py"), *ROOT.glob("ops/**/*.*"), *ROOT.glob("tasks/*.py")]
    return "\n".join(
        path.read_text(encoding="utf-8") for path in files if path.suffix in (".py", ".hcl", ".json", ".md")
    )


def test_the_index_links_to_every_page_of_the_site_and_the_site_has_every_page() -> None:
    site = re.findall(
        r"^ +- (?:[^:\n]+: )?([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE
    )
    index = re.findall(r"\]\(([\w/-]+\.md)", (ROOT / "docs/index.md").read_text("utf-8"))
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert sorted(site) == sorted(pages)
    assert {*index} == pages - {"index.md"}


def test_what_was_renamed_leads_to_commands_and_alerts_that_there_are() -> None:
    page = (ROOT / "docs/reference/renamed.md").read_text("utf-8")
    tables = {title: table for title, _, table in (part.partition("\n") for part in page.split("\n## "))}
    rows = {
        title: re.findall(r"^\| (`.+) \| (.+) \|$", table, re.MULTILINE) for title, table in tables.items()
    }
    named = [name for _, now in rows["Commands"] for name in re.findall(r"`([a-z][^`]*)`", now)]
    assert [name for name in named if not command_of(name.split())[0] and name not in SUBJECTS] == []
    alerts = [(re.findall(r"`([a-z.-]+)`", before), now.split("`")[1]) for before, now in rows["Alerts"]]
    assert (len(named) > 30, len(alerts) > 10) == (True, True), "they are found"
    assert [alert for before, _ in alerts for alert in before if alert in KINDS] == []
    assert [now for _, now in alerts if now not in KINDS] == []


INVARIANTS = re.findall(
    r"^\| ([0-9]+) \|[^|]+\|([^|]+)\| `([^`]+)` \|$",
    (ROOT / "docs/explanation/invariants.md").read_text("utf-8"),
    re.MULTILINE,
)


@pytest.mark.parametrize(("number", "kept_by", "test"), INVARIANTS)
def test_the_modules_and_the_test_of_each_invariant_are_there(number: str, kept_by: str, test: str) -> None:
    modules = re.findall(r"`([^`]+\.py)`", kept_by)
    assert modules, number
    assert [module for module in modules if not (ROOT / "strongroom" / module).is_file()] == []
    file, _, name = test.partition("::")
    assert re.search(rf"^def {re.escape(name)}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE), number


def test_every_invariant_that_the_code_names_is_on_the_page() -> None:
    named = {number for _, text in texts() for number in re.findall(r"\(invariant ([0-9]+)", text)}
    assert len(named) > 3, "they are found"
    assert named <= {number for number, *_ in INVARIANTS}
