"""The IAM policies that each role needs: of buckets of backups and of stages, of KMS keys, of Secrets
Manager."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from shlex import quote
from typing import Any, Final

from strongroom.config import AwsSourceSettings, KmsKey, S3TargetSettings, Settings
from strongroom.config.rotators import AwsRotator
from strongroom.errors import ConfigError
from strongroom.operations.engine.stage import rights_on_stage, verbs_on_stage
from strongroom.operations.rights import needs
from strongroom.operations.rights.needs import Errand, TargetAction

Document = dict[str, Any]
VERSION: Final = "2012-10-17"

# -- Buckets ------------------------------------------------------------------------------------


_OF_BUCKET: Final = {
    TargetAction.LIST: ("ListBucket",),
    TargetAction.PUT: ("ListBucketMultipartUploads",),
    TargetAction.MARK: ("ListBucketMultipartUploads",),
    TargetAction.SETTINGS: ("GetBucketObjectLockConfiguration", "GetBucketVersioning"),
    TargetAction.VERSIONS: (
        "ListBucketVersions",
        "GetLifecycleConfiguration",
        "GetBucketObjectLockConfiguration",
    ),
}
_READING: Final = ("GetObject", "GetObjectRetention", "GetObjectLegalHold")
_OF_OBJECTS: Final = {
    TargetAction.READ: _READING,
    TargetAction.PUT: ("PutObject", "PutObjectRetention", "AbortMultipartUpload", "ListMultipartUploadParts"),
    TargetAction.DELETE: ("DeleteObject",),
}
"""No overwriting: what is put is put only if it is absent, and the bucket's own policy can demand that."""
_MARKED: Final = ("deletion/", "probes/")
_DELETABLE: Final = ("manifests/", "containers/", "keys/", "index/", "emergency/", "probes/")
_MFA: Final = {"Bool": {"aws:MultiFactorAuthPresent": "true"}}
_FRESH_MFA: Final = _MFA | {"NumericLessThan": {"aws:MultiFactorAuthAge": "3600"}}


def bucket_arn(target: S3TargetSettings, below: str = "") -> str:
    """Return how policies name a bucket, or what lies in it. A wildcard would cover others than itself."""
    for name in (target.bucket, target.prefix):
        _require_literal(name, "Name buckets and prefixes without '*', '?', '$', quotes and braces.")
    inner = f"/{folder(target)}{below}" if below else ""
    return f"arn:aws:s3:::{target.bucket}{inner}"


def _require_literal(name: str, hint: str) -> None:
    if not name.isprintable() or any(mark in name for mark in '*?${}"\\'):
        raise ConfigError(f"{name!r} cannot stand in a policy: it would cover more than itself", hint=hint)


def folder(target: S3TargetSettings) -> str:
    """Return what the names of a target's objects begin with."""
    return f"{target.prefix.strip('/')}/" if target.prefix.strip("/") else ""


def _of_target(target: S3TargetSettings, role: str) -> Iterator[Document]:
    if role == Errand.READ_BACKUPS:
        yield _allow("ListWithMfa", ("ListBucket",), bucket_arn(target), condition=_FRESH_MFA)
        objects = (*_READING, "GetObjectVersion")
        yield _allow("ReadWithMfa", objects, bucket_arn(target, "*"), condition=_FRESH_MFA)
    elif role == Errand.RETENTION:
        looking = ("ListBucket", "ListBucketVersions")
        yield _allow("ListWithMfa", looking, bucket_arn(target), condition=_FRESH_MFA)
        yield _allow("ChangeRetentionWithMfa", _RETENTION, bucket_arn(target, "*"), condition=_FRESH_MFA)
    else:
        yield from _of_work(target, needs.ON_TARGETS.get(role, frozenset()))


_RETENTION: Final = (
    *("DeleteObject", "DeleteObjectVersion", "PutObjectRetention", "PutObjectLegalHold"),
    *("BypassGovernanceRetention", "GetObjectRetention", "GetObjectLegalHold"),
)


