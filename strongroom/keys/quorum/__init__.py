"""A quorum: any k of n custodians open together, each with a share of words on paper.

The custodians hold an ordinary hybrid HPKE key pair between them. Its public half, in the
*quorum file*, is all that sealing needs; its private half, 32 bytes, was split by SLIP-39
(Shamir's scheme over GF(256), with a checksum on every share) and exists nowhere whole until
k shares are brought together again.
"""

from __future__ import annotations

from strongroom.container.wrapping import Stanza
from strongroom.keys.hpke import SUITES, HpkeIdentity, Seal, seal_args
from strongroom.keys.passphrase import KeyHolder
from strongroom.keys.quorum.record import Quorum

TYPE = "quorum"
INFO = b"strongroom/v1/wrap/quorum/"


class QuorumRecipient(KeyHolder):
    """Seals to the custodians of a quorum.

    Args:
        label: what the stanza is called; the quorum's name if left out.
    """

    __slots__ = ("_seal", "label", "quorum")

    type = TYPE
    post_quantum = True  # a quorum's key pair is always the hybrid

    def __init__(self, quorum: Quorum, *, label: str = "", seal: Seal | None = None) -> None:
        self.quorum = quorum
        self.label = label or quorum.name
        self._seal = seal or SUITES[quorum.public.kem].encrypt

    @property
    def fingerprint(self) -> str:
        return f"{TYPE}:{self.quorum.public.id.hex()}"

    def describe(self) -> str:
        return self.quorum.describe()

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:
        """Wrap a 32-byte key; no custodian is needed."""
        args = seal_args(self._seal, self.quorum.public, key, info=INFO + context)
        return Stanza(type=TYPE, label=self.label, args=args)


class QuorumIdentity(KeyHolder):
    """Opens with a private key that custodians have put together: see :mod:`.gathering`.

    Args:
        seed: the 32 bytes that the shares gave, held to the quorum's public key already.
    """

    __slots__ = ("_identity", "quorum")

    def __init__(self, seed: bytes, quorum: Quorum) -> None:
        self.quorum = quorum
        self._identity = HpkeIdentity(seed, kem=quorum.public.kem)

    def describe(self) -> str:
        return f"{self.quorum.threshold} shares of the quorum `{self.quorum.name}`"

    def recipient(self) -> QuorumRecipient:
        """Return the sealing side."""
        return QuorumRecipient(self.quorum)

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        """Return the key, or ``None`` if the stanza is for others.

        Raises:
            Malformed: the stanza breaks the format.
        """
        if stanza.type != TYPE:
            return None
        return self._identity.open_args(stanza, info=INFO + context)
