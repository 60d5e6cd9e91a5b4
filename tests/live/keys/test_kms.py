"""Keys of KMS, of several regions, on a live server; what KMS refuses is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from strongroom.container.wrapping import WrappingKey, unlock
from strongroom.errors import KeyServiceError
from strongroom.keys.errors import (
    KeyDenied,
    KeyDisabled,
    KeyNotFound,
    KeyPendingDeletion,
    KeyServiceUnavailable,
    MechanismMissing,
)
from strongroom.keys.kms import Kms, KmsIdentity, KmsOptions, KmsRecipient, arn_of
from strongroom.plugins.conformance.recipients import CONTEXT, KEY, RecipientConformance, outcome, with_arg
from tests.live.moto import FOR_EVER, REGION, Moto
from tests.live.proxy import Answer, Call, FaultyProxy, always
from tests.live.shipped import for_key, without

OTHER_REGION = "us-east-1"


def make_key(server: Moto, *, region: str = REGION, **settings: str) -> str:
    """Return a new key's ARN."""
    made = server.client("kms", region_name=region).create_key(**settings)
    return str(made["KeyMetadata"]["Arn"])


def bare(arn: str) -> str:
    """Return the key's id alone: what the server here takes for changes of its state."""
    return arn.rpartition("/")[2]


def of(server: Moto, key_id: str, *, region: str = REGION, **settings: Any) -> Kms:
    options = {"endpoint_url": server.endpoint, "max_attempts": 1} | settings
    return Kms(KmsOptions(key_id=key_id, region=region, **options))


@pytest.fixture
def arn(moto: Moto) -> str:
    return make_key(moto)


class TestKms(RecipientConformance):
    post_quantum = True
    opaque = frozenset({"arn", "blob"})
    # KMS says "access denied" of a key that it does not show us, and the blob begins with its key's id.
    refusals = (KeyDenied,)

    @pytest.fixture(autouse=True)
    def _words(self, arn: str) -> None:
        self.words = f"anyone who may decrypt with the KMS key `{arn}` in {REGION}"

    @pytest.fixture
    def recipient(self, moto: Moto, arn: str) -> KmsRecipient:
        return KmsRecipient(of(moto, arn), label="recovery")

    @pytest.fixture
    def same(self, moto: Moto, arn: str) -> KmsRecipient:
        return KmsRecipient(of(moto, arn), label="recovery")

    @pytest.fixture
    def identity(self, moto: Moto, arn: str) -> KmsIdentity:
        return KmsIdentity(of(moto, arn))

    @pytest.fixture
    def stranger(self, moto: Moto) -> KmsIdentity:
        return KmsIdentity(of(moto, make_key(moto)))

    @pytest.fixture
    def secrets(self) -> list[bytes]:
        return [b"CANARY-secret"]


def test_a_region_that_is_lost_loses_nothing(moto: Moto, own_moto: Moto) -> None:
    here, there = (
        of(moto, make_key(moto)),
        of(own_moto, make_key(own_moto, region=OTHER_REGION), region=OTHER_REGION),
    )
    record = WrappingKey.create([KmsRecipient(there), KmsRecipient(here)]).record
    own_moto.kill()

    assert unlock(record, [KmsIdentity(there), KmsIdentity(here)]).id == record.id
    with pytest.raises(KeyServiceUnavailable, match=OTHER_REGION) as caught:
        unlock(record, [KmsIdentity(there)])
    assert caught.value.transient


def test_the_key_that_sealed_is_named_in_the_stanza_whatever_it_was_called(moto: Moto, arn: str) -> None:
    moto.client("kms").create_alias(AliasName="alias/backup", TargetKeyId=arn)
    stanza = KmsRecipient(of(moto, "alias/backup")).wrap(KEY, context=CONTEXT)

    assert arn_of(stanza) == arn
    for name in (arn, bare(arn), "alias/backup"):
        assert KmsIdentity(of(moto, name)).unwrap(stanza, context=CONTEXT) == KEY
    moto.client("kms").create_alias(AliasName="alias/other", TargetKeyId=make_key(moto))
    assert outcome(KmsIdentity(of(moto, "alias/other")), stanza) in (None, KeyDenied)


