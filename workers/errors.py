"""What can go wrong with the broker and the processes."""

from __future__ import annotations

from strongroom.errors import InstallationError


class BrokerUnavailable(InstallationError):
    """The broker did not answer. Nothing was submitted."""

    transient = True
    default_hint = "Start it with 'strongroom up', or run without a broker: 'strongroom backup'."


class BrokerRefused(BrokerUnavailable):
    """The broker refused the login. Nothing was submitted, and waiting changes nothing."""

    default_hint = "Check 'broker.url' and 'broker.password_file'."


class ProcessNotStarted(InstallationError):
    """A process of the cluster does not start. No backup is affected."""

    default_hint = "Put right what it says, then repeat."
