"""Deriving a passphrase's key while the rest of the program is still being loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from strongroom.container.wrapping import WrappingKey
from strongroom.keys import Recipient, passphrase


@contextmanager
def sealed_ahead(recipients: Sequence[Recipient]) -> Iterator[Callable[[], object]]:
    """Derive the keys of the passphrases in a thread; yield a function that waits until that is done.

    Deriving takes half a second, on whichever processor is free. It has to end before processes are
    forked: they inherit the keys, and no thread may be left by then. Other recipients ask a person or a
    service, and that must not go on after Ctrl-C.
    """
    slow = [recipient for recipient in recipients if recipient.type == passphrase.TYPE]
    with ThreadPoolExecutor(1, thread_name_prefix="seal") as pool:
        sealed = pool.submit(WrappingKey.create, slow) if slow else None

        def wait() -> None:
            if sealed is not None:
                sealed.result()
            pool.shutdown()

        yield wait
