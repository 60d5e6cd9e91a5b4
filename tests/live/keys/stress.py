"""Unwraps in forked children and in threads at once: ``python -m tests.live.keys.stress``.

Run by a test in a process of its own: if the library crashes, this process does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from billiard import get_context  # type: ignore[import-untyped]  # what Celery's prefork pool forks with

from strongroom.container.wrapping import Identity
from strongroom.keys.ec import EcPublicKey, EcRecipient
from strongroom.keys.pkcs11.session import PinFile, Token
from strongroom.keys.pkcs11.token_keys import (
    HsmAesKey,
    Pkcs11AesIdentity,
    Pkcs11AesRecipient,
    Pkcs11EcIdentity,
)
from tests.live.keys.conftest import AES, EC
from tests.patience import PATIENCE

CHILDREN, THREADS, EACH = 4, 4, 50
CONTEXT = b"stress"


def identities(token: Token) -> Sequence[Identity]:
    aes = Pkcs11AesIdentity(HsmAesKey(token, key="backup", version=AES))
    return Pkcs11EcIdentity(token, key="backup", version=EC), aes


def expected(number: int) -> bytes:
    return number.to_bytes(32, "big")


class Work:
    """Every wrapped key is another, so that a wrong answer shows."""

    def __init__(self, token: Token) -> None:
        self.token = token
        public = Pkcs11EcIdentity(token, key="backup", version=EC).public
        ec = EcRecipient(EcPublicKey.parse(str(public)), key="backup", version=EC)
        aes = Pkcs11AesRecipient(HsmAesKey(token, key="backup", version=AES))
        makers = [aes if number % 2 else ec for number in range(EACH)]
        self.stanzas = [made.wrap(expected(n), context=CONTEXT) for n, made in enumerate(makers)]

    def one_thread(self, _: int) -> int:
        """Return how many came out right, with objects of this thread's own."""
        held = identities(Token(module=self.token.module, label=self.token.label, pin=self.token._pin))
        right = 0
        for number, stanza in enumerate(self.stanzas):
            keys = [identity.unwrap(stanza, context=CONTEXT) for identity in held]
            right += [key for key in keys if key is not None] == [expected(number)]
        return right

    def threads(self) -> int:
        with ThreadPoolExecutor(THREADS) as pool:
            return sum(pool.map(self.one_thread, range(THREADS)))


def child(work: Work, told: object) -> None:
    told.send(work.threads())  # type: ignore[attr-defined]


def main(module: str, label: str, pin: str) -> None:
    work = Work(Token(module=Path(module), label=label, pin=PinFile(Path(pin))))
    context = get_context("fork")
    started = []
    # This process has used the library, as a worker's main process may have; its threads begin once
    # the children are there: a fork in the middle of *OpenSSL's* locks is no matter of PKCS#11.
    for _ in range(CHILDREN):
        end, told = context.Pipe(duplex=False)
        process = context.Process(target=child, args=(work, told))
        process.start()
        told.close()
        started.append((process, end))
    right = work.threads()
    answers = [end.recv() if end.poll(PATIENCE) else 0 for _, end in started]
    for process, _ in started:
        process.join(PATIENCE)
    codes = [process.exitcode for process, _ in started]
    sys.stdout.write(json.dumps({"right": right, "children": answers, "codes": codes}))


if __name__ == "__main__":
    main(*sys.argv[1:])
