"""The formats of access logs: one pure parser each, and the one record that they come down to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Struct, field

# -- The one record that every access log comes down to -----------------------------------------


LONGEST = 1024
"""Characters of a name that are kept: what is longer, somebody wrote there to fill a disk."""


class Did(StrEnum):
    """What somebody did, or tried."""

    READ = "read"
    OPENED = "used a key"
    REFUSED = "was refused"
    CHANGED = "changed permissions or logging"
    UNLOCKED = "shortened or lifted a lock"


class Read(Struct, frozen=True, kw_only=True):
    """Who did what, when, and from where, by which log. All of it may be written by an attacker.

    ``at`` is in seconds since the epoch. ``what`` is ``bucket/key``, ``account/container/blob``, the path of
    Vault, or the ARN of a key. ``how`` is the operation as the log calls it.
    """

    at: float
    who: str
    origin: str
    what: str
    did: Did
    how: str
    log: str = ""


class OddLine(ValueError):
    """A line that is none of its format."""


def printable(text: str) -> str:
    """Return what is safe to print and to store: one line, and no longer than a name may be."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text[:LONGEST])


# -- The formats of access logs: one pure parser each, from a line to what in it matters here ---
#
# A parser is strict: what is no line of its format is an :class:`OddLine`, and somebody may have written it.
# Most lines say nothing that matters, and give nothing.


Parser = Callable[[bytes], Iterator[Read]]


class Format(Struct, frozen=True, kw_only=True):
    """A format: its parser, how many bytes a line may have, and whether a file is one line."""

    parse: Parser
    longest: int
    whole: bool = False


# -- Amazon S3: server access logs --------------------------------------------------------------

_S3_FIELD = re.compile(r'"(?:[^"\\]|\\.)*"|\[[^\]]*\]|\S+')
_S3_CHANGES: Final = (
    "BUCKETPOLICY", "ACL", "PUBLICACCESSBLOCK", "PUBLIC_ACCESS_BLOCK", "LOGGING_STATUS", "OWNERSHIPCONTROLS",
    "OWNERSHIP_CONTROLS", "OBJECT_LOCK_CONFIGURATION",
)  # fmt: skip
_S3_FIELDS: Final = 10


def parse_s3(line: bytes) -> Iterator[Read]:
    """Yield what a line of a server access log says."""
    fields = _S3_FIELD.findall(_text(line))
    if len(fields) < _S3_FIELDS or not fields[2].startswith("["):
        raise OddLine("no line of a server access log")
    bucket, moment, origin, requester = fields[1], fields[2].strip("[]"), fields[3], fields[4]
    how, key, status = fields[6], fields[7], fields[9]
    if (did := _did_s3(how)) is None:
        return
    try:
        at = datetime.strptime(moment, "%d/%b/%Y:%H:%M:%S %z").timestamp()
    except ValueError:
        raise OddLine("no time") from None
    what = bucket if key == "-" else f"{bucket}/{unquote(unquote(key))}"
    who = "anonymous" if requester == "-" else requester
    yield _read(at, _by_status(did, status), who=who, origin=origin, what=what, how=how)


def _did_s3(how: str) -> Did | None:
    _, _, rest = how.partition(".")
    verb, _, resource = rest.partition(".")
    if (verb, resource) in (
        ("GET", "OBJECT"),
        ("COPY", "OBJECT_GET"),
        ("COPY", "PART_GET"),
        ("SELECT", "OBJECT"),
    ):
        return Did.READ
    if verb in ("PUT", "DELETE") and resource.endswith(_S3_CHANGES):
        return Did.CHANGED
    return None


# -- AWS CloudTrail -----------------------------------------------------------------------------

