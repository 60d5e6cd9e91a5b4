"""How Celery finds the task modules: where Python finds everything else, and nowhere else."""

from __future__ import annotations

from typing import Any

from celery.loaders.app import AppLoader


class SafeLoader(AppLoader):  # type: ignore[misc]
    """Imports nothing from the current directory.

    Celery's own puts that first on the path: a stray ``tasks.py`` where a person types
    ``strongroom up`` would run in processes that hold keys.
    """

    def import_from_cwd(self, module: str, imp: Any = None, package: str | None = None) -> Any:
        """Import as any other module."""
        return (imp or self.import_module)(module, package=package)
