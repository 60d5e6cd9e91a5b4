"""docs/monitoring.md says what the code tells, and its example is one that the configuration takes."""

from __future__ import annotations

import re
from pathlib import Path

from strongroom.operations.alerts.alert_kinds import KINDS
from tests.config.loading import Place

TEXT = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text()
ROW = re.compile(r"^\| `([a-z.]+)` \| (\w+) \| (\d+) \| (.+) \|$", re.MULTILINE)


def test_the_table_has_every_alert_in_the_order_of_badness() -> None:
    expected = [
        (name, kind.severity.value, str(kind.error.exit_code), kind.means) for name, kind in KINDS.items()
    ]
    assert ROW.findall(TEXT) == expected


def test_the_settings_of_the_example_are_taken(tmp_path: Path) -> None:
    [example] = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    settings = Place(tmp_path).load(example)
    assert (settings.alerts.email, settings.mail.security) == (("alerts@example.org",), "starttls")