_TRAIL_DID: Final[Mapping[tuple[str, str], Did]] = {
    **{
        ("s3", name): Did.READ
        for name in ("GetObject", "CopyObject", "UploadPartCopy", "SelectObjectContent")
    },
    **{
        ("s3", name): Did.CHANGED
        for name in (
            "PutBucketPolicy", "DeleteBucketPolicy", "PutBucketAcl", "PutObjectAcl", "PutBucketLogging",
            "PutBucketPublicAccessBlock", "DeleteBucketPublicAccessBlock", "PutBucketOwnershipControls",
            "DeleteBucketOwnershipControls", "PutAccountPublicAccessBlock", "DeleteAccountPublicAccessBlock",
            "PutAccessPointPolicy", "PutBucketReplication",
        )
    },
    ("s3", "PutObjectRetention"): Did.UNLOCKED,
    ("s3", "PutObjectLegalHold"): Did.UNLOCKED,
    ("s3", "PutObjectLockConfiguration"): Did.UNLOCKED,
    ("s3", "PutBucketObjectLockConfiguration"): Did.UNLOCKED,
    ("kms", "Decrypt"): Did.OPENED,
    ("kms", "ReEncrypt"): Did.OPENED,
    **{
        ("kms", name): Did.CHANGED
        for name in ("PutKeyPolicy", "CreateGrant", "ScheduleKeyDeletion", "DisableKey", "UpdateAlias")
    },
    **{
        ("cloudtrail", name): Did.CHANGED
        for name in ("StopLogging", "DeleteTrail", "UpdateTrail", "PutEventSelectors")
    },
}  # fmt: skip
_BYPASS = "x-amz-bypass-governance-retention"
_LATER: Final = {"PutObjectRetention", "PutObjectLegalHold"}
"""Calls that only lengthen a lock, unless the bypass is asked for or a hold is lifted."""


class _Identity(Struct):
    type: str = ""
    arn: str = ""
    principal_id: str = field(default="", name="principalId")
    invoked_by: str = field(default="", name="invokedBy")


class _Resource(Struct):
    arn: str = field(default="", name="ARN")


class _LogRecord(Struct):
    time: str = field(name="eventTime")
    name: str = field(name="eventName")
    source: str = field(name="eventSource")
    identity: _Identity = field(default_factory=_Identity, name="userIdentity")
    origin: str = field(default="", name="sourceIPAddress")
    parameters: dict[str, Any] | None = field(default=None, name="requestParameters")
    error: str | None = field(default=None, name="errorCode")
    resources: list[_Resource] | None = None


class _Trail(Struct):
    records: list[_LogRecord] = field(name="Records")


_TRAIL = msgspec.json.Decoder(_Trail)


def parse_cloudtrail(content: bytes) -> Iterator[Read]:
    """Yield what a file of CloudTrail says."""
    for record in _decode(_TRAIL, content).records:
        service = record.source.removesuffix(".amazonaws.com")
        did = _TRAIL_DID.get((service, record.name))
        given = record.parameters or {}
        if did is None or (record.name in _LATER and not record.error and not _lifts(given)):
            continue
        who = record.identity.arn or record.identity.invoked_by or record.identity.principal_id
        did = Did.REFUSED if record.error and "Denied" in record.error else did
        for what in _trail_what(service, given, record.resources or []):
            yield _read(_moment(record.time), did, who=who, origin=record.origin, what=what, how=record.name)


def _lifts(given: Mapping[str, Any]) -> bool:
    """Tell whether a change of a lock may shorten it: governance is bypassed, or a legal hold ends."""
    hold = given.get("LegalHold")
    return str(given.get(_BYPASS, "")).lower() == "true" or (
        isinstance(hold, dict) and str(hold.get("Status", "")).upper() == "OFF"
    )


def _trail_what(service: str, given: Mapping[str, Any], resources: list[_Resource]) -> Iterator[str]:
    if service != "s3":
        arns = [resource.arn for resource in resources if resource.arn]
        yield from arns or [str(given.get("keyId", ""))]
        return
    bucket, key = str(given.get("bucketName", "")), str(given.get("key", ""))
    copied = unquote(str(given.get("x-amz-copy-source", ""))).lstrip("/").partition("?")[0]
    yield copied or (f"{bucket}/{key}" if key else bucket)


# -- Azure Storage: resource logs (StorageRead, StorageWrite, StorageDelete) --------------------------

_AZURE_DID: Final[Mapping[str, Did]] = {
    **dict.fromkeys(("GetBlob", "QueryBlobContents", "CopyBlobSource"), Did.READ),
    **dict.fromkeys(("SetContainerACL", "SetContainerMetadata", "SetBlobServiceProperties"), Did.CHANGED),
    **dict.fromkeys(("DeleteBlobImmutabilityPolicy", "SetBlobLegalHold"), Did.UNLOCKED),
}


class _Requester(Struct):
    upn: str = ""
    object_id: str = field(default="", name="objectId")
    app_id: str = field(default="", name="appId")


