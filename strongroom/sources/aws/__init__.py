"""AWS Secrets Manager as a source and destination: one region of one account."""

from __future__ import annotations

from strongroom.sources.aws.estimate import restore_seconds
from strongroom.sources.aws.options import AwsOptions
from strongroom.sources.aws.source import AwsSource

__all__ = ["AwsOptions", "AwsSource", "restore_seconds"]
