"""The page of the installation over HTTP: behind a login, read-only, without a script."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, quote

from strongroom import __version__
from strongroom.config import Settings
from strongroom.config.live import LiveSettings
from strongroom.operations.show import frame
from strongroom.operations.show.frame import PageFacts
from strongroom.sheet import Lines, Mood, Sheet, markup
from strongroom.state.errors import StateError
from workers import http_server, names, status
from workers.exporter import Exporter
from workers.http_server import Answer
from workers.made_secret import given_or_made, secret_file
from workers.page_login import LASTS, PER, Login
from workers.page_routes import NotThere, Routes

log = logging.getLogger(__name__)

GENERATED: Final = "page-password"
ELSEWHERE: Final = ("cross-site", "same-site")
"""What browsers call a form that stands on no page of ours."""
_HERE: Final = re.compile(r"/[A-Za-z0-9_.~%/-]*(\?[A-Za-z0-9_.~%=&-]*)?")
"""A path of ours, to go on to after the login: no other host, and nothing that a browser reads as one."""

POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
"""No script at all: what a hostile name smuggled into a page would not run."""
HEADERS: Final = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", POLICY),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "same-origin"),
    ("X-Content-Type-Options", "nosniff"),
)

Start = Callable[..., Any]


def serve(live: LiveSettings, on_ready: Callable[[], object] = lambda: None) -> None:
    """Serve the page until the process ends.

    Raises:
        ConfigError: the password or the certificate cannot be read, or the address cannot be listened on.
    """
    settings = live.current
    site = Site(settings, Exporter(live))
    with http_server.server(settings.served(settings.page), site.answer, section="page") as server:
        site.exporter.keep_looking(lambda settings: settings.page.check_targets)
        on_ready()
        server.serve_forever()


def password(settings: Settings) -> str:
    """Return the configured password, or one made on first use in a file of mode 0600."""
    given = settings.page.password_file
    return given_or_made(given, settings.state_dir, name=GENERATED, setting="page.password_file")


def password_file(settings: Settings) -> Path:
    """Return the file that holds the password, or will once the page is served."""
    return secret_file(settings.page.password_file, settings.state_dir, name=GENERATED)


def address(settings: Settings) -> str:
    """Return where people reach the page."""
    return settings.page.url or http_server.address(settings.served(settings.page), "/")


class Site:
    """Answers requests: whoever has no session sees the login alone."""

    def __init__(self, settings: Settings, exporter: Exporter) -> None:
        self.exporter = exporter
        self._login = Login(settings.page.user, password(settings))
        # Browsers take a cookie of such a name only with Secure, for this host alone, and over TLS.
        self._secure = settings.listen.certificate_file is not None
        self._cookie = "__Host-strongroom" if self._secure else "strongroom"
        self._routes = Routes(exporter)

    def answer(self, environ: dict[str, Any], start: Start) -> Answer:
        """Answer one request."""
        if environ.get("REQUEST_METHOD") == "POST" and environ.get("HTTP_SEC_FETCH_SITE") in ELSEWHERE:
            # A page of a stranger would use up the guesses of who looks at it, or log them out.
            return _plain(start, HTTPStatus.FORBIDDEN, "A form of another place is not taken.")
        if (found := self._open(environ, start)) is not None:
            return found
        if environ.get("REQUEST_METHOD") != "GET":
            code = HTTPStatus.METHOD_NOT_ALLOWED
            return _plain(start, code, "This page changes nothing.", ("Allow", "GET, HEAD"))
        path = _path(environ)
        if self._login.holds(self._session(environ)):
            return self._show(path, _query(environ), start)
        asked = path + (f"?{environ['QUERY_STRING']}" if environ.get("QUERY_STRING") else "")
        return _go(start, "/login" + (f"?next={quote(_quoted(asked), safe='')}" if asked != "/" else ""))

    def _open(self, environ: dict[str, Any], start: Start) -> Answer | None:
        """Answer what needs no login."""
        match environ.get("REQUEST_METHOD"), _path(environ):
            case "GET", "/healthcheck":
                return _say(start, HTTPStatus.OK, b"OK\n", "text/plain")
            case "GET", "/style.css":
                return _say(start, HTTPStatus.OK, frame.STYLE.encode(), "text/css")
            case "GET", "/login":
                return _form(start, HTTPStatus.OK, _next(_query(environ)))
            case "POST", "/login":
                return self._log_in(environ, start)
            case "POST", "/logout":
                self._login.end(self._session(environ))
                return _go(start, "/login", ("Set-Cookie", self._set_cookie("", 0)))
        return None

    # -- pages -------------------------------------------------------------------------

    def _show(self, path: str, query: Mapping[str, str], start: Start) -> Answer:
        try:
            shown = self._shown()
        except Exception as error:  # noqa: BLE001  # a message may quote what a row holds
            log.error("facts-not-gathered", extra={"why": type(error).__name__})
            return _plain(
                start, HTTPStatus.INTERNAL_SERVER_ERROR, "The facts could not be gathered; see the log."
            )
        try:
            return _say(start, HTTPStatus.OK, self._routes.page(path, query, shown))
        except NotThere as gone:
            page = Sheet(title="Not found", parts=[Lines([str(gone)])])
            return _say(start, HTTPStatus.NOT_FOUND, frame.document(page, shown))
        except StateError as error:
            verdict, about = "This cannot be shown", error.message
            page = Sheet(title="No answer", verdict=verdict, mood=Mood.BAD, about=about)
            return _say(start, HTTPStatus.SERVICE_UNAVAILABLE, frame.document(page, shown))
        except Exception as error:  # noqa: BLE001  # as above
            log.error("page-not-made", extra={"path": path.split("/")[1], "why": type(error).__name__})
            page = Sheet(
                title="A fault", parts=[Lines(["This page could not be made; see the log of the process."])]
            )
            return _say(start, HTTPStatus.INTERNAL_SERVER_ERROR, frame.document(page, shown))

    def _shown(self) -> PageFacts:
        settings, found = self.exporter.settings(), self.exporter.current()
        return PageFacts(
            facts=found.facts,
            limits=found.limits,
            alerts=found.alerts,
            muted=self.exporter.muted(),
            version=__version__,
            looked_at=self.exporter.looked_at,
            flower=flower_address(settings),
        )

    # -- the login ---------------------------------------------------------------------

    def _log_in(self, environ: dict[str, Any], start: Start) -> Answer:
        form = _posted(environ)
        onward = _next(form)
        asked = form.get("user", ""), form.get("password", "")
        done = self._login.try_login(*asked, str(environ.get("REMOTE_ADDR", "")))
        if done is HTTPStatus.TOO_MANY_REQUESTS:
            words = f"Too many wrong logins. Wait {PER:.0f} seconds."
            return _form(start, done, onward, words, ("Retry-After", f"{PER:.0f}"))
        if isinstance(done, HTTPStatus):
            log.warning("login-refused", extra={"address": str(environ.get("REMOTE_ADDR", ""))})
            return _form(start, done, onward, "The user or the password is wrong.")
        return _go(start, onward, ("Set-Cookie", self._set_cookie(done, int(LASTS))))

    def _session(self, environ: Mapping[str, Any]) -> str:
        for part in str(environ.get("HTTP_COOKIE", "")).split(";"):
            name, _, value = part.strip().partition("=")
            if name == self._cookie:
                return value
        return ""

    def _set_cookie(self, session: str, lasts: int) -> str:
        secure = "; Secure" if self._secure else ""
        return f"{self._cookie}={session}; Path=/; Max-Age={lasts}; HttpOnly; SameSite=Strict{secure}"


def flower_address(settings: Settings) -> str:
    """Return where people reach Flower, as far as that is known."""
    if settings.page.flower_url:
        return settings.page.flower_url
    found = status.read(settings.state_dir)
    runs = found is not None and names.WATCH in found.processes
    return http_server.address(settings.served(settings.flower), "/") if runs else ""


# -- requests and answers --------------------------------------------------------------


def _path(environ: Mapping[str, Any]) -> str:
    """Return the path: what WSGI gives as Latin-1 are bytes of UTF-8."""
    return str(environ.get("PATH_INFO") or "/").encode("latin-1", "replace").decode("utf-8", "replace")


def _query(environ: Mapping[str, Any]) -> dict[str, str]:
    return _first(str(environ.get("QUERY_STRING", "")))


def _first(encoded: str) -> dict[str, str]:
    try:
        return {name: said[0] for name, said in parse_qs(encoded, max_num_fields=10).items()}
    except ValueError:
        return {}


def _posted(environ: Mapping[str, Any]) -> dict[str, str]:
    return _first(environ["wsgi.input"].read().decode("utf-8", "replace"))


def _quoted(path: str) -> str:
    return quote(path, safe="/?=&%")


def _next(form: Mapping[str, str]) -> str:
    """Return where to go on to: a page of ours, whatever was asked for."""
    asked = _quoted(form.get("next", ""))
    return asked if _HERE.fullmatch(asked) and not asked.startswith("//") else "/"


def _form(start: Start, code: HTTPStatus, onward: str, wrong: str = "", *more: tuple[str, str]) -> Answer:
    said = f'<p role="alert" class="bad">{markup(wrong)}</p>\n' if wrong else ""
    form = (
        f'{said}<form method="post" action="/login">\n'
        f'<input type="hidden" name="next" value="{markup(onward)}">\n'
        '<label for="user">User</label><input id="user" name="user" autocomplete="username" required>\n'
        '<label for="password">Password</label><input id="password" name="password" type="password" '
        'autocomplete="current-password" required>\n<button>Log in</button></form>\n'
    )
    return _say(start, code, frame.bare("Strongroom", form), "text/html", *more)


def _plain(start: Start, code: HTTPStatus, words: str, *more: tuple[str, str]) -> Answer:
    return _say(start, code, f"{words}\n".encode(), "text/plain", *more)


def _go(start: Start, path: str, *more: tuple[str, str]) -> Answer:
    return _say(start, HTTPStatus.SEE_OTHER, b"", "text/plain", ("Location", path), *more)


def _say(
    start: Start, code: HTTPStatus, content: bytes, kind: str = "text/html", *more: tuple[str, str]
) -> Answer:
    kind = f"{kind}; charset=utf-8"
    sent = ("Content-Type", kind), ("Content-Length", str(len(content)))
    start(f"{code.value} {code.phrase}", [*sent, *HEADERS, *more])
    return [content]
