"""Check that what the documents point at is there: relative links, and targets of make."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
MAKE = re.compile(r"`make ([a-z]+)[^`]*`|^\s{0,4}make ([a-z]+)", re.MULTILINE)
TARGET = re.compile(r"^([a-z]+):", re.MULTILINE)


def documents() -> list[Path]:
    """Return every Markdown file that is, or is about to be, part of the project."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", "*.md"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    return sorted(ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).exists())


def dead_links(document: Path, text: str) -> Iterator[str]:
    """Yield relative links whose file is missing."""
    for link in LINK.findall(text):
        place = link.partition("#")[0]
        elsewhere = not place or "://" in place or place.startswith("mailto:")
        if not elsewhere and not (document.parent / place).exists():
            yield f"link to {link}"


def unknown_targets(text: str, known: set[str]) -> Iterator[str]:
    """Yield targets that the Makefile does not have."""
    for quoted, alone in MAKE.findall(text):
        if (quoted or alone) not in known:
            yield f"make {quoted or alone}"


def main() -> int:
    known = set(TARGET.findall((ROOT / "Makefile").read_text()))
    found = []
    for document in documents():
        text = document.read_text()
        problems = [*dead_links(document, text), *unknown_targets(text, known)]
        found += [f"{document.relative_to(ROOT)}: {problem} leads nowhere" for problem in problems]
    print("\n".join(found) if found else "Documents: every link and make target is there.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
