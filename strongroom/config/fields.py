"""The kinds of value that settings are made of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from strongroom.hosts import is_loopback

WITHOUT_TLS = "without_tls"
_SIZE = re.compile(r"(?P<number>\d{1,18}) ?(?P<unit>|B|[KMGT]i?B)")
_UNITS = {"": 1, "B": 1} | {
    f"{letter}{binary}B": base**power
    for power, letter in enumerate("KMGT", start=1)
    for binary, base in (("", 1000), ("i", 1024))
}


def parse_size(value: Any) -> Any:
    """Return the bytes that a text such as ``"32MiB"`` or ``"2 GB"`` means; leave the rest."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value)
    if match is None:
        raise ValueError("not a size")
    return int(match["number"]) * _UNITS[match["unit"]]


def absolute(path: Path, info: ValidationInfo) -> Path:
    """Expand ``~`` and anchor a relative path at the configuration file's directory."""
    base = (info.context or {}).get("base") or Path.cwd()
    if "\0" in str(path):
        raise ValueError("no path has a NUL in it")
    try:
        return Path(base, path.expanduser())
    except RuntimeError:
        raise ValueError("its home directory is not known") from None


def private(url: str) -> str:
    """Refuse the address of another host without TLS: tokens and values go there."""
    parts = urlsplit(url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise PydanticCustomError(WITHOUT_TLS, "without TLS")
    return url


AbsolutePath = Annotated[Path, AfterValidator(absolute)]
Size = Annotated[int, BeforeValidator(parse_size)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
Fingerprint = Annotated[str, Field(pattern=r"^sr1:[0-9a-f]{64}$")]
PublicKey = Annotated[str, Field(pattern=r"^srpub1:[A-Za-z0-9_-]+:[A-Za-z0-9_-]+$")]
Text = Annotated[str, Field(min_length=1)]
Url = Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$"), AfterValidator(private)]
