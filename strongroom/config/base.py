"""What every section of the settings is built on."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

KIB = 1024
MIB = 1024 * KIB


class Section(BaseModel):
    """One table of ``strongroom.toml``: frozen, and no key beside those that are described."""

    # Built on first use: a process that only names these types does not pay for them.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
