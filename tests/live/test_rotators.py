"""New values for secrets of a live Vault, whose database is a real PostgreSQL, and of Secrets Manager."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.model import Selection
from strongroom.operations.engine.services import RotatorWork, SecretRotator, Services
from strongroom.operations.rotation.secret_plan import Rotated
from strongroom.operations.rotation.secrets_job import rotate_secrets
from strongroom.sources.aws import AwsSource
from strongroom.sources.vault import VaultSource
from strongroom.sources.vault.scratch import SecretsEngine
from strongroom.vault.client import Vault
from tests.live.aws_parts import op
from tests.live.moto import Moto
from tests.live.openbao import OpenBao
from tests.live.proxy import Answer, Call, Fault, FaultyProxy, LoseReply, Reply, Request, When, method
from tests.live.vault_parts import RESTORE, with_policies
from tests.operations.rotators.world import REASON, command_rotator, random_rotator, script, services_for
from tests.operations.world import make_world
from tests.postgres import PostgresServer
from tests.postgres import postgres_server as postgres_server  # noqa: PLC0414  # a fixture is found by name

EVERYTHING = Selection(include=("*",))


@dataclass(frozen=True, kw_only=True)
class Login:
    """A role of the database that has to give its password."""

    server: PostgresServer
    role: str

    def works(self, password: str) -> bool:
        """Say whether somebody can log in with a password."""
        return self.server.let_in(self.role, password)


def new_login(server: PostgresServer, password: str, *, more: str = "") -> Login:
    """Make a role of a test's own, which the server does not trust without a password."""
    role = f"shop_{uuid.uuid4().hex[:12]}"
    server.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}' {more}")
    server.ask_for_password(role)
    login = Login(server=server, role=role)
    assert login.works(password)
    return login


class Place:
    """A KV mount and a database of a test's own, and what may write there."""

    def __init__(self, bao: OpenBao, server: PostgresServer, folder: Path) -> None:
        self.bao, self.server, self.folder = bao, server, folder
        self.proxy = FaultyProxy(bao.process.port)
        self.mount = bao.mount(f"kv-{uuid.uuid4().hex[:12]}")
        self.engine = f"db-{uuid.uuid4().hex[:12]}"
        self.vault = Vault(bao.connection(folder))
        self.world = make_world(folder, secrets=[])

    def services(
        self, *rotators: SecretRotator, policies: Sequence[str] = (), system: bool = False
    ) -> Services:
        through = replace(self.bao.connection(self.folder, *policies), address=self.proxy.url)
        mounts = [self.mount.rstrip("/")]
        source = VaultSource(Vault(through), name="vault", mounts=mounts, system=system)
        return services_for(self.world, source, *rotators)

    def held(self, path: str) -> dict[str, str]:
        found: dict[str, str] = self.bao.data(f"{self.mount}data/{path}")["data"]
        return found

    def version(self, path: str) -> int:
        return int(self.bao.data(f"{self.mount}data/{path}")["metadata"]["version"])

    def connect_database(self, admin: Login, password: str) -> None:
        """Have the Vault log in to the database as its administrator."""
        self.bao.call("POST", f"sys/mounts/{self.engine}", {"type": "database"})
        self.bao.call(
            "POST",
            f"{self.engine}/config/shop",
            {
                "plugin_name": "postgresql-database-plugin",
                "allowed_roles": "*",
                "connection_url": "postgresql://{{username}}:{{password}}@/postgres?host="
                + str(self.server.folder),
                "username": admin.role,
                "password": password,
            },
        )

    def static_role(self, login: Login) -> None:
        """Have the Vault own a role's password; it makes another one at once."""
        settings = {"db_name": "shop", "username": login.role, "rotation_period": "24h"}
        self.bao.call("POST", f"{self.engine}/static-roles/app", settings)

    def engine_rotator(self, rotate: str, read: str = "", **more: object) -> SecretRotator:
        def engine(name: str) -> SecretsEngine:
            assert name.startswith(self.mount)
            return SecretsEngine(
                self.vault,
                rotate=f"{self.engine}/{rotate}",
                read=read and f"{self.engine}/{read}",
                field="password",
            )

        given = {"name": "engine", "selection": EVERYTHING, **more}
        return SecretRotator(work=RotatorWork(does="asks an engine", engine=engine), **given)  # type: ignore[arg-type]


