"""The example in the page on S3 and Azure is a configuration that loads, and its targets can be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.config import load_settings
from strongroom.wiring import adapters

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "store-backups.md"


def test_the_example_of_the_document_makes_targets_that_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = DOCUMENT.read_text(encoding="utf-8").partition("\n## S3 and Azure\n")[2]
    example = section.partition("```toml\n")[2].partition("```")[0]
    file = tmp_path / "strongroom.toml"
    file.write_text(example)
    monkeypatch.setenv("STRONGROOM_CONFIG", str(file))
    monkeypatch.setenv("STRONGROOM_STATE_DIR", str(tmp_path / "state"))
    settings = load_settings()

    made = {name: adapters.target(name, settings, prepare=False) for name in settings.targets}

    assert {name: target.address for name, target in made.items()} == {
        "eu": "s3://acme-strongroom-eu@eu-central-1",
        "west": "https://acmestrongroom.blob.core.windows.net/strongroom",
    }
    assert all(target.locks for target in made.values())
