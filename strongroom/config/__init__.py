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
    KmsKey,
    PassphraseKey,
    Pkcs11Key,
    QuorumKey,
    TransitKeySettings,
)
from strongroom.config.load import default_state_dir, find_config, load_settings
from strongroom.config.model import (
    BrokerSettings,
    LimitSettings,
    SentrySettings,
    Settings,
    StateSettings,
    TrustSettings,
    WorkerSettings,
)
from strongroom.config.policies import DrillSettings, PolicySettings, RestoreSettings
from strongroom.config.rotators import (
    AwsRotator,
    CommandRotator,
    RandomRotator,
    VaultEngineRotator,
)
from strongroom.config.schema import ConfigProblem, ConfigProblems
from strongroom.config.served import FlowerSettings
from strongroom.config.sources import (
    AwsSourceSettings,
    FilesSourceSettings,
    LocalSourceSettings,
    RaftSourceSettings,
    VaultSourceSettings,
)
from strongroom.config.targets import (
    AzureTargetSettings,
    DirectoryTargetSettings,
    GcsTargetSettings,
    S3TargetSettings,
    SftpTargetSettings,
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
    "GcsTargetSettings",
    "HpkeKey",
    "KeyFileKey",
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
    "S3TargetSettings",
    "SentrySettings",
    "Settings",
    "SftpTargetSettings",
    "StateSettings",
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
