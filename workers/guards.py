"""What keeps ``celery -A workers.app worker`` or ``beat`` from playing a role that is not its own, and from
running what lies where it is typed.

``python -m workers ROLE`` sets the role. Celery's own command line takes queues from an option and the
role from ``STRONGROOM_ROLE``: where the two disagree, a worker would take messages and refuse them all.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any, Final, NoReturn

from celery.apps.beat import Beat
from celery.apps.worker import Worker
from celery.loaders.app import AppLoader
from celery.utils.text import str_to_list

from strongroom.errors import ConfigError
from workers.names import BEAT, QUEUES
from workers.rights import may_send

OUT_OF_MEMORY_EXIT: Final = 71
"""Exit status (``EX_OSERR``) of a process that had no memory left to go on."""


class RoleWorker(Worker):  # type: ignore[misc]
    """A worker of its role's queue, and of no other."""

    def stop(self, *args: Any, **kwargs: Any) -> None:
        """End. For want of memory that is at once: to wait for tasks would need more of it. What was taken
        is handed out again."""
        if isinstance(sys.exc_info()[1], MemoryError):
            os._exit(OUT_OF_MEMORY_EXIT)
        super().stop(*args, **kwargs)

    def setup_queues(self, include: Any, exclude: Any = None) -> None:
        """Take from the role's own queue."""
        role, wanted = self.app.role, set(str_to_list(include) or ())
        if role not in QUEUES:
            _refuse(f"a process of role '{role}' is no worker", wanted or QUEUES)
        if wanted - {role}:
            _refuse(f"a worker of role '{role}' serves the queue '{role}' alone", wanted)
        may_send(role)  # loads the jobs before the pool forks: its processes share them
        super().setup_queues([role], exclude)

    def start(self) -> None:
        """Work until told to stop. Where it cannot go on, end with a status that says so."""
        super().start()
        if self.exitcode:
            raise SystemExit(self.exitcode)


class RoleBeat(Beat):  # type: ignore[misc]
    """A beat that signs as one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.app.role != BEAT:
            _refuse(f"a process of role '{self.app.role}' is no beat", [BEAT])


def _refuse(what: str, roles: Iterable[str]) -> NoReturn:
    words = " or ".join(f"'python -P -m workers {role}'" for role in sorted(roles))
    sys.stderr.write(f"strongroom: {what}. No message was taken. Start it with {words}.\n")
    raise SystemExit(ConfigError.exit_code)


# -- How Celery finds the task modules: where Python finds everything else, and nowhere else --


class SafeLoader(AppLoader):  # type: ignore[misc]
    """Imports nothing from the current directory.

    Celery's own puts that first on the path: a stray ``tasks.py`` where a person types
    ``strongroom up`` would run in processes that hold keys.
    """

    def import_from_cwd(self, module: str, imp: Any = None, package: str | None = None) -> Any:
        """Import as any other module."""
        return (imp or self.import_module)(module, package=package)