def _of_work(target: S3TargetSettings, actions: frozenset[TargetAction]) -> Iterator[Document]:
    if not actions:
        return
    # Without a condition on names: asked for an object that is not there, S3 wants the right to list, and has
    # no prefix for the condition. So names of another target in the bucket are seen, and no content.
    yield _allow("Look", _named(_OF_BUCKET, actions), bucket_arn(target))
    destroys = TargetAction.DESTROY in actions
    acting = actions - {TargetAction.DELETE} if destroys else actions
    yield _allow("UseObjects", _named(_OF_OBJECTS, acting), bucket_arn(target, "*"))
    if TargetAction.MARK in actions:
        places = [bucket_arn(target, f"{name}*") for name in _MARKED]
        yield _allow("PutMarks", ("PutObject", "PutObjectRetention"), places)
    if destroys:
        places = [bucket_arn(target, f"{name}*") for name in _DELETABLE]
        removing = ("DeleteObject", "DeleteObjectVersion", "AbortMultipartUpload")
        yield _allow("DeleteWhatIsMarked", removing, places)
    yield from _at_rest(target, puts=bool({TargetAction.PUT, TargetAction.MARK} & actions))


def _at_rest(target: S3TargetSettings, *, puts: bool) -> Iterator[Document]:
    if target.encryption == "aws:kms" and target.kms_key:
        using = ("kms:GenerateDataKey", "kms:Decrypt") if puts else ("kms:Decrypt",)
        key, limits = _key_arn(target.kms_key, target.region)
        through = {"StringLike": {"kms:ViaService": "s3.*.amazonaws.com"}} | limits
        yield _allow("EncryptAtRest", using, key, condition=through)


_ON_STAGE: Final = {
    "put": ("PutObject", "AbortMultipartUpload", "ListMultipartUploadParts"),
    "get": ("GetObject",),
    "delete": ("DeleteObject", "AbortMultipartUpload"),
}


def _of_stage(stage: S3TargetSettings, role: str) -> Iterator[Document]:
    if not (verbs := verbs_on_stage(role)):
        return
    yield _allow("LookAtStage", ("ListBucket", "ListBucketMultipartUploads"), bucket_arn(stage))
    for right in rights_on_stage(role):
        actions = dict.fromkeys(name for verb in right.verbs for name in _ON_STAGE.get(verb, ()))
        yield _allow("UseStage", actions, bucket_arn(stage, f"{right.prefix}*"))
    yield from _at_rest(stage, puts="put" in verbs)


def _named(names: dict[TargetAction, tuple[str, ...]], actions: frozenset[TargetAction]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for action, each in names.items() if action in actions for name in each))


# -- Keys ---------------------------------------------------------------------------------------


def _key_arn(key: str, region: str) -> tuple[str, Document]:
    """Return how a policy names a KMS key, and what else it has to say so."""
    _require_literal(key, "Name the key by its id, its ARN or its alias.")
    alias = key if key.startswith("alias/") else key.partition(":alias/")[2]
    if alias:
        alias = alias if alias.startswith("alias/") else f"alias/{alias}"
        where = key.partition(":alias/")[0] if key.startswith("arn:") else f"arn:aws:kms:{region}:*"
        return f"{where}:key/*", {"ForAnyValue:StringEquals": {"kms:ResourceAliases": alias}}
    return (key if key.startswith("arn:") else f"arn:aws:kms:{region}:*:key/{key}"), {}


_OURS: Final = {"Null": {"kms:EncryptionContext:strongroom": "false"}}
_WAITS: Final = {"NumericGreaterThanEquals": {"kms:ScheduleKeyDeletionPendingWindowInDays": "7"}}


def _of_key(key: KmsKey, role: str) -> Iterator[Document]:
    arn, limits = _key_arn(key.key_id, key.region)
    used = []
    if role in needs.SEALS:
        used.append(_allow("SealBackups", ("kms:Encrypt",), arn, condition=_OURS | limits))
    if role in needs.OPENS:
        used.append(_allow("OpenBackups", ("kms:Decrypt",), arn, condition=_OURS | limits))
    if role == Errand.SHRED:
        used.append(_allow("ShredBackups", ("kms:ScheduleKeyDeletion",), arn, condition=_WAITS | limits))
    yield from used
    if used:
        yield _allow("SeeItsState", ("kms:DescribeKey",), arn, condition=limits)


# -- Secrets Manager ----------------------------------------------------------------------------


_READ_SECRETS: Final = ("DescribeSecret", "GetResourcePolicy", "GetSecretValue", "ListSecretVersionIds")
_WRITE_SECRETS: Final = (
    *("CreateSecret", "DeleteResourcePolicy", "PutResourcePolicy", "PutSecretValue"),
    *("ReplicateSecretToRegions", "RestoreSecret", "TagResource", "UntagResource", "UpdateSecret"),
    "UpdateSecretVersionStage",
)