def test_a_stanza_that_names_another_key_than_the_one_that_opened_it_is_not_ours(
    moto: Moto, arn: str
) -> None:
    moto.client("kms").create_alias(AliasName="alias/backup", TargetKeyId=arn)
    kms = of(moto, "alias/backup")
    stanza = KmsRecipient(kms).wrap(KEY, context=CONTEXT)
    renamed = with_arg(stanza, "arn", make_key(moto).encode().hex())

    assert KmsIdentity(kms).unwrap(stanza, context=CONTEXT) == KEY
    assert KmsIdentity(kms).unwrap(renamed, context=CONTEXT) is None


def test_a_region_that_is_not_ours_is_not_asked(moto: Moto, arn: str) -> None:
    stanza = KmsRecipient(of(moto, arn)).wrap(KEY, context=CONTEXT)
    nobody = Kms(KmsOptions(key_id=arn, region=OTHER_REGION, endpoint_url="http://127.0.0.1:1"))

    assert KmsIdentity(nobody).unwrap(stanza, context=CONTEXT) is None


def test_nothing_is_sealed_for_a_key_that_is_off_or_on_its_way_out(moto: Moto, arn: str) -> None:
    admin = moto.client("kms")
    admin.disable_key(KeyId=bare(arn))
    with pytest.raises(KeyDisabled, match="switched off"):
        KmsRecipient(of(moto, arn)).wrap(KEY, context=CONTEXT)
    admin.enable_key(KeyId=bare(arn))
    assert KmsRecipient(of(moto, arn)).wrap(KEY, context=CONTEXT).type == "kms"

    admin.schedule_key_deletion(KeyId=bare(arn), PendingWindowInDays=7)
    with pytest.raises(KeyPendingDeletion, match=r"going to be deleted on 20\d\d-") as caught:
        KmsRecipient(of(moto, arn)).wrap(KEY, context=CONTEXT)
    assert "Cancel the deletion" in caught.value.hint


def test_a_state_that_changes_while_a_process_runs_is_told_by_kms_itself(moto: Moto, arn: str) -> None:
    with FaultyProxy(moto.port) as proxy:
        recipient = KmsRecipient(of(moto, arn, endpoint_url=f"http://127.0.0.1:{proxy.port}"))
        asked: list[str] = []
        proxy.fail(Call(lambda request: asked.append(request.headers["X-Amz-Target"])), when=always, times=4)
        for _ in range(3):
            recipient.wrap(KEY, context=CONTEXT)
        assert [target.rpartition(".")[2] for target in asked] == ["DescribeKey"] + ["Encrypt"] * 3

        moto.client("kms").disable_key(KeyId=bare(arn))
        body = json.dumps({"__type": "DisabledException"}).encode()
        proxy.fail(Answer(400, {"Content-Type": "application/x-amz-json-1.1"}, body), when=always)
        with pytest.raises(KeyDisabled, match="switched off"):
            recipient.wrap(KEY, context=CONTEXT)


