"""``strongroom.toml`` and the environment, as one frozen value.

>>> settings = load_settings({"STRONGROOM_STATE_DIR": "/var/lib/strongroom"})  # doctest: +SKIP
>>> settings.targets["region-a"].region  # doctest: +SKIP
'region-a'
"""

from __future__ import annotations

from strongroom.config.env import default_state_dir, find_config
from strongroom.config.load import load_settings
from strongroom.config.model import (
    BrokerSettings,
    DirectoryTargetSettings,
    DrillSettings,
    FilesSource,
    FlowerSettings,
    HpkeKey,
    KeyFileKey,
    KeySettings,
    LimitSettings,
    LocalSource,
    PassphraseKey,
    PolicySettings,
    SentrySettings,
    Settings,
    SourceSettings,
    StageSettings,
    StateSettings,
    TargetSettings,
    TrustSettings,
    WorkerSettings,
)
from strongroom.config.problems import ConfigProblems, Problem

__all__ = [
    "BrokerSettings",
    "ConfigProblems",
    "DirectoryTargetSettings",
    "DrillSettings",
    "FilesSource",
    "FlowerSettings",
    "HpkeKey",
    "KeyFileKey",
    "KeySettings",
    "LimitSettings",
    "LocalSource",
    "PassphraseKey",
    "PolicySettings",
    "Problem",
    "SentrySettings",
    "Settings",
    "SourceSettings",
    "StageSettings",
    "StateSettings",
    "TargetSettings",
    "TrustSettings",
    "WorkerSettings",
    "default_state_dir",
    "find_config",
    "load_settings",
]
