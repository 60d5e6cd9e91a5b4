"""A machine that holds every kind of key that somebody keeps: an HSM, Vault, KMS in two regions, people."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from strongroom.keys.pkcs11.token_keys import generate_aes, generate_ec
from strongroom.keys.quorum.ceremony import Ceremony
from tests.cli.conftest import stock
from tests.cli.program import Machine
from tests.live.moto import CREDENTIALS, Moto
from tests.live.openbao import OpenBao, dev_server
from tests.live.softhsm import SoftHsm, module

CREDENTIALS_GIVEN = {name.upper(): value for name, value in CREDENTIALS.items()}
CUSTODIANS = ["Ada", "Ben", "Cleo", "Dan", "Eve"]

CONFIG = """
[vaults.keys]
address = "{bao}"
token_file = "{folder}/token"

[keys.hsm]
kind = "pkcs11"
label = "strongroom"
version = 3
public_key_file = "hsm.pub"
module = "{module}"
token = "site"
pin_file = "pin"

[keys.hsm-aes]
kind = "pkcs11"
mechanism = "aes"
label = "strongroom"
version = 4
key_id = "{aes_id}"
module = "{module}"
token = "site"
pin_file = "pin"

[keys.bao]
kind = "transit"
vault = "keys"
key = "backup"

[keys.kms-eu]
kind = "kms"
key_id = "{kms_eu}"
region = "eu-central-1"
endpoint_url = "{moto}"

[keys.kms-us]
kind = "kms"
key_id = "{kms_us}"
region = "us-east-1"
endpoint_url = "{moto}"

[keys.board]
kind = "quorum"
file = "board.quorum"

[keys.emergency]
kind = "all-of"
legs = [["hsm"], ["board"]]
"""


@pytest.fixture(scope="module")
def hsm() -> Iterator[SoftHsm]:
    with SoftHsm() as made:
        made.make_token("site")
        yield made


@pytest.fixture(scope="module")
def furnished(hsm: SoftHsm, shared_moto: Moto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """What :func:`site` is a copy of. Whoever uses it leaves moto as it is."""
    shared_moto.reset()
    with dev_server() as openbao:
        yield furnish(hsm, openbao, shared_moto, tmp_path_factory.mktemp("furnished"))


@pytest.fixture
def site(hsm: SoftHsm, furnished: Machine, tmp_path: Path) -> Machine:
    """A machine that holds every kind of key, and a few secrets."""
    shutil.copytree(furnished.home.parent, tmp_path, symlinks=True, dirs_exist_ok=True)
    return Machine(tmp_path / furnished.home.name, env=hsm.env | CREDENTIALS_GIVEN)


def furnish(hsm: SoftHsm, openbao: OpenBao, moto: Moto, folder: Path) -> Machine:
    machine = Machine(folder / "machine", env=hsm.env | CREDENTIALS_GIVEN)
    token = hsm.token("site")
    version_3 = _once(hsm, "ec", lambda: str(generate_ec(token, key="strongroom", version=3)))
    version_4 = _once(hsm, "aes", lambda: generate_aes(token, key="strongroom", version=4))
    machine.path("hsm.pub").write_text(version_3)
    shutil.copy(hsm.pin_file, machine.path("pin"))
    hold_ceremony(machine)
    openbao.call("POST", "sys/mounts/transit", {"type": "transit"})
    openbao.call("POST", "transit/keys/backup", {})
    openbao.token_file(folder)
    keys = {
        region: moto.client("kms", region_name=region).create_key()
        for region in ("eu-central-1", "us-east-1")
    }
    machine.path("strongroom.toml").write_text(
        CONFIG.format(
            bao=openbao.address,
            folder=folder,
            module=module(),
            aes_id=version_4,
            kms_eu=keys["eu-central-1"]["KeyMetadata"]["Arn"],
            kms_us=keys["us-east-1"]["KeyMetadata"]["Arn"],
            moto=moto.endpoint,
        )
    )
    machine.ok("check", "config")
    return stock(machine)


def _once(hsm: SoftHsm, name: str, make: Callable[[], str]) -> str:
    """Make a key in the token the first time, and remember what is public of it."""
    kept = hsm.folder / name
    if not kept.exists():
        kept.write_text(make())
    return kept.read_text()


def hold_ceremony(machine: Machine) -> None:
    """Make the quorum: its file stays with the machine, each paper in a folder of its own."""
    ceremony = Ceremony(name="board", custodians=CUSTODIANS, threshold=3, created_at="2026-11-25T00:00:00Z")
    papers = machine.home.parent / "papers"
    papers.mkdir()
    for who in ceremony.custodians:
        words = " ".join(ceremony.show())
        ceremony.confirm(words)
        (papers / who).write_text(words)
        (papers / who).chmod(0o600)
    machine.path("board.quorum").write_bytes(ceremony.finish().encode())
    machine.path("board.quorum").chmod(0o644)
