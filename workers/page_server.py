"""The page of the installation over HTTP: behind a login, read-only, without a script."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import time
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from tornado.web import authenticated

from strongroom import __version__
from strongroom.config import Settings
from strongroom.config.live import LiveSettings
from strongroom.operations.show import frame
from strongroom.operations.show.frame import PageFacts
from strongroom.sheet import Lines, Mood, Sheet, markup
from strongroom.state.errors import StateError
from workers import http_server, names, status
from workers.exporter import Exporter
from workers.http_server import Handler, Healthcheck, in_thread
from workers.page_routes import Asked, NotThere, Show, Views
from workers.paths import given_or_made, secret_file

log = logging.getLogger(__name__)

GENERATED: Final = "page-password"
LASTS: Final = 12 * 3600
"""Seconds that a session lasts."""
SESSIONS: Final = 100
"""Sessions at once; the oldest ends when there are more."""
GUESSES: Final = 5
PER: Final = 60.0
"""So many wrong logins from an address are answered in so many seconds; a right one is not tried either."""
ADDRESSES: Final = 1000
"""Addresses that are counted apart. Whoever comes from more is counted together with the others."""

_HERE: Final = re.compile(r"/[A-Za-z0-9_.~%/-]*(\?[A-Za-z0-9_.~%=&-]*)?")
"""A path of ours, to go on to after the login: no other host, and nothing that a browser reads as one."""

POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
"""No script at all: what a hostile name smuggled into a page would not run."""
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def serve(live: LiveSettings, on_ready: Callable[[], object] = lambda: None) -> None:
    """Serve the page until the process ends.

    Raises:
        ConfigError: the password or the certificate cannot be read, or the address cannot be listened on.
    """
    settings, exporter = live.current, Exporter(live)

    def begin() -> None:
        exporter.keep_looking(lambda settings: settings.page.check_targets)
        on_ready()

    site = Site(settings, exporter)
    http_server.serve(settings.served(settings.page), site, section="page", on_ready=begin)


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


def flower_address(settings: Settings) -> str:
    """Return where people reach Flower, as far as that is known."""
    if settings.page.flower_url:
        return settings.page.flower_url
    cluster = status.read(settings.state_dir)
    runs = cluster is not None and names.WATCH in cluster.processes
    return http_server.address(settings.served(settings.flower), "/") if runs else ""


# -- the login -------------------------------------------------------------------------


class Login:
    """Who may see the page: one user with a password, and few guesses.

    A session is a cookie that Tornado signs and dates. It counts as long as it is on this list, of which only
    digests are kept: so a logout ends it for whoever has it, and whoever starts the process again logs
    everybody out.
    """

    def __init__(self, user: str, password: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._wanted = _digest(user), _digest(password)
        self._clock = clock
        self._sessions: dict[bytes, None] = {}
        self._wrong: dict[str, deque[float]] = {}

    def try_login(self, user: str, password: str, address: str) -> str | HTTPStatus:
        """Return a new session for the right login; else how it is refused."""
        since = self._clock() - PER
        self._wrong = {who: times for who, times in self._wrong.items() if times[-1] > since}
        counted = address if address in self._wrong or len(self._wrong) < ADDRESSES else ""
        wrong = self._wrong.get(counted, deque(maxlen=GUESSES))
        if sum(at > since for at in wrong) >= GUESSES:
            return HTTPStatus.TOO_MANY_REQUESTS
        # Both are compared, as digests: no time tells which one was wrong, or how long it is.
        given = _digest(user), _digest(password)
        right = [hmac.compare_digest(*pair) for pair in zip(given, self._wanted, strict=True)]
        if not all(right):
            wrong.append(self._clock())
            self._wrong[counted] = wrong
            return HTTPStatus.FORBIDDEN
        while len(self._sessions) >= SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        session = secrets.token_urlsafe(32)
        self._sessions[_digest(session)] = None
        return session

    def holds(self, session: str) -> bool:
        """Tell whether a session was begun here and not ended."""
        return _digest(session) in self._sessions

    def end(self, session: str) -> None:
        """End a session."""
        self._sessions.pop(_digest(session), None)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


# -- what is served --------------------------------------------------------------------


class Site(http_server.Site):
    """The pages: whoever has no session sees the login alone."""

    def __init__(self, settings: Settings, exporter: Exporter) -> None:
        self.exporter = exporter
        self.login = Login(settings.page.user, password(settings))
        # Browsers take a cookie of such a name only with Secure, for this host alone, and over TLS.
        secure = settings.listen.certificate_file is not None
        self.cookie = "__Host-strongroom" if secure else "strongroom"
        self.cookie_options: dict[str, Any] = {"httponly": True, "samesite": "Strict", "secure": secure}
        own = urlsplit(settings.page.url or "")
        views = Views(exporter)
        super().__init__(
            [
                ("/healthcheck", Healthcheck),
                (r"/style\.css", _Style),
                ("/login", _LogIn),
                ("/logout", _LogOut),
                *((path, _Page, {"show": show}) for path, show in views.of_path.items()),
            ],
            default_handler_class=_Page,
            default_handler_args={"show": views.missing},
            login_url="/login",
            cookie_secret=secrets.token_hex(32),
            # A page of a stranger would use up the guesses of who looks at it, or log them out.
            cross_origin_protection=True,
            trusted_origins=[f"{own.scheme}://{own.netloc}"] if own.netloc else [],
        )

    def facts(self) -> PageFacts:
        """Return what the pages show, as it is now."""
        settings, current = self.exporter.settings(), self.exporter.current()
        return PageFacts(
            facts=current.facts,
            limits=current.limits,
            alerts=current.alerts,
            muted=self.exporter.muted(),
            version=__version__,
            looked_at=self.exporter.looked_at,
            flower=flower_address(settings),
        )


class _Handler(Handler):
    application: Site
    WORDS: ClassVar = {
        **Handler.WORDS,
        HTTPStatus.FORBIDDEN: "A form of another place is not taken.",
    }

    def set_default_headers(self) -> None:
        super().set_default_headers()
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def session(self) -> str:
        """Return the session that the cookie names, if it is of us and not too old."""
        signed = self.get_signed_cookie(self.application.cookie, max_age_days=LASTS / 86400)
        return (signed or b"").decode()

    def get_current_user(self) -> bool:
        """Tell whether somebody is logged in."""
        return self.application.login.holds(self.session())

    def show(self, page: bytes, code: HTTPStatus = HTTPStatus.OK) -> None:
        """End with a page."""
        self.set_status(code)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(page)


class _Style(_Handler):
    def get(self) -> None:
        self.set_header("Content-Type", "text/css; charset=utf-8")
        self.finish(frame.STYLE)


class _LogIn(_Handler):
    def get(self) -> None:
        self._form(HTTPStatus.OK)

    def post(self) -> None:
        given = (
            self.get_body_argument("user", "", strip=False),
            self.get_body_argument("password", "", strip=False),
        )
        address = str(self.request.remote_ip)
        session = self.application.login.try_login(*given, address)
        if session is HTTPStatus.TOO_MANY_REQUESTS:
            self.set_header("Retry-After", f"{PER:.0f}")
            self._form(session, f"Too many wrong logins. Wait {PER:.0f} seconds.")
        elif isinstance(session, HTTPStatus):
            log.warning("login-refused", extra={"address": address})
            self._form(session, "The user or the password is wrong.")
        else:
            site = self.application
            self.set_signed_cookie(
                site.cookie, session, expires_days=None, max_age=LASTS, **site.cookie_options
            )
            self.redirect(self._next(), status=HTTPStatus.SEE_OTHER)

    def _next(self) -> str:
        """Return where to go on to: a page of ours, whatever was asked for."""
        asked = self.get_argument("next", "/")
        return asked if _HERE.fullmatch(asked) and not asked.startswith("//") else "/"

    def _form(self, code: HTTPStatus, wrong: str = "") -> None:
        told = f'<p role="alert" class="bad">{markup(wrong)}</p>\n' if wrong else ""
        form = (
            f'{told}<form method="post" action="/login">\n'
            f'<input type="hidden" name="next" value="{markup(self._next())}">\n'
            '<label for="user">User</label><input id="user" name="user" autocomplete="username" required>\n'
            '<label for="password">Password</label><input id="password" name="password" type="password" '
            'autocomplete="current-password" required>\n<button>Log in</button></form>\n'
        )
        self.show(frame.bare("Strongroom", form), code)


class _LogOut(_Handler):
    def post(self) -> None:
        self.application.login.end(self.session())
        self.clear_cookie(self.application.cookie, **self.application.cookie_options)
        self.redirect("/login", status=HTTPStatus.SEE_OTHER)


class _Page(_Handler):
    def initialize(self, show: Show) -> None:
        self._show = show

    @authenticated
    async def get(self, name: str = "") -> None:
        asked = Asked(
            name=name,
            policy=self.get_query_argument("policy", ""),
            before=self.get_query_argument("before", None),
        )
        code, page = await in_thread(lambda: self._made(asked))
        self.show(page, code)

    def _made(self, asked: Asked) -> tuple[HTTPStatus, bytes]:
        facts = self.application.facts()
        try:
            return HTTPStatus.OK, self._show(asked, facts)
        except NotThere as gone:
            code, page = HTTPStatus.NOT_FOUND, Sheet(title="Not found", parts=[Lines([str(gone)])])
        except StateError as error:
            code = HTTPStatus.SERVICE_UNAVAILABLE
            verdict, about = "This cannot be shown", error.message
            page = Sheet(title="No answer", verdict=verdict, mood=Mood.BAD, about=about)
        except Exception as error:  # noqa: BLE001  # a message may quote what a row holds
            log.error("page-not-made", extra={"path": self._show.__name__, "why": type(error).__name__})
            code = HTTPStatus.INTERNAL_SERVER_ERROR
            words = "This page could not be made; see the log of the process."
            page = Sheet(title="A fault", parts=[Lines([words])])
        return code, frame.document(page, facts)
