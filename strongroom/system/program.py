"""Calling out: a program of somebody's own, or one POST; nothing of this process goes along."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

from strongroom.errors import StrongroomError
from strongroom.system.attempts import run_all
from strongroom.system.errors import NotTaken
from strongroom.system.process import is_loopback

if TYPE_CHECKING:
    import http.client

# -- Running a program of somebody's own: no shell, nothing of this process's environment, no descriptor
#
# It is ended when its time is over, and with it what it started, as far as this process may.


PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class NotStarted(Exception):
    """The program could not be started; the message says why."""


class TooSlow(Exception):
    """The program did not end in time; the message says whether it was ended."""


def run_program(
    command: Sequence[str], *, told: Mapping[str, str], timeout: float, given: bytes | None = None
) -> int:
    """Run a program to its end and return its status. Its output is not kept: nobody knows what it says.

    Args:
        told: its environment, beside PATH and LANG.
        given: what it reads on its standard input; nothing, if left out.

    Raises:
        NotStarted, TooSlow.
    """
    with _standard_input(given) as stdin:
        process = _start(command, told, stdin)
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        raise TooSlow("and was ended" if _end(process) else "and runs on, as another user") from None
    finally:
        _end(process)
    return process.returncode


def _end(process: subprocess.Popen[bytes]) -> bool:
    """End a program and what it started. What runs as another user by now, as by sudo, is left: to wait
    for what this process may not end might have no end."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except PermissionError:
        return False
    except ProcessLookupError:
        pass
    process.wait()
    return True


@contextmanager
def _standard_input(given: bytes | None) -> Iterator[int]:
    """Give what a program reads. All of it is there before the program begins: if this process is killed, the
    program never takes a part of it, or nothing, for the whole."""
    if given is None:
        yield subprocess.DEVNULL
        return
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        try:
            whole = not given or os.write(writing, given) == len(given)
        except BlockingIOError:
            whole = False
        finally:
            os.close(writing)
        if not whole:
            raise NotStarted("what it is to read is too large")
        yield reading
    finally:
        os.close(reading)


def _start(command: Sequence[str], told: Mapping[str, str], stdin: int) -> subprocess.Popen[bytes]:
    null = subprocess.DEVNULL
    own = {"PATH": PATH, "LANG": "C.UTF-8", **told}
    try:
        return subprocess.Popen(
            command, env=own, cwd="/", stdin=stdin, stdout=null, stderr=null, start_new_session=True
        )
    except OSError as error:
        reason = os.strerror(error.errno or 0)
    except ValueError:  # a zero byte
        reason = "its command is no text"
    raise NotStarted(reason)


# -- One POST to an address that somebody configured, ended when its time is over ---------------
#
# The address is in no error, because a secret may be in it. No redirect is followed: what is sent goes where
# somebody configured it, and through TLS if that is another host. No proxy of the environment is used.


JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
GOOD, REDIRECTS = range(200, 300), range(300, 400)
LATER: Final = frozenset({408, 425, 429})
"""Refusals of the client's kind that pass by themselves: too slow, too early, too often."""


def post(
    url: str,
    body: bytes,
    *,
    timeout: float,
    content_type: str = JSON,
    headers: Mapping[str, str] | None = None,
    ca_file: Path | None = None,
) -> None:
    """Send a body to a URL.

    Raises:
        NotTaken: it was not answered in time, or not with success. The message begins with a verb.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # is read only now
    except ValueError:  # it may quote the address
        raise NotTaken("has a malformed address", lasting=True) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NotTaken("has no http or https address", lasting=True)
    if parts.scheme == "http" and not is_loopback(str(parts.hostname)):
        raise NotTaken("has an address without TLS, which is for this host alone", lasting=True)
    named = {"Content-Type": content_type, "User-Agent": "strongroom", **(headers or {})}
    send = partial(_send, parts, body, named, timeout, ca_file)
    [answer] = run_all(timeout, {"post": send}, late=lambda _name: NotTaken).values()
    if isinstance(answer, NotTaken):
        raise answer if answer.message.startswith("could") else NotTaken(f"gave {answer.message}")
    if isinstance(answer, StrongroomError):
        raise answer
    if answer not in GOOD:
        words = ", a redirect, which is not followed" if answer in REDIRECTS else ""
        lasting = answer < 500 and answer not in LATER
        raise NotTaken(f"was answered with status {answer}{words}", lasting=lasting)


def _send(
    parts: SplitResult, body: bytes, headers: Mapping[str, str], timeout: float, ca_file: Path | None
) -> int:
    import http.client
    import ssl

    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection = _connection(parts, timeout, ca_file)
        try:
            connection.request("POST", path, body, dict(headers))
            return connection.getresponse().status
        finally:
            connection.close()
    except ssl.SSLCertVerificationError as error:
        raise NotTaken(f"could not be told: its certificate does not hold ({error.verify_message})") from None
    except TimeoutError:  # the socket's own limit, which may come first
        raise NotTaken(f"no answer within {timeout:g} s") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotTaken(f"could not be told: {type(error).__name__}") from None


def _connection(parts: SplitResult, timeout: float, ca_file: Path | None) -> http.client.HTTPConnection:
    import http.client
    import ssl

    host = str(parts.hostname)
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=timeout)
    context = ssl.create_default_context(cafile=ca_file)
    return http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=context)
