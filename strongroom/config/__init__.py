"""``strongroom.toml`` and the environment, as one frozen value.

>>> settings = load_settings({"STRONGROOM_STATE_DIR": "/var/lib/strongroom"})  # doctest: +SKIP
>>> settings.targets["region-a"].region  # doctest: +SKIP
'region-a'
"""

from __future__ import annotations

from strongroom.config.alerts import AlertSettings, MailSettings
from strongroom.config.keys import (
    AllOfKey,
    HpkeKey,
    KeyFileKey,
    KeySettings,
    KmsKey,
    PassphraseKey,
    Pkcs11Key,
    QuorumKey,
    TransitKeySettings,
)
from strongroom.config.load import default_state_dir, find_config, load_settings
from strongroom.config.model import (
    BrokerSettings,
    FlowerSettings,
    LimitSettings,
    SentrySettings,
    Settings,
    StageSettings,
    StateSettings,
    TrustSettings,
    WorkerSettings,
)
from strongroom.config.policies import DrillSettings, PolicySettings, RestoreSettings
from strongroom.config.rotators import (
    AwsRotator,
    CommandRotator,
    RandomRotator,
    RotatorSettings,
    VaultEngineRotator,
)
from strongroom.config.schema import ConfigProblem, ConfigProblems
from strongroom.config.sources import (
    AwsSourceSettings,
    FilesSourceSettings,
    LocalSourceSettings,
    RaftSourceSettings,
    SourceSettings,
    VaultSourceSettings,
)
from strongroom.config.targets import (
    AzureTargetSettings,
    DirectoryTargetSettings,
    S3TargetSettings,
    SftpTargetSettings,
    TargetSettings,
    VaultTargetSettings,
)
from strongroom.config.vaults import VaultSettings

__all__ = [
    "AlertSettings",
    "AllOfKey",
    "AwsRotator",
    "AwsSourceSettings",
    "AzureTargetSettings",
    "BrokerSettings",
    "CommandRotator",
    "ConfigProblem",
    "ConfigProblems",
    "DirectoryTargetSettings",
    "DrillSettings",
    "FilesSourceSettings",
    "FlowerSettings",
    "HpkeKey",
    "KeyFileKey",
    "KeySettings",
    "KmsKey",
    "LimitSettings",
    "LocalSourceSettings",
    "MailSettings",
    "PassphraseKey",
    "Pkcs11Key",
    "PolicySettings",
    "QuorumKey",
    "RaftSourceSettings",
    "RandomRotator",
    "RestoreSettings",
    "RotatorSettings",
    "S3TargetSettings",
    "SentrySettings",
    "Settings",
    "SftpTargetSettings",
    "SourceSettings",
    "StageSettings",
    "StateSettings",
    "TargetSettings",
    "TransitKeySettings",
    "TrustSettings",
    "VaultEngineRotator",
    "VaultSettings",
    "VaultSourceSettings",
    "VaultTargetSettings",
    "WorkerSettings",
    "default_state_dir",
    "find_config",
    "load_settings",
]
