"""The site of the documents builds without a network, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process import ROOT

pytest.importorskip(
    "material", reason="mkdocs-material is not installed: it is one of the development requirements"
)

LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc="([^"]+)"|<link\b[^>]*\bhref="([^"]+)"|url\(([^)]+)\)"""
)
OFFLINE = {
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "NO_MKDOCS_2_WARNING": "1",
}


def build(project: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    env = {**os.environ, **OFFLINE}
    return subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_in_the_site(site: Path) -> None:
    pages = {page.relative_to(ROOT / "docs").with_suffix(".html") for page in (ROOT / "docs").rglob("*.md")}
    assert [page for page in pages if not (site / page).is_file()] == []


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    files = [*site.rglob("*.html"), *site.rglob("*.css")]
    loaded = {"".join(found) for file in files for found in LOADED.findall(file.read_text(encoding="utf-8"))}
    assert len(loaded) > 10, "they are found"
    assert sorted(address for address in loaded if address.strip("'\"").startswith(("http", "//"))) == []


def test_a_link_out_of_the_folder_of_documents_leads_to_its_copy_in_the_site(site: Path) -> None:
    page = (site / "reference/format.html").read_text(encoding="utf-8")
    assert "../files/strongroom/container/FORMAT.html" in page
    assert (site / "files/strongroom/container/FORMAT.html").is_file()


def test_each_link_that_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    for name in ("docs", "ops", "scripts", "strongroom/container"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "mkdocs.yml", tmp_path / "mkdocs.yml")
    links = ("how-to/nowhere.md", "how-to/monitor.md#nowhere", "../nowhere.md")
    with (tmp_path / "docs/index.md").open("a") as index:
        index.writelines(f"\n[a link]({link})\n" for link in links)
    done = build(tmp_path, tmp_path / "site")
    assert (done.returncode != 0, done.stderr.count("nowhere")) >= (True, len(links)), done.stderr
