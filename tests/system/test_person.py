"""Who asks is whose process it is, also where no user has its number."""

from __future__ import annotations

import os
import pwd
import socket

import pytest

from strongroom.system.process import who


def test_a_user_without_a_name_is_known_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = next(uid for uid in range(54_321, 60_000) if uid not in {each.pw_uid for each in pwd.getpwall()})
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: nobody)
    assert who() == f"uid-{nobody}@{socket.gethostname()}"


def test_a_variable_does_not_make_one_user_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    real = who()
    monkeypatch.setenv("LOGNAME", "somebody-else")
    monkeypatch.setenv("USER", "somebody-else")
    assert who() == real


def test_who_became_another_user_by_sudo_is_still_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "dave")
    assert who() == f"dave@{socket.gethostname()}"
