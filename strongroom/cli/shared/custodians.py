"""A quorum at the table: its shares, from files or typed one after the other, only once needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from strongroom.cli.shared.options import OpeningOptions
from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.container.wrapping import Stanza
from strongroom.keys import Opener, Recipient
from strongroom.keys.passphrase import may_ask
from strongroom.keys.quorum import QuorumRecipient, record
from strongroom.keys.quorum.ceremony import Gathering
from strongroom.keys.quorum.record import Quorum, ShareForeign, ShareMistyped, ShareRepeated, SharesWrong
from strongroom.system.files import read_private


def custodians_of(
    given: OpeningOptions, output: Output, place: InstallationPlace, *, ask: bool
) -> Iterator[Opener]:
    """Yield an identity for each quorum that is known, if anybody can give its shares."""
    tables = place.section("keys").values()
    named = [place.path(table.get("file")) for table in tables if table.get("kind") == "quorum"]
    files = dict.fromkeys([*given.quorum, *(path for path in named if path is not None)])
    shares = [_share(path) for path in given.share]
    if not files or not (shares or (ask and prompts.somebody_there())):
        return
    quorums = [record.load(file) for file in files]
    yield from (Custodians(quorum, shares, output, known=quorums) for quorum in quorums)


def _share(path: Path) -> str:
    return read_private(path)


class Custodians:
    """An identity that asks for a quorum's shares when a stanza first needs them.

    Args:
        known: the quorums whose shares may be among those given.
    """

    def __init__(
        self, quorum: Quorum, shares: Sequence[str], output: Output, *, known: Sequence[Quorum] = ()
    ) -> None:
        self._quorum = quorum
        self._known = known
        self._shares = shares
        self._output = output
        self._together: Opener | None = None

    @property
    def answered(self) -> bool:
        return self._together is not None

    def describe(self) -> str:
        return f"{self._quorum.threshold} shares of the quorum `{self._quorum.name}`"

    def recipient(self) -> Recipient:
        """Return the sealing side, for which nobody has to be asked."""
        return QuorumRecipient(self._quorum)

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        """Return the key; ask nobody for a stanza that is another quorum's."""
        if stanza.type != "quorum" or stanza.args.get("key") != self._quorum.public.id.hex():
            return None
        if self._together is None:
            self._together = self._gather()
        return self._together.unwrap(stanza, context=context)

    def _gather(self) -> Opener:
        gathering = Gathering(self._quorum)
        foreign = [text for text in self._shares if not _add(gathering, text)]
        while gathering.missing > 0 and may_ask() and prompts.somebody_there():
            self._ask(gathering)
        if 0 < gathering.missing <= len(foreign):
            raise ShareForeign(self._said_of(gathering, foreign))
        return gathering.open()

    def _said_of(self, gathering: Gathering, foreign: Sequence[str]) -> str:
        needed = self._quorum.threshold
        names = " and ".join(sorted({self._named(text) for text in foreign}))
        belong = "1 belongs" if len(foreign) == 1 else f"{len(foreign)} belong"
        return (
            f"{needed - gathering.missing} of the {needed} shares of the quorum `{self._quorum.name}` are "
            f"there. Of those given, {belong} to {names}."
        )

    def _named(self, share: str) -> str:
        holders = (quorum.name for quorum in self._known if quorum.holder_of(share) is not None)
        name = next(holders, None)
        return f"the quorum `{name}`" if name else "a quorum that is not known here"

    def _ask(self, gathering: Gathering) -> None:
        prompt = f"A share of the quorum `{self._quorum.name}` ({gathering.missing} more): "
        try:
            self._output.say(f"Right: {gathering.add(prompts.hidden(prompt)).name}'s share.")
        except (ShareMistyped, ShareRepeated, ShareForeign, SharesWrong) as error:
            self._output.warn(f"{error.message} {error.hint or ''}".strip())


def _add(gathering: Gathering, text: str) -> bool:
    """Take a share from a file, or tell that it is another quorum's, for which it may be meant."""
    try:
        gathering.add(text)
    except ShareForeign:
        return False
    return True
