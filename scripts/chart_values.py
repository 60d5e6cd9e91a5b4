"""The page of the chart's values, made from its schema and its defaults."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parent.parent / "ops" / "helm" / "strongroom"


def chart_markdown(made: str) -> str:
    """Return the page.

    Args:
        made: the line that says how the page is made.
    """
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    shared = schema["$defs"]["process"]["properties"]
    pool = {
        name: value
        for name, value in schema["$defs"]["pool"]["properties"].items()
        if name not in shared and "description" in value
    }
    lines = [
        "# The chart's values",
        "",
        made,
        "",
        "[Run on Kubernetes](../how-to/kubernetes.md) says how the chart is installed.",
        "A value that is not listed here is refused.",
        "",
        *_HEAD,
        *_rows(schema, values),
        "",
        "## Every process",
        "",
        "Each of `pools.ROLE`, `beat`, `page`, `metrics`, `shell` and `outside` takes these.",
        "`outside` takes no `replicas`, `stopSeconds` and `scratch`.",
        "",
        "| Value | Meaning |",
        "|---|---|",
        *(f"| `{name}` | {value['description']} |" for name, value in shared.items()),
        *(f"| `{name}` (pools) | {value['description']} |" for name, value in pool.items()),
    ]
    return "\n".join(lines) + "\n"


_HEAD = ("| Value | Default | Meaning |", "|---|---|---|")


def _rows(schema: Mapping[str, Any], values: Any, path: str = "") -> Iterator[str]:
    for name, below in schema["properties"].items():
        given = values.get(name) if isinstance(values, Mapping) else None
        properties = below.get("properties", {})
        inner = {key: value for key, value in properties.items() if "$ref" not in value}
        if "description" in below:
            plain = not isinstance(given, (Mapping, list)) or not given
            default = f"`{json.dumps(given)}`" if plain and name != "global" and not inner else ""
            yield f"| `{path}{name}` | {default} | {below['description']} |"
        yield from _rows({"properties": inner}, given, f"{path}{name}.")
