"""What every section of the settings is built on."""

from __future__ import annotations

import os

from pydantic import BaseModel, ConfigDict

# A plugin is any installed package that calls itself one, and would be shown every setting. None is wanted;
# looking for some reads the metadata of all packages at each start.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

KIB = 1024
MIB = 1024 * KIB


class Section(BaseModel):
    """One table of ``strongroom.toml``: frozen, and no key beside those that are described."""

    # Built on first use: a process that only names these types does not pay for them.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
