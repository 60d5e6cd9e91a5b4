"""Secrets Manager, KMS and IAM: moto's server, one process, which forgets everything when it ends.

It enforces IAM only when told to (:meth:`Moto.enforce`), and then actions alone: neither resources nor
conditions. What else it does not enforce (64 KiB a value, names, quotas), no test may claim to have
shown with it.
"""

from __future__ import annotations

import itertools
import json
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from botocore.session import Session

from strongroom.sources.aws.client import AwsOptions
from tests.patience import PATIENCE
from tests.process import HasServer, ServerProcess, beside_python, free_port

REGION = "eu-central-1"
CREDENTIALS = {"aws_access_key_id": "CANARY-key", "aws_secret_access_key": "CANARY-secret"}
FOR_EVER = "inf"


class Moto(HasServer):
    """One server; all regions of one made-up account are in it."""

    def __init__(self) -> None:
        program = beside_python("moto_server")
        if program is None:
            pytest.skip("moto is not installed: it is one of the development requirements")
        self._program = program
        self._session = Session()
        self._users = itertools.count()
        self._clients: dict[tuple[str, ...], Any] = {}
        self.server = ServerProcess(self._command, port=free_port(), prefix="sr-moto-")

    def _command(self, _folder: Path) -> Sequence[str | Path]:
        return [self._program, "-H", "127.0.0.1", "-p", str(self.server.port)]

    def options(self, **options: Any) -> AwsOptions:
        """Return a source's options for it: no limit of requests, unless a test sets one."""
        return AwsOptions(
            **{"region": REGION, "endpoint_url": self.endpoint, "requests_per_second": None} | options
        )

    def client(
        self, service: str = "secretsmanager", *, region_name: str = REGION, **credentials: str
    ) -> Any:
        """Return a client of an administrator's, or whose credentials are given.

        It is made once, as that costs more than most of what a test asks of it.
        """
        given = CREDENTIALS | credentials
        key = (service, region_name, *given.values())
        if key not in self._clients:
            self._clients[key] = self._session.create_client(
                service, region_name=region_name, endpoint_url=self.endpoint, **given
            )
        return self._clients[key]

    def user(self, policy: Mapping[str, Any]) -> dict[str, str]:
        """Make a user with a policy of its own; return its credentials as environment variables."""
        iam = self.client("iam")
        name = f"user-{next(self._users)}"
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

    def enforce(self, *, after: str = "0") -> None:
        """Let IAM decide from now on; with ``after=FOR_EVER``, no longer."""
        self._tell("reset-auth", after.encode())

    def without_docker(self) -> None:
        """Let functions (Lambda) be made and called without running them."""
        self._tell("config", b'{"lambda": {"use_docker": false}}')

    def reset(self) -> None:
        """Forget everything, and let everybody do everything."""
        self.enforce(after=FOR_EVER)
        self._tell("reset", b"")

    def _tell(self, what: str, body: bytes) -> None:
        headers = {"Content-Type": "application/json"}  # as a form, it would not be looked at
        request = urllib.request.Request(f"{self.endpoint}/moto-api/{what}", body, headers, method="POST")
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            answer.read()
