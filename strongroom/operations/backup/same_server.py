"""One server under two names: it would count twice, or as apart from the source that lies in it.

A configuration is compared by addresses, and a server may have several: that of a load balancer, that
of a node. So a plan asks the servers themselves which ones they are.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from strongroom.errors import ConfigError
from strongroom.operations.services import Services
from strongroom.sources import Source
from strongroom.state.records import Spec
from strongroom.targets.resilient import bare


@runtime_checkable
class Housed(Protocol):
    """A source or target in a server that can say which one it is."""

    def home(self) -> str:
        """Return the server's own name for itself, by whatever address; '' if it does not say."""
        ...


def check_homes(spec: Spec, source: Source, services: Services) -> None:
    """Refuse targets that count as several places, or as apart from the source, and are one server.

    A server that does not answer is not compared. Raises ConfigError.
    """
    servers = {_home(source): f"source '{spec.source}'"}
    for pin in spec.targets:
        home = _home(bare(services.target(pin.name))) if pin.counts else ""
        if home and home in servers:
            raise ConfigError(
                f"target '{pin.name}' and {servers[home]} are one Vault server under two addresses:"
                " they are lost together",
                hint="Give both the same entry under [vaults], or the target another server.",
            )
        servers[home] = f"target '{pin.name}'"


def _home(place: object) -> str:
    return place.home() if isinstance(place, Housed) else ""