@pytest.fixture
def place(openbao: OpenBao, postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Place]:
    made = Place(openbao, postgres_server, tmp_path)
    with made.proxy:
        yield made
    openbao.unmount(made.mount)


def set_password(place: Place, login: Login) -> SecretRotator:
    """Return a rotator whose program sets a role's password in the database, and tries it."""
    psql = f"psql -q -v ON_ERROR_STOP=1 -h {place.server.folder} postgres"
    program = script(
        place.folder / "set-password",
        "read -r password || :",
        f'printf "ALTER ROLE {login.role} PASSWORD \'%s\'" "$password" | {psql} -U postgres',
    )
    check = script(
        place.folder / "try-login",
        "read -r PGPASSWORD || :",
        "export PGPASSWORD",
        f"{psql} -U {login.role} -w -c 'SELECT 1'",
    )
    return command_rotator(program, selection=EVERYTHING, field="password", check=check)


def test_a_leaked_password_of_a_database_is_another_one_in_the_vault_and_in_the_database(
    place: Place,
) -> None:
    login = new_login(place.server, "CANARY-leaked")
    place.bao.put(place.mount, "shop/db", {"user": login.role, "password": "CANARY-leaked"})
    services = place.services(set_password(place, login))
    rotated = rotate_secrets(services, [f"{place.mount}shop/db"], source="vault", reason=REASON)
    assert rotated.done == (f"{place.mount}shop/db",), rotated
    held = place.held("shop/db")
    assert held["user"] == login.role
    assert login.works(held["password"])
    assert not login.works("CANARY-leaked")
    assert rotated.secrets[0].version == place.version("shop/db") == 2


def test_a_password_that_the_database_refuses_is_taken_back_in_the_vault(place: Place) -> None:
    login = new_login(place.server, "CANARY-leaked")
    place.bao.put(place.mount, "shop/db", {"password": "CANARY-leaked"})
    refused = script(place.folder / "refuse", "exit 1")
    services = place.services(command_rotator(refused, selection=EVERYTHING))
    rotated = rotate_secrets(services, [f"{place.mount}shop/db"], source="vault", reason=REASON)
    assert rotated.failed == (f"{place.mount}shop/db",)
    assert place.held("shop/db") == {"password": "CANARY-leaked"}
    assert place.version("shop/db") == 3
    assert login.works("CANARY-leaked")


def test_the_vault_makes_the_password_of_its_static_role_and_the_secret_gets_it(place: Place) -> None:
    admin = new_login(place.server, "CANARY-admin", more="SUPERUSER")
    login = new_login(place.server, "CANARY-leaked")
    place.connect_database(admin, "CANARY-admin")
    place.static_role(login)
    leaked = place.bao.data(f"{place.engine}/static-creds/app")["password"]
    place.bao.put(place.mount, "shop/db", {"user": login.role, "password": leaked})
    rotator = place.engine_rotator("rotate-role/app", "static-creds/app", field="password")
    rotated = rotate_secrets(
        place.services(rotator), [f"{place.mount}shop/db"], source="vault", reason=REASON
    )
    assert rotated.done == (f"{place.mount}shop/db",), rotated
    new = place.held("shop/db")["password"]
    assert (login.works(new), login.works(leaked)) == (True, False)
    assert new == place.bao.data(f"{place.engine}/static-creds/app")["password"]