def test_a_key_that_is_not_there_or_cannot_do_it_is_named(moto: Moto) -> None:
    missing = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
    with pytest.raises(KeyNotFound, match="no such key"):
        KmsRecipient(of(moto, missing)).wrap(KEY, context=CONTEXT)
    asymmetric = make_key(moto, KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")
    with pytest.raises(MechanismMissing, match="not symmetric"):
        KmsRecipient(of(moto, asymmetric)).wrap(KEY, context=CONTEXT)


@pytest.mark.parametrize(
    ("code", "state", "error"),
    [
        ("DisabledException", "disable", KeyDisabled),
        ("KMSInvalidStateException", "delete", KeyPendingDeletion),
        ("KMSInvalidStateException", "", KeyDisabled),
        ("AccessDeniedException", "", KeyDenied),
        ("ExpiredTokenException", "", KeyDenied),
        ("NotFoundException", "", KeyNotFound),
        ("ThrottlingException", "", KeyServiceUnavailable),
        ("KMSInternalException", "", KeyServiceUnavailable),
        ("SomethingNewException", "", KeyServiceError),
    ],
)
def test_what_kms_answers_to_decrypt_is_told_apart(
    moto: Moto, arn: str, code: str, state: str, error: type[KeyServiceError]
) -> None:
    """The server here decrypts in any state, so its answer is exchanged for the service's documented one."""
    stanza = KmsRecipient(of(moto, arn)).wrap(KEY, context=CONTEXT)
    if state == "disable":
        moto.client("kms").disable_key(KeyId=bare(arn))
    if state == "delete":
        moto.client("kms").schedule_key_deletion(KeyId=bare(arn), PendingWindowInDays=7)
    with FaultyProxy(moto.port) as proxy:
        body = json.dumps({"__type": code, "message": "CANARY-message"}).encode()
        answer = Answer(400, {"Content-Type": "application/x-amz-json-1.1"}, body)
        proxy.fail(answer, when=lambda request: request.headers.get("X-Amz-Target", "").endswith("Decrypt"))
        identity = KmsIdentity(of(moto, arn, endpoint_url=f"http://127.0.0.1:{proxy.port}"))

        with pytest.raises(error) as caught:
            identity.unwrap(stanza, context=CONTEXT)
    assert type(caught.value) is error
    assert "CANARY" not in str(caught.value)


def test_a_server_that_hangs_up_is_transient_and_comes_back(moto: Moto, arn: str) -> None:
    stanza = KmsRecipient(of(moto, arn)).wrap(KEY, context=CONTEXT)
    with FaultyProxy(moto.port) as proxy:
        identity = KmsIdentity(of(moto, arn, endpoint_url=f"http://127.0.0.1:{proxy.port}"))
        proxy.fail(Answer(503, {}, b""), when=always)
        with pytest.raises(KeyServiceError):
            identity.unwrap(stanza, context=CONTEXT)
        assert identity.unwrap(stanza, context=CONTEXT) == KEY


def test_without_credentials_it_says_so(moto: Moto, arn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(KeyDenied, match="no credentials"):
        KmsRecipient(of(moto, arn)).wrap(KEY, context=CONTEXT)


# -- the shipped policies: the server enforces their actions, not resources or conditions ------


@pytest.fixture
def enforced(moto: Moto) -> Iterator[Moto]:
    yield moto
    moto.enforce(after=FOR_EVER)


def actions_of(name: str) -> dict[str, Any]:
    """Return a shipped policy for any key: this server knows no key by its ARN when it looks at rights."""
    policy: dict[str, Any] = for_key(name)
    return policy | {"Statement": [statement | {"Resource": "*"} for statement in policy["Statement"]]}


def as_user(server: Moto, policy: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Go on as a user who has that policy alone."""
    server.enforce(after=FOR_EVER)
    for name, value in server.user(policy).items():
        monkeypatch.setenv(name, value)
    server.enforce()


def test_under_the_shipped_policies_who_seals_cannot_open_and_who_opens_cannot_seal(
    enforced: Moto, arn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(enforced, actions_of("seal"), monkeypatch)
    stanza = KmsRecipient(of(enforced, arn)).wrap(KEY, context=CONTEXT)
    with pytest.raises(KeyDenied):
        KmsIdentity(of(enforced, arn)).unwrap(stanza, context=CONTEXT)

    as_user(enforced, actions_of("verify"), monkeypatch)
    assert KmsIdentity(of(enforced, arn)).unwrap(stanza, context=CONTEXT) == KEY
    with pytest.raises(KeyDenied):
        KmsRecipient(of(enforced, arn)).wrap(KEY, context=CONTEXT)


@pytest.mark.parametrize(
    ("policy", "action"),
    [
        ("seal", "kms:Encrypt"),
        ("seal", "kms:DescribeKey"),
        ("verify", "kms:Decrypt"),
    ],
)
def test_a_right_that_is_taken_away_is_missed(
    enforced: Moto, arn: str, monkeypatch: pytest.MonkeyPatch, policy: str, action: str
) -> None:
    stanza = KmsRecipient(of(enforced, arn)).wrap(KEY, context=CONTEXT)
    as_user(enforced, without(actions_of(policy), action), monkeypatch)
    use: dict[str, Callable[[], object]] = {
        "seal": lambda: KmsRecipient(of(enforced, arn)).wrap(KEY, context=CONTEXT),
        "verify": lambda: KmsIdentity(of(enforced, arn)).unwrap(stanza, context=CONTEXT),
    }
    with pytest.raises(KeyDenied):
        use[policy]()
