"""What a build adds to the package: the pages of the manual, made of the parameters of the commands."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.builders.utils import get_reproducible_timestamp


class ManualPages(BuildHookInterface[Any]):
    """Puts each page where ``man`` looks for it, and into ``man/`` of the source package."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the pages, of the date of the build: SOURCE_DATE_EPOCH, or one that never changes."""
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from strongroom.cli.reference import manual

        self._folder = TemporaryDirectory(prefix="strongroom-manual-")
        date = datetime.fromtimestamp(get_reproducible_timestamp(), UTC).date().isoformat()
        for name, text in manual(date).items():
            page = Path(self._folder.name, name)
            page.write_text(text, encoding="utf-8")
            if self.target_name == "wheel":
                build_data["shared_data"][str(page)] = f"share/man/man{name[-1]}/{name}"
            else:
                build_data["force_include"][str(page)] = f"man/{name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was written."""
        if version != "editable":
            self._folder.cleanup()
