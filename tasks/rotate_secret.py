"""Asking that secrets be given new values. The ``recover`` pool performs it, and is normally stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workers import names
from workers.entry import define_entry

if TYPE_CHECKING:
    from strongroom.operations.engine.services import Services
    from strongroom.operations.engine.submit import Submitted


@define_entry(names.ROTATE_SECRETS)
def rotate_secret(
    services: Services,
    request: str,
    *,
    secrets: Sequence[str],
    source: str,
    reason: str,
    incident: str = "",
    by: str = "",
) -> Submitted:
    """Give secrets of a source new values, each by the rotator that the configuration has for it."""
    from strongroom.operations.rotation.secret_plan import RotateSecretsOptions
    from strongroom.operations.rotation.secrets_job import submit_secrets

    options = RotateSecretsOptions(names=tuple(secrets), reason=reason, by=by, incident=incident)
    return submit_secrets(services, source=source, options=options, request_id=request)
