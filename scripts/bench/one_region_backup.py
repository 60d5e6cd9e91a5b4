"""One backup of a JSONL file to S3 regions, on a cluster of its own.

``python -m scripts.bench.one_region_backup FILE REGION=PORT/BUCKET…`` prints one JSON object; see
:mod:`scripts.bench.regions`. The environment has to name a fresh state directory.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from scripts.bench.one_pipeline import POLICY, on_cluster
from scripts.bench.servers import CREDENTIALS
from strongroom.config import Settings, load_settings
from strongroom.keys.hpke import HpkeIdentity
from strongroom.state.records import Run, RunState, StepKind
from strongroom.state.store import RunStore


def main() -> int:
    source, *regions = sys.argv[1:]
    settings = _settings(Path(source), regions)
    run, _ = on_cluster(settings)
    if run.state is not RunState.DONE:
        print(run.error, file=sys.stderr)
        return 1
    print(json.dumps({"upload_seconds": _upload_seconds(RunStore(settings.database_url), run)}))
    return 0


def _settings(source: Path, regions: list[str]) -> Settings:
    folder = Path(os.environ["STRONGROOM_STATE_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    credentials = folder / "credentials"
    credentials.write_text(
        "[default]\n" + "".join(f"{name} = {word}\n" for name, word in CREDENTIALS.items())
    )
    credentials.chmod(0o600)
    names = [region.partition("=")[0] for region in regions]
    file = folder / "strongroom.toml"
    file.write_text(
        f'[sources.bench]\nkind = "files"\npath = "{source}"\n'
        f'[keys.recovery]\nkind = "hpke"\npublic_key = "{HpkeIdentity.generate().public}"\n'
        f'[policies.{POLICY}]\nkind = "full"\nsource = "bench"\nrecipients = ["recovery"]\n'
        f'targets = {json.dumps(names)}\nquorum = {len(names)}\nregions = {len(names)}\nverify = "present"\n'
        '[limits]\ncontainer_bytes = "8MiB"\n' + "".join(_target(one, credentials) for one in regions)
    )
    os.environ["STRONGROOM_CONFIG"] = str(file)
    return load_settings()


def _target(region: str, credentials: Path) -> str:
    name, _, place = region.partition("=")
    port, _, bucket = place.partition("/")
    return (
        f'[targets.{name}]\nkind = "s3"\nbucket = "{bucket}"\nregion = "{name}"\n'
        f'endpoint_url = "http://127.0.0.1:{port}"\ncredentials_file = "{credentials}"\n'
    )


def _upload_seconds(store: RunStore, run: Run) -> float:
    """Return the seconds from the first upload's start to the last one's end."""
    rows = store.rows(run.id, StepKind.UPLOAD)
    began = min(row.started_at for row in rows if row.started_at is not None)
    return max(row.finished_at for row in rows if row.finished_at is not None) - began


if __name__ == "__main__":
    sys.exit(main())
