"""What only the command line reports."""

from __future__ import annotations

from strongroom.errors import Alarm, Degraded, Refused


class UnsafeSetup(Refused):
    """A key would lie where it is lost, or stolen, together with the backups that it opens."""

    default_hint = "There is no option that allows it: keep the two apart."


class RunEnded(Refused):
    """The run has ended already, so there is nothing to cancel."""

    default_hint = (
        "A backup that it made stays: see 'strongroom backups list'. 'strongroom runs' shows what runs."
    )


class ShredPending(Degraded):
    """Something that should be shredded can still be opened, or nobody could check it."""

    default_hint = (
        "What was done stays done. The rest is tried again every hour, and by 'strongroom keys shred "
        "--resume'."
    )


class SignersUnsettled(Degraded):
    """A change of the signing keys is made here, and could not be carried out everywhere yet."""

    default_hint = (
        "What is signed again stays. Bring the targets back, then repeat 'strongroom keys signers re-sign'."
    )


class KeyNotOnPaper(Refused):
    """The words of an installation key were not all written and typed back. The key is where it was."""

    default_hint = (
        "Burn what was written: enough of these words are the key. Then begin again with 'strongroom keys "
        "signers offline', with '--spare' if it was the spare."
    )


class CertificateAwaited(Degraded):
    """This host's keys wait for the installation key to certify them."""

    default_hint = (
        "Where the installation key is: 'strongroom cluster certify', with the request's file if no database "
        "is there. Then repeat 'strongroom cluster join' here: it goes on."
    )


class CommandCutShort(Alarm):
    """A command of the recovery ended without saying how far it came. What it had done by then stays."""

    default_hint = "Try again: what is done is found, and not done again."
