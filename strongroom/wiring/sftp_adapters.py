"""A directory on an SFTP server as a target, made from its settings."""

from __future__ import annotations

from strongroom.config import Settings, SftpTargetSettings
from strongroom.targets import Target
from strongroom.targets.sftp import SftpServer, SftpTarget


def sftp_target(name: str, target: SftpTargetSettings, settings: Settings) -> Target:
    """Return a directory on an SFTP server."""
    server = SftpServer(
        host=target.host,
        port=target.port,
        user=target.user,
        known_hosts_file=target.known_hosts_file,
        key_file=target.key_file,
    )
    return SftpTarget(
        server,
        str(target.path),
        name=name,
        region=target.region,
        provider=target.provider,
        create=target.create,
    )
