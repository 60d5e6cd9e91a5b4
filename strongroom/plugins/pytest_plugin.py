"""What pytest loads where Strongroom is installed: a failed test of a suite shows what it compared."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("strongroom.plugins.conformance")
