"""What a block began is taken back however it fails, and never after it ended well."""

from __future__ import annotations

import pytest

from strongroom.system.attempts import on_failure


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_whatever_ends_a_block_early_undoes_it_and_goes_on(error: type[BaseException]) -> None:
    undone: list[str] = []

    with pytest.raises(error), on_failure(lambda: undone.append("undone")):
        raise error

    assert undone == ["undone"]


def test_what_ended_well_is_not_undone() -> None:
    undone: list[str] = []

    with on_failure(lambda: undone.append("undone")):
        pass

    assert undone == []