def _of_source(source: AwsSourceSettings, role: str, *, rotates: bool) -> Iterator[Document]:
    every = f"arn:aws:secretsmanager:{source.region}:*:secret:*"
    writes = source.destination and role in needs.WRITES_SOURCES
    if role in needs.READS_SOURCES:
        listing = ("secretsmanager:ListSecrets", "secretsmanager:BatchGetSecretValue")
        only = {"StringEquals": {"aws:RequestedRegion": source.region}}
        yield _allow("ListAndReadInBatches", listing, "*", condition=only)
        yield _allow("ReadEverythingOfEachSecret", _of_secrets(_READ_SECRETS), every)
        through = {"StringLike": {"kms:ViaService": "secretsmanager.*.amazonaws.com"}}
        encrypting = ("kms:Decrypt", "kms:GenerateDataKey") if writes else ("kms:Decrypt",)
        yield _allow("UseTheirKeys", encrypting, f"arn:aws:kms:{source.region}:*:key/*", condition=through)
    if writes:
        yield _allow("WriteWithASecondFactorOnly", _of_secrets(_WRITE_SECRETS), every, condition=_MFA)
        window = {"NumericGreaterThanEquals": {"secretsmanager:RecoveryWindowInDays": "7"}}
        deleting = _of_secrets(("DeleteSecret",))
        yield _allow("ScheduleDeletionsButDeleteNothingForGood", deleting, every, condition=_MFA | window)
    if (rotates and role in needs.ROTATES_SECRETS) or role == Errand.REARM:
        yield _allow("Rotate", _of_secrets(("RotateSecret",)), every, condition=_MFA)
        functions = f"arn:aws:lambda:{source.region}:*:function:*"
        yield _allow("LetTheServiceCallItsFunction", ("lambda:InvokeFunction",), functions, condition=_MFA)


def _of_secrets(actions: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"secretsmanager:{action}" for action in actions)


# -- Whole policies -----------------------------------------------------------------------------


def aws_policies(settings: Settings, roles: Iterable[str]) -> dict[str, Document]:
    """Return what each role needs of AWS, of those who need something.

    Raises:
        ConfigError: a name holds what a policy would read as something else.
    """
    found = {role: list(_joined(_statements(settings, role))) for role in roles}
    return {
        role: {"Version": VERSION, "Statement": statements}
        for role, statements in found.items()
        if statements
    }


def policy_text(policy: Document) -> str:
    """Return a policy as IAM takes it."""
    return f"{json.dumps(policy, indent=2)}\n"


def aws_lines(policies: dict[str, Document], prefix: str) -> Iterator[str]:
    """Yield what a shell runs to make each policy."""
    for role, policy in policies.items():
        text = quote(json.dumps(policy, separators=(",", ":")))
        yield f"aws iam create-policy --policy-name {quote(prefix + role)} --policy-document {text}"


def _statements(settings: Settings, role: str) -> Iterator[Document]:
    for places, of_place in ((settings.targets, _of_target), (settings.stages, _of_stage)):
        for place in places.values():
            if isinstance(place, S3TargetSettings):
                yield from of_place(place, role)
    for key in settings.keys.values():
        if isinstance(key, KmsKey):
            yield from _of_key(key, role)
    rotates = any(isinstance(rotator, AwsRotator) for rotator in settings.rotators.values())
    for source in settings.sources.values():
        if isinstance(source, AwsSourceSettings):
            yield from _of_source(source, role, rotates=rotates)


def _allow(
    name: str, actions: Iterable[str], resource: str | list[str], *, condition: Document | None = None
) -> Document:
    """Return a statement. An action without a service's name is one of S3."""
    spelt = [action if ":" in action else f"s3:{action}" for action in actions]
    resources = [resource] if isinstance(resource, str) else resource
    statement = {"Sid": name, "Effect": "Allow", "Action": spelt, "Resource": resources}
    return statement | ({"Condition": condition} if condition else {})


def _joined(statements: Iterable[Document]) -> Iterator[Document]:
    """Yield each statement once, with all that it is about: several buckets share one."""
    found: dict[str, Document] = {}
    for statement in statements:
        if not statement["Action"]:
            continue
        same = json.dumps({**statement, "Resource": ""})
        kept = found.setdefault(same, {**statement, "Resource": []})
        kept["Resource"] = list(dict.fromkeys([*kept["Resource"], *statement["Resource"]]))
    seen: dict[str, int] = {}
    for statement in found.values():
        number = seen[statement["Sid"]] = seen.get(statement["Sid"], 0) + 1
        yield statement | {"Sid": f"{statement['Sid']}{number if number > 1 else ''}"}


# -- The buckets themselves ---------------------------------------------------------------------


