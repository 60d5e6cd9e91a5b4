"""Whose signature is believed: this installation's own, the configured, and what is typed."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence

from strongroom.cli.terminal.place import InstallationPlace, trusted_in_file
from strongroom.container.errors import UntrustedSigner
from strongroom.container.signing import Signers
from strongroom.errors import Untrusted, UsageError
from strongroom.keys import roles
from strongroom.operations.trust_lists.believed import believed_on
from strongroom.targets.manifest_listing import ManifestListing
from strongroom.targets.repaired import Objects

_FINGERPRINT = re.compile(r"sr1:[0-9a-f]{64}")
_UNKNOWN = re.compile(rf"Signed by installation ({_FINGERPRINT.pattern})")


def trusted_signers(place: InstallationPlace, typed: Sequence[str] = ()) -> Signers:
    """Return the fingerprints that count here; one that is typed does, whatever is known of it."""
    for word in typed:
        if not _FINGERPRINT.fullmatch(word):
            raise UsageError("--signer needs a fingerprint.", hint="It is 'sr1:' and 64 hexadecimal digits.")
    return roles.believed(place.role_keys, trusted_in_file(place)).with_named(typed)


def signers_on(objects: Objects, arguments: Namespace, place: InstallationPlace) -> Signers:
    """Return whose signatures count on a place, by the trust lists there.

    Raises:
        TrustListMissing: one is missing there.
    """
    asked: list[tuple[Objects, Signers]] = vars(arguments).setdefault("signers_on", [])
    for other, known in asked:
        if other is objects:
            return known
    found = believed_on(
        trusted_signers(place, getattr(arguments, "signer", ())),
        [ManifestListing(objects)],
        folder=place.role_keys,
        strict=not anybody(arguments),
        # Who has no such option shows a stranger's all the same.
        strangers=getattr(arguments, "any_signer", True),
    )
    asked.append((objects, found))
    return found


def anybody(arguments: Namespace) -> bool:
    """Tell whether a stranger's backup will do: a command that has no such option never takes one."""
    return getattr(arguments, "any_signer", False)


def explained(error: Untrusted, arguments: Namespace, *, what: str = "backup") -> Untrusted:
    """Return the error with the very words that go on from here, if it is the installation that is unknown.

    To name the installation does not help where one of its keys is retired or distrusted.
    """
    found = _UNKNOWN.search(error.message)
    if found is None:
        return error
    return UntrustedSigner(
        f"This {what} is of the installation\n{found[1]}\nwhich is not trusted here.",
        hint="Compare that fingerprint, all of it, with the one in your recovery kit, or with what "
        "'strongroom keys signers list' says on the machine that made it. If it is the same, "
        + "\n".join(_ways_on(found[1], vars(arguments))),
    )


def _ways_on(fingerprint: str, options: Mapping[str, object]) -> Iterator[str]:
    if "signer" in options:
        yield f"repeat with:\n--signer {fingerprint}"
    else:
        yield f'name it in the configuration, under [trust]:\nsigners = ["{fingerprint}"]'
    if "any_signer" in options:
        yield "To read it with its maker unknown: --any-signer"