def test_a_password_that_the_vault_alone_knows_leaves_the_secret_void_and_that_is_told(place: Place) -> None:
    admin = new_login(place.server, "CANARY-admin", more="SUPERUSER")
    place.connect_database(admin, "CANARY-admin")
    place.bao.put(place.mount, "shop/root", {"password": "CANARY-admin"})
    rotator = place.engine_rotator("rotate-root/shop", field="password")
    rotated = rotate_secrets(
        place.services(rotator), [f"{place.mount}shop/root"], source="vault", reason=REASON
    )
    assert rotated.done == (f"{place.mount}shop/root",), rotated
    assert not admin.works("CANARY-admin")
    assert "the value at the source is void now" in rotated.to_do[0]


def test_what_somebody_else_writes_meanwhile_is_never_overwritten(place: Place) -> None:
    place.bao.put(place.mount, "shop/key", {"key": "CANARY-leaked"})

    def overtake(_request: Request) -> None:
        place.bao.put(place.mount, "shop/key", {"key": "CANARY-theirs"})

    place.proxy.fail(Call(overtake), when=method("POST", path="/data/shop/key"))
    rotated = rotate_secrets(
        place.services(random_rotator(selection=EVERYTHING)),
        [f"{place.mount}shop/key"],
        source="vault",
        reason=REASON,
    )
    assert rotated.failed == (f"{place.mount}shop/key",)
    assert place.held("shop/key") == {"key": "CANARY-theirs"}


def test_a_mount_that_keeps_no_versions_gets_the_former_value_back_from_memory(place: Place) -> None:
    place.bao.unmount(place.mount)
    place.bao.mount(place.mount, version=1)
    place.bao.call("POST", f"{place.mount}shop/db", {"password": "CANARY-leaked"})
    name = f"{place.mount}shop/db"
    refused = command_rotator(script(place.folder / "refuse", "exit 1"), selection=EVERYTHING)
    rotated = rotate_secrets(place.services(refused), [name], source="vault", reason=REASON)
    assert rotated.failed == (name,)
    assert place.bao.data(name) == {"password": "CANARY-leaked"}
    taken = random_rotator(selection=EVERYTHING)
    rotated = rotate_secrets(place.services(taken), [name], source="vault", reason=REASON)
    assert rotated.done == (name,)
    assert len(place.bao.data(name)["password"]) == 24
    assert "its source keeps no versions" in rotated.to_do[1]


def test_the_rights_of_a_restore_are_enough_to_rotate(place: Place) -> None:
    with_policies(place.bao)
    place.bao.put(place.mount, "shop/key", {"key": "CANARY-leaked"})
    services = place.services(random_rotator(selection=EVERYTHING), policies=RESTORE)
    rotated = rotate_secrets(services, [f"{place.mount}shop/key"], source="vault", reason=REASON)
    assert rotated.done == (f"{place.mount}shop/key",), rotated


def test_an_engine_is_asked_for_nothing_if_its_value_would_have_no_place(place: Place) -> None:
    admin = new_login(place.server, "CANARY-admin", more="SUPERUSER")
    login = new_login(place.server, "CANARY-leaked")
    place.connect_database(admin, "CANARY-admin")
    place.static_role(login)
    before = place.bao.data(f"{place.engine}/static-creds/app")["password"]
    place.bao.put(place.mount, "shop/db", {"user": login.role, "pw": before})
    rotator = place.engine_rotator("rotate-role/app", "static-creds/app", field="password")
    name = f"{place.mount}shop/db"
    rotated = rotate_secrets(place.services(rotator), [name], source="vault", reason=REASON)
    assert "has no field 'password'" in rotated.secrets[0].why
    assert place.bao.data(f"{place.engine}/static-creds/app")["password"] == before
    assert login.works(before)


