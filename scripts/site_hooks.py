"""What mkdocs does beside its own: it takes in the few files outside of ``docs`` that the pages lead to.

The pages stay plain Markdown whose links work in the repository and in an installation. In the site, a file
outside of ``docs`` that a page leads to is a page or a download below ``files/``. A link to anything else is
an error.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
TAKEN = ("strongroom/container/FORMAT.md", "ops/recover/README.md", "ops/recover/wheels.txt")
BELOW = "files"
LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?(\))")


def on_files(files: Files, config: Any) -> Files:
    """Add the files outside of ``docs``."""
    for name in TAKEN:
        place = ROOT / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file():
                source = f"{BELOW}/{path.relative_to(ROOT).as_posix()}"
                files.append(File.generated(config, source, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to files outside of ``docs``, and from them, to their place in the site."""
    here = page.file.src_uri
    real = here.removeprefix(f"{BELOW}/") if here.startswith(f"{BELOW}/") else f"docs/{here}"

    def led(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(real), link[2]))
        inside = target.startswith("docs/")
        wanted = target.removeprefix("docs/") if inside else f"{BELOW}/{target}"
        return f"{link[1]}{posixpath.relpath(wanted, posixpath.dirname(here) or '.')}{link[3] or ''}{link[4]}"

    return LINK.sub(led, markdown)
