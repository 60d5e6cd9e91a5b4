"""A process that answers requests to Helm, a line of JSON each."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import helm_python as helm


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return Helm's answer."""
    if request["do"] == "package":
        return {"archive": helm.package(request["chart"], destination=request["folder"])}
    if request["do"] == "lint":
        return helm.lint(request["chart"], request["values"], strict=True)
    with helm.Chart.load(request["chart"]) as chart:
        try:
            rendered = chart.render(request["values"], name=request["name"], namespace=request["namespace"])
        except helm.HelmError as error:
            return {"refused": str(error)}
    return dict(rendered)


if __name__ == "__main__":
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the library writes remarks of its own
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=out, flush=True)
