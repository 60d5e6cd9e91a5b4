"""What is called before and after an entry of the calendar or a policy's backup."""

# Annotations are no text here: see strongroom.config.base.
from typing import Annotated, ClassVar

from msgspec import Meta

from strongroom.config.base import SettingsSection
from strongroom.config.fields import AbsolutePath, Duration, Text, Url


class HookSettings(SettingsSection, frozen=True, kw_only=True):
    """A call: a `command`, or a URL in `url` or `url_file`."""

    SECRET_FILES: ClassVar[tuple[str, ...]] = ("url_file",)

    command: Annotated[
        tuple[Text, ...],
        Meta(
            description="Program, by its absolute path, and its arguments. No shell reads them.",
            examples=[["/usr/local/bin/quiesce", "--wait"]],
        ),
    ] = ()
    url: Annotated[
        Url | None,
        Meta(
            description="Address that gets a POST with a small JSON.",
            examples=["https://ops.example.org/done"],
        ),
    ] = None
    url_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="File that holds the address and nothing else, if a secret is in it.",
            examples=["/run/secrets/pager-url"],
        ),
    ] = None
    timeout: Annotated[
        Duration, Meta(ge=1, le=600, description="How long it may take before it is ended.", examples=["5m"])
    ] = 60


class HooksSettings(SettingsSection, frozen=True, kw_only=True):
    """What is called around a run, by the control workers. If `before` fails, the run is not begun."""

    before: Annotated[
        HookSettings | None,
        Meta(description="Before the run.", examples=[{"command": ["/usr/local/bin/quiesce"]}]),
    ] = None
    after: Annotated[
        HookSettings | None,
        Meta(
            description="After a run that is done or degraded.",
            examples=[{"url": "https://ops.example.org/done"}],
        ),
    ] = None
    on_error: Annotated[
        HookSettings | None,
        Meta(
            description="After a run that failed or was cancelled.",
            examples=[{"url_file": "/run/secrets/pager-url"}],
        ),
    ] = None

    def named(self) -> dict[str, HookSettings]:
        """Return those that there are, by their keys."""
        found = {"before": self.before, "after": self.after, "on_error": self.on_error}
        return {when: hook for when, hook in found.items() if hook is not None}
