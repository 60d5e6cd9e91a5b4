"""Where people are: a mail server, a webhook, a service behind Apprise, and a dead man's switch."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.cli.program import Machine
from tests.operations.alerts.mail_server import Mail, MailServer
from tests.operations.alerts.receiver import Post, Receiver


@dataclass
class People:
    """Where people are: a mail server, a webhook, a service behind Apprise, and a dead man's switch."""

    mail: MailServer
    hook: Receiver
    service: Receiver
    switch: Receiver

    def settings(self, machine: Machine) -> str:
        """Return the settings by which they are reached; write the files that these name."""
        files = {
            "hook-secret": f"whsec_{base64.b64encode(b'CANARY-webhook-secret-of-32-byte').decode()}",
            "service-url": f"json://me:CANARY-password@127.0.0.1:{self.service.port}/CANARY-path",
            "switch-url": f"{self.switch.url}\n",
        }
        for name, content in files.items():
            machine.path(name).touch(mode=0o600)
            machine.path(name).write_text(content)
        return f"""
[alerts]
email = ["one@example.org"]
ping = "switch"
threshold_age = "1m"
key_age = "365d"
[mail]
host = "127.0.0.1"
port = {self.mail.port}
security = "none"
[channels.hook]
kind = "webhook"
url = "{self.hook.url}"
secret_file = "hook-secret"
[channels.service]
kind = "apprise"
url_file = "service-url"
[channels.switch]
kind = "ping"
url_file = "switch-url"
fails_on = "warning"
[routes.hook]
to = ["hook"]
[routes.service]
severity = "critical"
to = ["service"]
"""

    def received(self) -> tuple[list[Mail], list[Post], list[Post], list[Post]]:
        return self.mail.mails, self.hook.posts, self.service.posts, self.switch.posts

    def assert_nothing_secret(self, machine: Machine) -> None:
        """What was sent holds no secret, and neither record nor logs have what opens a channel."""
        mails, *posts = self.received()
        sent = [mail.raw for mail in mails] + [post.body for some in posts for post in some]
        assert not any(b"CANARY" in content for content in sent)
        kept = [path for path in machine.state.rglob("*") if path.suffix in (".db", ".db-wal", ".log")]
        contents = [path.read_bytes() for path in kept]
        assert contents
        opens = (b"CANARY-path", b"CANARY-password", b"whsec_")
        assert not any(secret in content for content in contents for secret in opens)


@contextmanager
def reachable() -> Iterator[People]:
    """Have people reachable inside the block."""
    with ExitStack() as stack:
        yield People(
            mail=stack.enter_context(MailServer()),
            hook=stack.enter_context(Receiver()),
            service=stack.enter_context(Receiver()),
            switch=stack.enter_context(Receiver()),
        )
