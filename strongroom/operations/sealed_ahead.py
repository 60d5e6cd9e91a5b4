"""Sealing once for all recipients while the rest of the program is still being loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from strongroom.container.wrapping import WrappingKey
from strongroom.keys import Recipient


@contextmanager
def sealed_ahead(recipients: Sequence[Recipient]) -> Iterator[Callable[[], object]]:
    """Seal a key for the recipients in a thread; yield what waits for it and raises what it raised.

    A passphrase's key takes a tenth of a second to derive, on whichever processor is free. It has to
    be done before processes are forked: they inherit the derived key, and no thread may be left by then.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="seal") as pool:
        sealed = pool.submit(WrappingKey.create, recipients)

        def wait() -> None:
            sealed.result()
            pool.shutdown()

        yield wait