class _AzureIdentity(Struct):
    type: str = ""
    token: str = field(default="", name="tokenHash")
    requester: _Requester = field(default_factory=_Requester)


class _AzureLine(Struct):
    time: str
    operation: str = field(name="operationName")
    status: int | str = field(default="", name="statusCode")
    origin: str = field(default="", name="callerIpAddress")
    uri: str = ""
    identity: _AzureIdentity | None = None


_AZURE = msgspec.json.Decoder(_AzureLine)


def parse_azure(line: bytes) -> Iterator[Read]:
    """Yield what a line of a storage account's resource log says."""
    said = _decode(_AZURE, line)
    if (did := _AZURE_DID.get(said.operation)) is None:
        return
    try:
        url = urlsplit(said.uri)
        account, path = (url.hostname or "").partition(".")[0], unquote(url.path)
    except ValueError:
        raise OddLine("no address") from None
    origin = said.origin.rpartition(":")[0] or said.origin
    did = _by_status(did, str(said.status))
    texts = {"who": _azure_who(said.identity), "origin": origin, "what": account + path}
    yield _read(_moment(said.time), did, **texts, how=said.operation)


def _azure_who(identity: _AzureIdentity | None) -> str:
    if identity is None:
        return "anonymous"
    asked = identity.requester
    return asked.upn or asked.object_id or asked.app_id or f"{identity.type} {identity.token}".strip()


# -- Vault and OpenBao: audit devices of kind file ------------------------------------------------


class _LoggedAuth(Struct):
    display_name: str = ""
    entity_id: str = ""
    metadata: dict[str, Any] | None = None


class _Request(Struct):
    operation: str = ""
    path: str = ""
    remote_address: str = ""


class _VaultLine(Struct):
    type: str
    time: str
    auth: _LoggedAuth | None = None
    request: _Request | None = None
    error: str = ""


_VAULT = msgspec.json.Decoder(_VaultLine)
_KEY_USE = re.compile(r"[^/].*/(?:decrypt|rewrap|export/[a-z-]+|backup)/[^/]+(?:/[^/]+)?")
_VAULT_CHANGES = re.compile(
    r"sys/(?:polic(?:y|ies/acl)|audit|mounts)/.+|.+/keys/[^/]+/(?:config|trim|import.*)"
)
_WRITES: Final = {"create", "update", "delete", "patch"}


def parse_vault(line: bytes) -> Iterator[Read]:
    """Yield what a line of an audit file says. Answers are told; what was asked stands in them too."""
    said = _decode(_VAULT, line)
    if said.type != "response":
        return
    asked, auth = said.request, said.auth or _LoggedAuth()
    if asked is None:
        raise OddLine("an answer to nothing")
    if (did := _did_vault(asked.operation, asked.path)) is None:
        return
    did = Did.REFUSED if "permission denied" in said.error or "invalid token" in said.error else did
    who = auth.display_name or auth.entity_id or "no valid token"
    texts = {"who": who, "origin": asked.remote_address, "what": asked.path}
    yield _read(_moment(said.time), did, **texts, how=asked.operation)


def _did_vault(operation: str, path: str) -> Did | None:
    if operation == "read" and "/data/" in path:
        return Did.READ
    if operation in _WRITES and _VAULT_CHANGES.fullmatch(path):
        return Did.CHANGED
    if _KEY_USE.fullmatch(path) and (operation in _WRITES or "/export/" in path or "/backup/" in path):
        return Did.OPENED
    return None


# -- what they share ------------------------------------------------------------------------------


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise OddLine("no text") from None


def _decode(decoder: msgspec.json.Decoder[Any], content: bytes) -> Any:
    try:
        return decoder.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise OddLine("no JSON of this format") from None


def _moment(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise OddLine("no time") from None


def _by_status(did: Did, status: str) -> Did:
    return Did.REFUSED if status in ("401", "403") else did


def _read(at: float, did: Did, **texts: str) -> Read:
    return Read(at=at, did=did, **{name: printable(text) for name, text in texts.items()})


MIB = 1 << 20
FORMATS: Final[Mapping[str, Format]] = {
    "s3": Format(parse=parse_s3, longest=64 << 10),
    "cloudtrail": Format(parse=parse_cloudtrail, longest=64 * MIB, whole=True),
    "azure": Format(parse=parse_azure, longest=MIB),
    "vault": Format(parse=parse_vault, longest=8 * MIB),
}
