"""What can go wrong with a quorum: its shares, its file and its ceremony."""

from __future__ import annotations

from strongroom.errors import CannotOpen, Damaged, Refused


class SharesTooFew(CannotOpen):
    """There are fewer shares than the quorum needs. They reveal nothing of the key."""

    default_hint = "Ask further custodians for their shares."


class SharesTooMany(CannotOpen):
    """There are more shares than the quorum needs."""

    default_hint = "Give exactly as many as the quorum needs; leave the others on paper."


class ShareRepeated(CannotOpen):
    """One share was given twice."""

    default_hint = "Each custodian gives a share once. Take another custodian's."


class ShareForeign(CannotOpen):
    """The share belongs to another quorum."""

    default_hint = "Compare the quorum's name on the paper: the share may be an older quorum's."


class ShareMistyped(CannotOpen):
    """The share has a wrong word, an unknown word, or too many or too few words."""

    default_hint = "Look at that word on the paper and type the share again. Nothing is locked."


class SharesWrong(CannotOpen):
    """The shares are whole and their labels fit, but together they give another key than the quorum's."""

    default_hint = "One of the papers is not from this quorum. Try with another custodian's share."


class QuorumFileWrong(Damaged):
    """The quorum's file is damaged, or its public key does not belong to its shares."""

    default_hint = "Bring the file back from another copy. If its key was exchanged, treat it as an incident."


class CeremonyBroken(Refused):
    """The quorum's ceremony was left, or done out of order. It made no quorum."""

    default_hint = "Burn the papers and begin again: shares of an unfinished ceremony open nothing."
