"""The demo's scratch place: a machine, three regions, and a safe with the recovery key."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from strongroom.keys.hpke import HpkeIdentity

POLICY: Final = "weekly-full"
REGIONS: Final = ("frankfurt", "dublin", "toronto")
_KEPT: Final = frozenset({"STRONGROOM_DEBUG"})

_CONFIG: Final = """\
[sources.local]
kind = "local"

[keys.recovery]
kind = "hpke"
public_key = "{public_key}"
{targets}
[policies.{policy}]
kind = "full"
source = "local"
targets = {regions}
recipients = ["recovery"]
quorum = 2
regions = 2

[limits]
container_bytes = "1MiB"

[workers]
control = 1
seal = 2
transfer = 6
verify = 2
"""
_TARGET: Final = """
[targets.{name}]
kind = "directory"
path = "{path}"
region = "{name}"
create = true
"""


class Scratch(Struct, frozen=True, kw_only=True):
    """Where everything of a demo lies."""

    root: Path

    @property
    def state(self) -> Path:
        """The machine that will be lost."""
        return self.root / "machine"

    @property
    def fresh(self) -> Path:
        """The machine that comes after it."""
        return self.root / "new-machine"

    @property
    def recovery_key(self) -> Path:
        """The private half, which the cluster never sees."""
        return self.root / "safe" / "recovery.key"

    def region(self, name: str) -> Path:
        """Return a region's directory."""
        return self.root / "regions" / name

    def make_recovery_key(self) -> str:
        """Make the key pair; return the public half."""
        self.recovery_key.parent.mkdir(mode=0o700)
        identity = HpkeIdentity.generate()
        identity.save(self.recovery_key)
        return str(identity.public)

    def write_config(self, public_key: str) -> None:
        """Write the machine's configuration, which names the public half alone."""
        targets = "".join(_TARGET.format(name=name, path=self.region(name)) for name in REGIONS)
        names = "[" + ", ".join(f'"{name}"' for name in REGIONS) + "]"
        text = _CONFIG.format(public_key=public_key, targets=targets, policy=POLICY, regions=names)
        self.state.mkdir(mode=0o700, exist_ok=True)
        (self.state / "strongroom.toml").write_text(text)

    def use(self) -> None:
        """Make this process, and all that it starts, live on the demo's machine alone."""
        for name in [name for name in os.environ if name.startswith("STRONGROOM_") and name not in _KEPT]:
            del os.environ[name]
        os.environ["STRONGROOM_STATE_DIR"] = str(self.state)
        os.environ["STRONGROOM_CONFIG"] = str(self.state / "strongroom.toml")


@contextmanager
def scratch(keep: Path | None) -> Iterator[Scratch]:
    """Yield a place that is gone afterwards, whatever happens, unless it is to be kept."""
    root = Path(tempfile.mkdtemp(prefix="strongroom-demo-")) if keep is None else keep.absolute()
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        yield Scratch(root=root)
    finally:
        if keep is None:
            _remove(root)


def _remove(root: Path) -> None:
    """Remove the place, also while the thread that Ctrl-C left behind still writes there."""
    for _ in range(40):
        shutil.rmtree(root, ignore_errors=True)
        if not root.exists():
            return
        time.sleep(0.05)
