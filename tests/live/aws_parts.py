"""What the fault tests of Secrets Manager share: requests by name, and answers that are wrong."""

from __future__ import annotations

from strongroom.model import Secret
from strongroom.sources.aws import AwsSource
from tests.live.proxy import (
    Answer,
    Request,
    When,
)

THROTTLED = Answer(400, {}, b'{"__type": "ThrottlingException", "message": "Rate exceeded"}')
DENIED = Answer(400, {}, b'{"__type": "AccessDeniedException", "Message": "CANARY words of the server"}')
BROKEN = Answer(500, {}, b'{"__type": "InternalServiceError"}')
READS = (
    *("ListSecrets", "DescribeSecret", "ListSecretVersionIds"),
    *("GetResourcePolicy", "BatchGetSecretValue", "GetSecretValue"),
)
WRITES = (
    *("CreateSecret", "PutSecretValue", "UpdateSecretVersionStage", "PutResourcePolicy"),
    *("ReplicateSecretToRegions", "UntagResource", "DeleteSecret", "RestoreSecret"),
    *("TagResource", "UpdateSecret", "DeleteResourcePolicy"),
)


def op(*operations: str, about: str = "") -> When:
    """Fit requests of these operations whose body holds a text."""
    return lambda request: _operation(request) in operations and about.encode() in request.body


def _operation(request: Request) -> str:
    return request.headers.get("X-Amz-Target", "").rpartition(".")[2]


def everything(source: AwsSource) -> dict[str, Secret | None]:
    entries = list(source.list())
    return dict(zip([entry.name for entry in entries], source.read(entries), strict=True))
