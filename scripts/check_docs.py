"""Check what points at the documents and what they point at, and that a line holds one sentence.

Relative links with their anchors, pages that the code names, and targets of make have to be there.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
MAKE = re.compile(r"`make ([a-z]+)[^`]*`|^\s{0,4}make ([a-z]+)", re.MULTILINE)
ENDED = re.compile(r"""[.?!][)"'*_]*\s+(?=["'(*_\[`]*[A-Z])""")
ABBREVIATED = re.compile(r"\b(?:e\.g|i\.e|vs|cf|rev|sec)\.\s*$")
MARKER = re.compile(r"\s*(?:[-*+]|\d+\.)\s+|\s*>\s*")
LEAD = re.compile(r"\*\*[^*]+\.\*\*\s+")
CODE = re.compile(r"`[^`]*`")
MADE = "<!-- Made from the code"
PROSE = ("docs/", "ops/", "README.md", "CONTRIBUTING.md")
"""What is written one sentence a line, so that a change of one sentence is a change of one line."""
TARGET = re.compile(r"^([a-z]+):", re.MULTILINE)
NAMED = re.compile(r"(?<![\w/.-])((?:docs|ops)/[\w/-]+\.(?:md|svg|hcl|json|py|yml))\b(#[\w-]+)?")
"""A page, or what administrators are given, as the code names it: in a hint, in a comment, in a test."""
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCED = re.compile(r"^ *(```|~~~).*?^ *\1", re.MULTILINE | re.DOTALL)


def documents() -> list[Path]:
    """Return every Markdown file that is, or is about to be, part of the project."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", "*.md"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    return sorted(ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).exists())


def dead_links(document: Path, text: str) -> Iterator[str]:
    """Yield relative links whose file or heading is missing."""
    for link in LINK.findall(text):
        place, _, heading = link.partition("#")
        page = document.parent / place if place else document
        elsewhere = "://" in link or link.startswith("mailto:")
        if not elsewhere and not leads(page, heading):
            yield f"link to {link}"


def leads(page: Path, heading: str) -> bool:
    """Tell whether a page, and a heading of it if one is named, is there."""
    if not page.exists() or not heading:
        return page.exists()
    titles = HEADING.findall(FENCED.sub("", page.read_text(encoding="utf-8")))
    return heading in {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def dead_names() -> Iterator[str]:
    """Yield pages that a file of the project names and that are missing."""
    listed = [
        "git",
        "grep",
        "-I",
        "-l",
        "--untracked",
        "-F",
        "-e",
        "docs/",
        "-e",
        "ops/",
        "--",
        ":!docs",
        ":!CHANGELOG.md",
    ]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in done.stdout.splitlines():
        text = (ROOT / name).read_text(encoding="utf-8")
        for page, heading in NAMED.findall(text):
            if not leads(ROOT / page, heading[1:]):
                yield f"{name}: {page}{heading} leads nowhere"


def unknown_targets(text: str, known: set[str]) -> Iterator[str]:
    """Yield targets that the Makefile does not have."""
    for quoted, alone in MAKE.findall(text):
        if (quoted or alone) not in known:
            yield f"make {quoted or alone}"


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that are prose, with their numbers; an empty one for each that is not."""
    fence = ""
    for number, line in enumerate(text.splitlines(), start=1):
        mark = line.strip()[:3]
        fenced = bool(fence) or mark in ("```", "~~~")
        if mark in ("```", "~~~"):
            fence = "" if fence == mark else fence or mark
        other = fenced or line.startswith(("|", "#", "    ", "<", "!!!", "???")) or not line.strip()
        yield number, "" if other else CODE.sub("`x`", line)


def not_one_sentence(text: str) -> Iterator[str]:
    """Yield lines with two sentences, and sentences on two lines."""
    before = ""
    for number, line in prose(text):
        begins = MARKER.match(line)
        if before and line and not begins and not re.search(r"""[.?!:][)"'*_]*$""", before):
            yield f"line {number - 1} ends in the middle of a sentence"
        said = LEAD.sub("", line[begins.end() :] if begins else line, count=1)
        if any(not ABBREVIATED.search(said[: end.start() + 1]) for end in ENDED.finditer(said)):
            yield f"line {number} has more than one sentence"
        before = line.rstrip()


def main() -> int:
    known = set(TARGET.findall((ROOT / "Makefile").read_text()))
    found = [*dead_names()]
    for document in documents():
        text = document.read_text()
        problems = [*dead_links(document, text), *unknown_targets(text, known)]
        name = document.relative_to(ROOT).as_posix()
        found += [f"{name}: {problem} leads nowhere" for problem in problems]
        if name.startswith(PROSE) and MADE not in text:
            found += [f"{name}: {problem}" for problem in not_one_sentence(text)]
    print("\n".join(found) if found else "Documents: every link and make target is there.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