def bucket_settings(target: S3TargetSettings) -> dict[str, Document]:
    """Return how a bucket is to be set up, by the command of ``aws s3api`` that does it."""
    bucket, objects = bucket_arn(target), f"{bucket_arn(target)}/*"
    kms = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": target.kms_key}
    at_rest = kms if target.encryption == "aws:kms" else {"SSEAlgorithm": "AES256"}
    rules = [{"ApplyServerSideEncryptionByDefault": at_rest, "BucketKeyEnabled": at_rest is kms}]
    return {
        "versioning": {"Status": "Enabled"},
        "object-lock": {"ObjectLockEnabled": "Enabled"},
        "lifecycle": {"Rules": list(_LIFECYCLE)},
        "encryption": {"Rules": rules},
        "ownership": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
        "public-access": dict.fromkeys(
            ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
        ),
        "policy": {"Version": VERSION, "Statement": list(_refused(target, bucket, objects))},
    }


def bucket_lines(target: S3TargetSettings) -> Iterator[str]:
    """Yield what a shell runs to make a bucket and set it up. The policy comes last: it asks for a second
    factor from then on."""
    where = f"--bucket {quote(target.bucket)}"
    placed = f" --create-bucket-configuration LocationConstraint={quote(target.region)}"
    reached = f"aws --region {quote(target.region)}"
    reached += f" --endpoint-url {quote(target.endpoint_url)}" if target.endpoint_url else ""
    named = "" if target.region == "us-east-1" else placed  # which refuses its own name there
    yield f"{reached} s3api create-bucket {where} --object-lock-enabled-for-bucket{named}"
    for name, document in bucket_settings(target).items():
        command, option = _SET[name]
        text = quote(json.dumps(document, separators=(",", ":")))
        yield f"{reached} s3api {command} {where} --{option} {text}"


_SET: Final = {
    "versioning": ("put-bucket-versioning", "versioning-configuration"),
    "object-lock": ("put-object-lock-configuration", "object-lock-configuration"),
    "lifecycle": ("put-bucket-lifecycle-configuration", "lifecycle-configuration"),
    "encryption": ("put-bucket-encryption", "server-side-encryption-configuration"),
    "ownership": ("put-bucket-ownership-controls", "ownership-controls"),
    "public-access": ("put-public-access-block", "public-access-block-configuration"),
    "policy": ("put-bucket-policy", "policy"),
}
_LIFECYCLE: Final = (
    {
        "ID": "abandoned-uploads",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2},
    },
    {
        "ID": "hidden-versions",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
    },
    {
        "ID": "markers",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "Expiration": {"ExpiredObjectDeleteMarker": True},
    },
)
_WITHOUT_MFA: Final = {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}
_CHANGING_IT: Final = (
    *("DeleteBucket", "DeleteBucketPolicy", "PutBucketPolicy", "PutBucketVersioning"),
    *("PutBucketObjectLockConfiguration", "PutLifecycleConfiguration", "PutEncryptionConfiguration"),
    *("PutBucketPublicAccessBlock", "PutBucketOwnershipControls"),
)


def _refused(target: S3TargetSettings, bucket: str, objects: str) -> Iterator[Document]:
    """Yield what is refused to everybody."""
    both = [bucket, objects]
    yield _deny("OnlyTls", ["*"], both, {"Bool": {"aws:SecureTransport": "false"}})
    yield _deny("OnlyNewTls", ["*"], both, {"NumericLessThan": {"s3:TlsVersion": "1.2"}})
    if target.bucket_owner:
        ours = {"StringNotEquals": {"aws:PrincipalAccount": target.bucket_owner}}
        ours |= {"BoolIfExists": {"aws:PrincipalIsAWSService": "false"}}
        yield _deny("OnlyOurAccount", ["*"], both, ours)
    absent = {"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}}
    yield _deny("OnlyIfAbsent", ["PutObject"], [objects], absent)
    longest = {"NumericGreaterThan": {"s3:object-lock-remaining-retention-days": str(target.max_lock_days)}}
    yield _deny("NoEndlessLocks", ["PutObjectRetention"], [objects], longest)
    destroying = ["DeleteObjectVersion", "BypassGovernanceRetention"]
    yield _deny("DestroyingNeedsMfa", destroying, [objects], _WITHOUT_MFA)
    yield _deny("ChangingTheBucketNeedsMfa", list(_CHANGING_IT), [bucket], _WITHOUT_MFA)


def _deny(name: str, actions: list[str], resources: list[str], condition: Document) -> Document:
    spelt = [f"s3:{action}" for action in actions]
    named = {"Sid": name, "Effect": "Deny", "Principal": "*", "Action": spelt, "Resource": resources}
    return named | {"Condition": condition}