def test_a_value_of_the_engine_that_cannot_be_written_is_told_as_what_counts(place: Place) -> None:
    admin = new_login(place.server, "CANARY-admin", more="SUPERUSER")
    login = new_login(place.server, "CANARY-leaked")
    place.connect_database(admin, "CANARY-admin")
    place.static_role(login)
    place.bao.put(place.mount, "shop/db", {"password": "CANARY-leaked"})

    def overtake(_request: Request) -> None:
        place.bao.put(place.mount, "shop/db", {"password": "CANARY-theirs"})

    place.proxy.fail(Call(overtake), when=method("POST", path="/data/shop/db"))
    rotator = place.engine_rotator("rotate-role/app", "static-creds/app", field="password")
    name = f"{place.mount}shop/db"
    rotated = rotate_secrets(place.services(rotator), [name], source="vault", reason=REASON)
    assert "The engine's new value counts already" in rotated.secrets[0].why
    assert place.held("shop/db") == {"password": "CANARY-theirs"}
    assert rotate_secrets(place.services(rotator), [name], source="vault", reason=REASON).done == (name,)
    assert login.works(place.held("shop/db")["password"])


def test_no_pattern_means_the_policies_of_a_vault(place: Place) -> None:
    services = place.services(random_rotator(selection=EVERYTHING), system=True)
    place.bao.policy("of-rotators", 'path "a" { capabilities = ["read"] }')
    name = "sys/policies/acl/of-rotators"
    rotated = rotate_secrets(services, [name], source="vault", reason=REASON)
    assert rotated.no_rotator == (name,), rotated


def test_a_lost_reply_to_the_write_makes_no_second_value(place: Place) -> None:
    place.bao.put(place.mount, "shop/key", {"key": "CANARY-leaked"})
    place.proxy.fail(LoseReply(), when=method("POST", path="/data/shop/key"))
    services = place.services(random_rotator(selection=EVERYTHING))
    rotated = rotate_secrets(services, [f"{place.mount}shop/key"], source="vault", reason=REASON)
    assert rotated.done == (f"{place.mount}shop/key",)
    assert place.version("shop/key") == 2


def dies_at(proxy: FaultyProxy, when: When, work: Callable[[], object]) -> None:
    """Do work in a process that is killed as it sends a request, which the server never gets."""

    class Killing(Fault):
        def before(self, request: Request) -> None:  # noqa: ARG002
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)

    process = get_context("fork").Process(target=work)
    proxy.fail(Killing(), when=when)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_killed_between_the_engine_and_the_write_the_next_process_asks_the_engine_for_nothing(
    place: Place,
) -> None:
    admin = new_login(place.server, "CANARY-admin", more="SUPERUSER")
    login = new_login(place.server, "CANARY-leaked")
    place.connect_database(admin, "CANARY-admin")
    place.static_role(login)
    leaked = place.bao.data(f"{place.engine}/static-creds/app")["password"]
    place.bao.put(place.mount, "shop/db", {"password": leaked})
    rotator = place.engine_rotator("rotate-role/app", "static-creds/app")

    def rotate() -> Rotated:
        name = f"{place.mount}shop/db"
        return rotate_secrets(place.services(rotator), [name], source="vault", reason=REASON)

    dies_at(place.proxy, method("POST", path="/data/shop/db"), rotate)
    made = place.bao.data(f"{place.engine}/static-creds/app")["password"]
    assert made != leaked
    assert rotate().done
    assert place.held("shop/db") == {"password": made}
    assert login.works(made)


# -- Secrets Manager -----------------------------------------------------------


class RotationFunction:
    """Stands for Secrets Manager's RotateSecret, which moto and every other local server only feign: it
    runs the steps of a rotation function, as AWS has them, against the server."""

    def __init__(self, moto: Moto, *, fails: bool = False) -> None:
        self.tokens: list[str] = []
        self._client = moto.client()
        self._fails = fails
        self._thread: threading.Thread | None = None

    def answer(self, request: Request) -> Reply:
        asked = json.loads(request.body)
        if asked["ClientRequestToken"] not in self.tokens:
            self.tokens.append(asked["ClientRequestToken"])
            self._thread = threading.Thread(target=self._run, args=(asked["SecretId"], self.tokens[-1]))
            self._thread.start()
        body = json.dumps({"ARN": "arn", "Name": asked["SecretId"], "VersionId": self.tokens[-1]})
        return Reply(status=200, reason="", headers=[], body=body.encode())

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _run(self, name: str, token: str) -> None:
        before = self._client.describe_secret(SecretId=name)["VersionIdsToStages"]
        current = next(id_ for id_, stages in before.items() if "AWSCURRENT" in stages)
        self._client.put_secret_value(
            SecretId=name,
            ClientRequestToken=token,
            SecretString=f"CANARY-new-{len(self.tokens)}",
            VersionStages=["AWSPENDING"],
        )
        if not self._fails:
            self._client.update_secret_version_stage(
                SecretId=name,
                VersionStage="AWSCURRENT",
                RemoveFromVersionId=current,
                MoveToVersionId=token,
            )


