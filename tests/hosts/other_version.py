"""Another version of Strongroom, as an installation of its own: this one's files with a few lines changed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from strongroom.state.migrations import HEAD
from tests.process import ROOT

NEXT: Final = f"{int(HEAD) + 1:04}"
_MIGRATION: Final = f'''"""A table of the next version's own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "{NEXT}"
down_revision = "{HEAD}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("of_the_next_version", sa.Column("id", sa.Integer, primary_key=True))
'''


def next_version(folder: Path, *, version: str = "0.2.0", oldest: str = HEAD) -> Path:
    """Write the next version under a folder; return what goes on Python's path.

    Args:
        oldest: the oldest schema whose code can work with its own.
    """
    for name in ("strongroom", "tasks", "workers"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "beat_schedule.py", folder)
    _change(folder / "strongroom" / "__init__.py", '__version__ = "0.1.0"', f'__version__ = "{version}"')
    migrations = folder / "strongroom" / "state" / "migrations"
    _change(migrations / "__init__.py", f'HEAD: Final = "{HEAD}"', f'HEAD: Final = "{NEXT}"')
    text = (migrations / "__init__.py").read_text()
    [line] = [line for line in text.splitlines() if line.startswith("OLDEST: Final = ")]
    _change(migrations / "__init__.py", line, f'OLDEST: Final = "{oldest}"')
    (migrations / "versions" / f"{NEXT}_next.py").write_text(_MIGRATION)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def _change(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert text.count(before) == 1, (path, before)
    path.write_text(text.replace(before, after))
