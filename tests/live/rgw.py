"""Ceph's S3 gateway on a cluster of one: a monitor, an OSD in memory, a gateway. The long lane.

It verifies signatures and clocks, holds locks, evaluates the policies of buckets and users, and
encrypts by a live Vault's transit engine. In buckets that keep versions it ignores ``If-None-Match``.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import struct
import subprocess
import sysconfig
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from strongroom.targets.s3 import S3Options
from strongroom.targets.s3.client import make_client
from tests.live.ministack import CREDENTIALS, make_bucket
from tests.live.openbao import OpenBao
from tests.process import ServerProcess

PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph")
MISSING = "Ceph is not installed; 'make test-long' installs it"
REGION = "eu-central-1"
"""It knows no regions, and is told to take any name for one."""

OWNER = "owner"
TRANSIT = "at-rest"
KEY = "CANARY-at-rest"
COMMAND_SECONDS = 60
MEMORY_BYTES = 4 << 30
"""What the OSD says that it has; it takes what is put."""

_CONFIG = """
[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{port}/0
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
keyring = {folder}/keyring
mon_data = {folder}/mon
osd_data = {folder}/osd
run_dir = {folder}
admin_socket =
log_file =
log_to_stderr = true
mon_cluster_log_file =
osd_objectstore = memstore
memstore_device_bytes = {memory}
osd_class_dir = {classes}
osd_crush_chooseleaf_type = 0
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
paxos_propose_interval = 0.05
paxos_min_wait = 0.01
mon_data_avail_crit = 1
mon_data_avail_warn = 2
[mon]
public_addr = v2:127.0.0.1:{port}/0
[osd]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
[client.rgw]
rgw_data = {folder}/rgw
rgw_frontends = beast endpoint=127.0.0.1:{gateway}
rgw_relaxed_region_enforcement = true
rgw_crypt_require_ssl = false
rgw_thread_pool_size = 32
"""

_CAPABILITIES = {
    "mon.": {"mon": "allow *"},
    "client.admin": {"mon": "allow *", "osd": "allow *", "mgr": "allow *"},
    "osd.0": {"mon": "allow profile osd", "osd": "allow *"},
    "client.rgw": {"mon": "allow rw", "osd": "allow rwx"},
}


def library(*parts: str) -> Path:
    """Return what a package keeps among the system's libraries. Ceph's OSD looks for its own code in its
    working directory, as Debian builds it."""
    places = [Path("/usr/lib") / str(sysconfig.get_config_var("MULTIARCH") or ""), Path("/usr/lib64")]
    found = [place.joinpath(*parts) for place in places if place.joinpath(*parts).exists()]
    if not found:
        pytest.skip(MISSING)
    return found[0]


def keys_of(vault: OpenBao, folder: Path) -> dict[str, str]:
    """Make a transit mount with a key; return how the gateway gets it to encrypt by."""
    vault.call("POST", f"sys/mounts/{TRANSIT}", {"type": "transit"})
    vault.call("POST", f"{TRANSIT}/keys/{KEY}", {})
    return {
        "rgw_crypt_s3_kms_backend": "vault",
        "rgw_crypt_vault_auth": "token",
        "rgw_crypt_vault_token_file": str(vault.token_file(folder).path),
        "rgw_crypt_vault_addr": vault.address,
        "rgw_crypt_vault_prefix": f"/v1/{TRANSIT}",
        "rgw_crypt_vault_secret_engine": "transit",
    }


class Gateway:
    """The cluster and its gateway. ``settings`` are the gateway's own, beside what each test needs."""

    region = REGION

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        if any(shutil.which(program) is None for program in PROGRAMS):
            pytest.skip(MISSING)
        self._settings = dict(settings or {})
        self.gateway = ServerProcess(lambda _: self._daemon("radosgw", "client.rgw"), prefix="sr-rgw-")
        self.monitor = ServerProcess(lambda _: self._daemon("ceph-mon", "mon.a"), prefix="sr-mon-")
        self.store = ServerProcess(
            lambda _: self._daemon("ceph-osd", "osd.0"), ready=self._store_is_up, prefix="sr-osd-"
        )
        self._folder = self.monitor.folder

    # -- what a test does with it ----------------------------------------------

    @property
    def port(self) -> int:
        return self.gateway.port

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def options(self, bucket: str, **options: Any) -> S3Options:
        """Return a target's options for one of its buckets."""
        return S3Options(bucket=bucket, **({"region": REGION, "endpoint_url": self.endpoint} | options))

    def client(self, **credentials: str) -> Any:
        """Return the client of the buckets' owner, or whose credentials are given."""
        return make_client(self.options("any-bucket"), **(CREDENTIALS | credentials))

    def make_bucket(self, name: str, *, versioned: bool = False, locking: bool = False) -> str:
        """Create a bucket of the owner's."""
        make_bucket(self.client(), name, REGION, versioned=versioned, locking=locking)
        return name

    def new_user(self) -> tuple[str, dict[str, str]]:
        """Make a user who may do nothing to the owner's buckets; return name and credentials."""
        name = f"user-{secrets.token_hex(4)}"
        [key] = self.admin("user", "create", uid=name, display_name=name)["keys"]
        return name, {"aws_access_key_id": key["access_key"], "aws_secret_access_key": key["secret_key"]}

    def admin(self, *words: str, **options: str) -> Any:
        """Run the gateway's own command; return what it says."""
        named = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        return json.loads(self._run("radosgw-admin", *words, *named))

    # -- starting and ending ----------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self._lay_out()
            self.monitor.start()
            self._make_store()
            self.store.start()
            self.gateway.start()
            self._make_owner()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all three and remove what they held."""
        for server in (self.gateway, self.store, self.monitor):
            server.close()

    def _lay_out(self) -> None:
        for name in ("mon", "osd", "rgw"):
            (self._folder / name).mkdir()
        (self._folder / "ceph.conf").write_text(self._config())
        (self._folder / "keyring").write_text(_keyring())
        self._run("ceph-mon", "--mkfs", "-i", "a")

    def _make_store(self) -> None:
        store = str(uuid.uuid4())
        self._run("ceph", "osd", "new", store)
        self._run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", store)

    def _config(self) -> str:
        text = _CONFIG.format(
            fsid=uuid.uuid4(),
            folder=self._folder,
            port=self.monitor.port,
            gateway=self.gateway.port,
            memory=MEMORY_BYTES,
            classes=library("rados-classes"),
        )
        return text + "".join(f"{name} = {value}\n" for name, value in self._settings.items())

    def _make_owner(self) -> None:
        self.admin(
            "user",
            "create",
            uid=OWNER,
            display_name=OWNER,
            access_key=CREDENTIALS["aws_access_key_id"],
            secret_key=CREDENTIALS["aws_secret_access_key"],
            caps="user-policy=*",
        )

    def _store_is_up(self) -> bool:
        return bool(json.loads(self._run("ceph", "osd", "stat", "--format=json"))["num_up_osds"])

    def _daemon(self, program: str, name: str) -> Sequence[str | Path]:
        return [program, "-f", "-n", name, "-c", self._folder / "ceph.conf"]

    def _run(self, program: str, *words: str) -> str:
        command = [program, *words, "-c", str(self._folder / "ceph.conf")]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"{program} {' '.join(words)}: {done.stderr[-2000:]}")
        return done.stdout


def _keyring() -> str:
    def section(name: str, capabilities: Mapping[str, str]) -> str:
        caps = "".join(f'\tcaps {kind} = "{text}"\n' for kind, text in capabilities.items())
        return f"[{name}]\n\tkey = {_key()}\n{caps}"

    return "".join(section(name, capabilities) for name, capabilities in _CAPABILITIES.items())


def _key() -> str:
    """Make a cephx key: type AES, when it was made, how long it is, the key."""
    return base64.b64encode(struct.pack("<HIIH", 1, int(time.time()), 0, 16) + os.urandom(16)).decode()