class Answering(Answer):
    def __init__(self, function: RotationFunction) -> None:
        object.__setattr__(self, "function", function)

    def before(self, request: Request) -> Reply:
        return self.function.answer(request)  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
def account(moto: Moto) -> Iterator[tuple[Moto, FaultyProxy]]:
    moto.client().create_secret(Name="shop/db", SecretString="CANARY-leaked")
    with FaultyProxy(moto.port) as proxy:
        yield moto, proxy


def aws_services(folder: Path, account: tuple[Moto, FaultyProxy], *rotators: SecretRotator) -> Services:
    source = AwsSource(account[0].options(endpoint_url=account[1].url), name="aws")
    return services_for(make_world(folder, secrets=[]), source, *rotators)


def aws_rotator(**more: object) -> SecretRotator:
    work = RotatorWork(does="asks the source")
    given: dict[str, object] = {"name": "function", "work": work, "selection": EVERYTHING}
    return SecretRotator(**{**given, **more})  # type: ignore[arg-type]


def test_killed_while_aws_rotates_the_next_process_waits_for_the_same_rotation(
    account: tuple[Moto, FaultyProxy], tmp_path: Path
) -> None:
    moto, proxy = account
    function = RotationFunction(moto)
    proxy.fail(Answering(function), when=op("RotateSecret"), times=None)

    services = aws_services(tmp_path, account, aws_rotator())

    def rotate() -> Rotated:
        return rotate_secrets(services, ["shop/db"], source="aws", reason=REASON)

    asked = op("DescribeSecret")
    dies_at(proxy, lambda request: asked(request) and bool(function.tokens), rotate)
    function.join()
    assert rotate().done == ("shop/db",)
    assert (len(function.tokens), value(moto)) == (1, "CANARY-new-1")


def value(moto: Moto) -> str:
    return valued(moto, VersionStage="AWSCURRENT")


def valued(moto: Moto, **which: str) -> str:
    return str(moto.client().get_secret_value(SecretId="shop/db", **which)["SecretString"])


def test_aws_rotates_by_the_secrets_own_function_and_the_end_is_waited_for(
    account: tuple[Moto, FaultyProxy], tmp_path: Path
) -> None:
    moto, proxy = account
    function = RotationFunction(moto)
    proxy.fail(Answering(function), when=op("RotateSecret"), times=None)
    services = aws_services(tmp_path, account, aws_rotator())
    rotated = rotate_secrets(services, ["shop/db"], source="aws", reason=REASON)
    function.join()
    assert rotated.done == ("shop/db",), rotated
    assert value(moto) == "CANARY-new-1"
    assert len(function.tokens) == 1


def test_a_rotation_function_that_does_not_end_is_told_with_what_is_current(
    account: tuple[Moto, FaultyProxy], tmp_path: Path
) -> None:
    moto, proxy = account
    function = RotationFunction(moto, fails=True)
    proxy.fail(Answering(function), when=op("RotateSecret"), times=None)
    services = aws_services(tmp_path, account, aws_rotator(timeout=0.5))
    rotated = rotate_secrets(services, ["shop/db"], source="aws", reason=REASON)
    function.join()
    assert rotated.failed == ("shop/db",)
    assert "the new version is not current yet" in rotated.secrets[0].why
    assert "The former value is current" in rotated.secrets[0].to_do[0]
    assert value(moto) == "CANARY-leaked"


