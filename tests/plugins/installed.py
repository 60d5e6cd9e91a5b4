"""Packages of others, as an installer leaves them in an environment: their code, and what they declare."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

TARGET = '''
from typing import Annotated, ClassVar, Literal
from msgspec import Meta
from strongroom.config.kinds import TargetKind

class Tape(TargetKind, frozen=True, kw_only=True):
    """A tape."""

    PLUGIN_API: ClassVar[int] = {api}
    MADE_BY: ClassVar[str] = "{module}:make"
    REMOTE: ClassVar[bool] = False

    kind: Annotated[Literal["{kind}"], Meta(description="Which kind.")]
    reel: Annotated[int, Meta(ge=1, description="Which reel.", examples=[3])] = 1
    region: Annotated[str, Meta(description="Where.", examples=["safe"])]
    provider: Annotated[str, Meta(description="Whose.", examples=["acme"])] = "acme"

def make(name, own, settings):
    from strongroom.targets.directory import DirectoryTarget
    path = settings.state_dir / "reel"
    made = DirectoryTarget(path, name=name, region=own.region, provider=own.provider)
    made.prepare()
    return made
'''


def install(
    site: Path,
    package: str,
    text: str = "",
    *,
    version: str = "1.2",
    group: str = "strongroom.targets",
    entries: Mapping[str, str] | None = None,
) -> None:
    """Put a package of one module, named as itself, into a folder of packages, with its entry points."""
    module = package.replace("-", "_")
    text = text or TARGET.format(api=1, module=module, kind="tape")
    (site / f"{module}.py").write_text(text)
    info = site / f"{module}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    lines = [f"{name} = {value}" for name, value in (entries or {"tape": f"{module}:Tape"}).items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
