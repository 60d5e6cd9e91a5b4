"""AWS Secrets Manager as a source and destination: one region of one account."""

from __future__ import annotations

from strongroom.sources.aws.client import AwsOptions
from strongroom.sources.aws.source import AwsSource, restore_seconds

__all__ = ["AwsOptions", "AwsSource", "restore_seconds"]