def test_a_random_value_takes_the_label_of_the_current_version_from_the_one_that_was_seen(
    account: tuple[Moto, FaultyProxy], tmp_path: Path
) -> None:
    moto, _ = account
    services = aws_services(tmp_path, account, random_rotator(selection=EVERYTHING))
    rotated = rotate_secrets(services, ["shop/db"], source="aws", reason=REASON)
    assert rotated.done == ("shop/db",), rotated
    assert len(value(moto)) == 24
    previous = moto.client().get_secret_value(SecretId="shop/db", VersionStage="AWSPREVIOUS")
    assert previous["SecretString"] == "CANARY-leaked"


def labels(moto: Moto) -> dict[str, str]:
    """Return the value that each label is on."""
    stages = moto.client().describe_secret(SecretId="shop/db")["VersionIdsToStages"]
    return {label: valued(moto, VersionId=id_) for id_, found in stages.items() for label in found}


def test_on_aws_a_value_is_current_only_after_the_program_has_taken_it(
    account: tuple[Moto, FaultyProxy], tmp_path: Path
) -> None:
    moto, proxy = account
    refused = command_rotator(script(tmp_path / "refuse", "exit 1"), selection=EVERYTHING)
    services = aws_services(tmp_path, account, refused)
    rotated = rotate_secrets(services, ["shop/db"], source="aws", reason=REASON)
    assert "The former value was current all the time" in rotated.secrets[0].why
    assert labels(moto) == {"AWSCURRENT": "CANARY-leaked"}

    keeping = script(tmp_path / "keep", f"cat >> {tmp_path}/given", f"echo >> {tmp_path}/given")
    services = dataclasses.replace(services, rotators=(command_rotator(keeping, selection=EVERYTHING),))

    def rotate() -> Rotated:
        return rotate_secrets(services, ["shop/db"], source="aws", reason=REASON)

    dies_at(proxy, op("UpdateSecretVersionStage", about="AWSCURRENT"), rotate)
    (given,) = (tmp_path / "given").read_text().split()
    assert labels(moto) == {"AWSCURRENT": "CANARY-leaked", "AWSPENDING": given}
    assert rotate().done == ("shop/db",)
    assert set((tmp_path / "given").read_text().split()) == {given}
    assert labels(moto) == {"AWSCURRENT": given, "AWSPREVIOUS": "CANARY-leaked"}


def test_on_aws_a_rotation_of_somebody_elses_is_left_alone(
    account: tuple[Moto, FaultyProxy], tmp_path: Path
) -> None:
    moto, _ = account
    moto.client().put_secret_value(
        SecretId="shop/db", SecretString="CANARY-theirs", VersionStages=["AWSPENDING"]
    )
    taking = command_rotator(script(tmp_path / "take", "exit 0"), selection=EVERYTHING)
    services = aws_services(tmp_path, account, taking)
    rotated = rotate_secrets(services, ["shop/db"], source="aws", reason=REASON)
    assert "another rotation of secret 'shop/db' has not ended" in rotated.secrets[0].why
    assert labels(moto) == {"AWSCURRENT": "CANARY-leaked", "AWSPENDING": "CANARY-theirs"}


def test_a_secret_without_a_rotation_function_is_told_and_left(
    account: tuple[Moto, FaultyProxy], tmp_path: Path
) -> None:
    moto, proxy = account
    refusal = b'{"__type": "InvalidRequestException", "Message": "CANARY words"}'
    proxy.fail(Answer(400, {}, refusal), when=op("RotateSecret"), times=None)
    services = aws_services(tmp_path, account, aws_rotator())
    rotated = rotate_secrets(services, ["shop/db"], source="aws", reason=REASON)
    assert rotated.failed == ("shop/db",)
    assert "it has no rotation function" in rotated.secrets[0].why
    assert value(moto) == "CANARY-leaked"
    assert os.linesep not in rotated.secrets[0].why
