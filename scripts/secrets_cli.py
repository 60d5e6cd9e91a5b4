"""``strongroom`` under the name that the backup and recovery procedures use."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parent.parent)

if __name__ == "__main__":
    # Also without an installation, from any directory, for this process and those it starts.
    sys.path[0] = ROOT
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH"))))
    from strongroom.cli.main import main

    sys.exit(main())
