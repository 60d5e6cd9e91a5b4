"""``python -m strongroom.cli``: the same as ``strongroom``."""

from __future__ import annotations

import sys

from strongroom.cli.main import main

sys.exit(main())
