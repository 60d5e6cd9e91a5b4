"""The page of the installation over HTTP: behind a login, without a script, and read-only unless people may
act on it."""

from __future__ import annotations

import logging
import re
import secrets
import uuid
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlencode, urlsplit

from tornado.web import authenticated

from strongroom import __version__
from strongroom.config import Settings
from strongroom.config.live import LiveSettings
from strongroom.errors import StrongroomError
from strongroom.keys.keyring import Keyring
from strongroom.operations.errors import MessageRefused
from strongroom.operations.show import acting, frame
from strongroom.operations.show.frame import PageFacts
from strongroom.sheet import Lines, Mood, Sheet, markup
from strongroom.state.errors import StateError
from strongroom.system.lazy import require_package
from workers import http_server, names, status
from workers.exporter import Exporter
from workers.http_server import Handler, Healthcheck, in_thread
from workers.page_oidc import BEGUN_LASTS, Oidc
from workers.page_people import LASTS, PER, LoginRefused, People, Visitor, allowed_values, is_name
from workers.page_routes import Asked, NotThere, Show, StillAsked, Views
from workers.paths import given_or_made, role_keys, secret_file
from workers.refusals import Refusals

log = logging.getLogger(__name__)

GENERATED: Final = "page-password"
AGAIN: Final = 60
"""Seconds after which a page loads itself again."""
SOON: Final = 2
"""The same of a page that waits for something."""
BACK: Final = "/login/oidc/back"

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


def serve(
    live: LiveSettings, *, on_ready: Callable[[], object], on_round: Callable[[], None] = lambda: None
) -> None:
    """Serve the page until the process ends.

    Raises:
        ConfigError: the password or the certificate cannot be read, or the address cannot be listened on.
        PackageMissing: the extra for logins by a provider is not installed.
    """
    settings, exporter = live.current, Exporter(live)

    def begin() -> None:
        exporter.keep_looking(lambda settings: settings.page.check_targets)
        on_ready()

    site = Site(settings, exporter)
    if settings.page.oidc is not None:
        require_package("joserfc")
    if settings.page.act:  # so that a key that is not there is told at the start, and not to who acts
        Keyring(role_keys(settings.state_dir)).signer(names.PAGE)
    http_server.serve(settings.served(settings.page), site, section="page", on_ready=begin, on_round=on_round)


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


# -- what is served --------------------------------------------------------------------


class Site(http_server.Site):
    """The pages: whoever has no session sees the login alone."""

    def __init__(self, settings: Settings, exporter: Exporter) -> None:
        self.exporter = exporter
        shared = password(settings) if settings.page.password else None
        self.people, self.oidc = People(settings.page.user, shared), Oidc()
        # Browsers take a cookie of such a name only with Secure, for this host alone, and over TLS.
        secure = settings.listen.certificate_file is not None
        self.cookie = "__Host-strongroom" if secure else "strongroom"
        self.cookie_options: dict[str, Any] = {"httponly": True, "samesite": "Strict", "secure": secure}
        own = urlsplit(settings.page.url or "")
        self.acts = settings.page.act
        views = Views(exporter)
        self.refusals = Refusals(views.record, pool=names.PAGE)
        acts = [("/act/(run|retry|acknowledge)", _Act)] if self.acts else []
        super().__init__(
            [
                ("/healthcheck", Healthcheck),
                (r"/style\.css", _Style),
                ("/login", _LogIn),
                ("/login/oidc", _BeginOidc),
                (BACK, _EndOidc),
                ("/logout", _LogOut),
                *acts,
                *((path, _Page, {"show": show}) for path, show in views.of_path.items()),
            ],
            default_handler_class=_Page,
            default_handler_args={"show": views.missing},
            login_url="/login",
            cookie_secret=secrets.token_hex(32),
            # A page of a stranger would use up the guesses of who looks at it, log them out, or act as them.
            cross_origin_protection=True,
            trusted_origins=[f"{own.scheme}://{own.netloc}"] if own.netloc else [],
        )

    def facts(self, visitor: Visitor, here: str = "", *, still: bool = True) -> PageFacts:
        """Return what the pages show to somebody, as it is now."""
        settings, current = self.exporter.settings(), self.exporter.current()
        return PageFacts(
            facts=current.facts,
            limits=current.limits,
            alerts=current.alerts,
            muted=self.exporter.muted(),
            version=__version__,
            looked_at=self.exporter.looked_at,
            flower=flower_address(settings),
            visitor=visitor.on_record,
            acts=self.acts,
            leaves=visitor.how != "proxy",
            here=here,
            still=still,
        )


class _Handler(Handler):
    application: Site
    current_user: Visitor | None
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

    def get_current_user(self) -> Visitor | None:
        """Return who is logged in.

        Raises:
            MessageRefused: a header names a person, and the proxy did not send it.
            LoginRefused: the proxy names a person who may not look.
        """
        page = self.application.exporter.settings().page
        people = self.application.people
        if page.proxy is not None:
            address = str(self.request.remote_ip)
            shown = self.request.get_ssl_certificate() if self.request.protocol == "https" else None
            assert not isinstance(shown, bytes)  # as which it comes on request alone
            if found := people.of_header(self.request.headers, address, page.proxy, shown):
                return found
        return people.of_session(self.session(), page)

    async def prepare(self) -> None:  # type: ignore[override]
        """Refuse a forged header before anything else, and have that on record."""
        super().prepare()
        where = str(self.request.remote_ip)
        try:
            _ = self.current_user
        except MessageRefused as error:
            self.current_user = None
            await in_thread(partial(self.application.refusals.refuse, error, where=where))
            self.said("You are not logged in", f"This came with {error.message}.", HTTPStatus.FORBIDDEN)
        except LoginRefused as refused:
            self.current_user = None
            self.refused(refused)

    def show(self, page: bytes, code: HTTPStatus = HTTPStatus.OK) -> None:
        """End with a page."""
        self.set_status(code)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(page)

    def said(self, title: str, words: str, code: HTTPStatus) -> None:
        """End with a few words for whoever has not logged in."""
        link = '<p><a href="/login">Log in</a></p>\n'
        self.show(frame.bare(title, f'<p role="alert" class="bad">{markup(words)}</p>\n{link}'), code)

    def refused(self, refused: LoginRefused) -> None:
        """End with why somebody is not let in."""
        log.warning("login-refused", extra={"address": str(self.request.remote_ip), "why": str(refused)})
        self.said("You are not logged in", str(refused), HTTPStatus.FORBIDDEN)

    def log_in(self, session: str) -> None:
        """Give a session to the browser."""
        site = self.application
        self.set_signed_cookie(site.cookie, session, expires_days=None, max_age=LASTS, **site.cookie_options)

    def onward(self) -> str:
        """Return where to go on to: a page of ours, whatever was asked for."""
        asked = self.get_argument("next", "/")
        return asked if _HERE.fullmatch(asked) and not asked.startswith("//") else "/"


class _Style(_Handler):
    def get(self) -> None:
        self.set_header("Content-Type", "text/css; charset=utf-8")
        self.finish(frame.STYLE)


# -- logging in and out ----------------------------------------------------------------


class _LogIn(_Handler):
    def get(self) -> None:
        self._form(HTTPStatus.OK)

    def post(self) -> None:
        if not self.application.exporter.settings().page.password:
            self._form(HTTPStatus.FORBIDDEN, "Nobody logs in by a password here.")
            return
        given = (
            self.get_body_argument("user", "", strip=False),
            self.get_body_argument("password", "", strip=False),
        )
        address = str(self.request.remote_ip)
        session = self.application.people.try_login(*given, address)
        if session is HTTPStatus.TOO_MANY_REQUESTS:
            self.set_header("Retry-After", f"{PER:.0f}")
            self._form(session, f"Too many wrong logins. Wait {PER:.0f} seconds.")
        elif isinstance(session, HTTPStatus):
            log.warning("login-refused", extra={"address": address})
            self._form(session, "The user or the password is wrong.")
        else:
            self.log_in(session)
            self.redirect(self.onward(), status=HTTPStatus.SEE_OTHER)

    def _form(self, code: HTTPStatus, wrong: str = "") -> None:
        page = self.application.exporter.settings().page
        told = f'<p role="alert" class="bad">{markup(wrong)}</p>\n' if wrong else ""
        form = (
            '<form method="post" action="/login">\n'
            f'<input type="hidden" name="next" value="{markup(self.onward())}">\n'
            '<label for="user">User</label><input id="user" name="user" autocomplete="username" required>\n'
            '<label for="password">Password</label><input id="password" name="password" type="password" '
            'autocomplete="current-password" required>\n<button>Log in</button></form>\n'
        )
        provider = (
            f'<p><a href="/login/oidc?{markup(urlencode({"next": self.onward()}))}">Log in by '
            f"{markup(urlsplit(page.oidc.issuer).netloc)}</a></p>\n"
            if page.oidc
            else ""
        )
        proxy = "<p>Come by way of the proxy that logs you in.</p>\n" if page.proxy else ""
        self.show(frame.bare("Strongroom", told + provider + proxy + (form if page.password else "")), code)


class _BeginOidc(_Handler):
    """Sends a browser to the provider. It is to come back with the cookie that it gets here."""

    @property
    def cookie(self) -> str:
        return f"{self.application.cookie}-begun"

    @property
    def back(self) -> str:
        """Where the provider sends people back."""
        return f"{address(self.application.exporter.settings()).rstrip('/')}{BACK}"

    async def get(self) -> None:
        oidc = self.application.exporter.settings().page.oidc
        if oidc is None:
            self.redirect("/login", status=HTTPStatus.SEE_OTHER)
            return
        browser = secrets.token_urlsafe(32)
        try:
            there = await self.application.oidc.begin(
                oidc, back=self.back, onward=self.onward(), browser=browser
            )
        except LoginRefused as refused:
            self.refused(refused)
            return
        # The provider's page sends the browser back: a cookie that is Strict would stay behind.
        options = self.application.cookie_options | {"samesite": "Lax"}
        self.set_signed_cookie(self.cookie, browser, expires_days=None, max_age=int(BEGUN_LASTS), **options)
        self.redirect(there, status=HTTPStatus.SEE_OTHER)


class _EndOidc(_BeginOidc):
    async def get(self) -> None:
        oidc = self.application.exporter.settings().page.oidc
        if oidc is None:
            self.redirect("/login", status=HTTPStatus.SEE_OTHER)
            return
        browser = (self.get_signed_cookie(self.cookie, max_age_days=BEGUN_LASTS / 86400) or b"").decode()
        self.clear_cookie(self.cookie, **self.application.cookie_options)
        answer = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        try:
            claims, onward = await self.application.oidc.end(oidc, answer, back=self.back, browser=browser)
            name, values = claims.get(oidc.person), allowed_values(claims, oidc)
            if not isinstance(name, str) or not is_name(name):
                raise LoginRefused(f"The provider does not tell your name by the claim '{oidc.person}'.")
            if not values:
                raise LoginRefused("You are not among those who may look: see page.oidc.allowed.")
        except LoginRefused as refused:
            self.refused(refused)
            return
        self.log_in(self.application.people.begin(name, urlsplit(oidc.issuer).netloc, values))
        # From here on it is our own page that leads on, so that the browser sends the new cookie along.
        self.set_header("Refresh", f"0; url={onward}")
        link = f'<p><a href="{markup(onward)}">Go on</a></p>\n'
        self.show(frame.bare("You are logged in", link))


class _LogOut(_Handler):
    def post(self) -> None:
        self.application.people.end(self.session())
        self.clear_cookie(self.application.cookie, **self.application.cookie_options)
        self.redirect("/login", status=HTTPStatus.SEE_OTHER)


# -- the pages -------------------------------------------------------------------------


class _Page(_Handler):
    def initialize(self, show: Show) -> None:
        self._show = show

    @authenticated
    async def get(self, name: str = "") -> None:
        assert self.current_user is not None  # Tornado asks before
        asked = Asked(
            name=name,
            policy=self.get_query_argument("policy", ""),
            before=self.get_query_argument("before", None),
        )
        still = bool(self.get_query_argument("still", ""))
        query = {"policy": asked.policy, "before": asked.before or ""}
        told = urlencode({name: said for name, said in query.items() if said})
        here = f"{self.request.path}{'?' if told else ''}{told}"
        visitor = self.current_user
        code, page, soon = await in_thread(lambda: self._made(asked, visitor, here, still=still))
        if not still and code != HTTPStatus.NOT_FOUND:
            self.set_header("Refresh", str(SOON if soon else AGAIN))
        self.show(page, code)

    def _made(
        self, asked: Asked, visitor: Visitor, here: str, *, still: bool
    ) -> tuple[HTTPStatus, bytes, bool]:
        facts = self.application.facts(visitor, here, still=still)
        try:
            return HTTPStatus.OK, self._show(asked, facts), False
        except StillAsked as waits:
            return HTTPStatus.OK, frame.document(waits.page, facts), True
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
        return code, frame.document(page, facts), False


# -- acting ----------------------------------------------------------------------------


class _Act(_Handler):
    """Asks once more, and then asks the control pool by a message that the page's role signs."""

    TASKS: ClassVar = {
        "run": (names.PAGE_RUN, "entry"),
        "retry": (names.PAGE_RETRY, "run"),
        "acknowledge": (names.PAGE_ACKNOWLEDGE, "alert"),
    }

    @authenticated
    async def get(self, what: str) -> None:
        self._ask(what)

    async def post(self, what: str) -> None:
        visitor, site = self.current_user, self.application
        if visitor is None:
            words = "You are logged out by now. Nothing was asked for: log in, then do it again."
            self.said("You are not logged in", words, HTTPStatus.FORBIDDEN)
            return
        if not secrets.compare_digest(self.get_body_argument("token", "").encode(), visitor.token.encode()):
            self.refuse(HTTPStatus.FORBIDDEN)
            return
        if not site.people.may_ask(visitor):
            self.set_header("Retry-After", f"{PER:.0f}")
            self._ask(what, "That is too much at once. Wait a minute.", HTTPStatus.TOO_MANY_REQUESTS)
            return
        task, subject = self.TASKS[what]
        said = {subject: self.get_body_argument("of", ""), "by": visitor.on_record}
        if what == "acknowledge":
            said["reason"] = self.get_body_argument("reason", "")
            if not is_name(said["reason"]):
                self._ask(what, "Say in a line why, or what you do.", HTTPStatus.BAD_REQUEST)
                return
        request = str(uuid.uuid4())
        try:
            await in_thread(partial(_send, task, request, said))
        except StrongroomError as error:
            words = f"Nothing was asked for: {error.message}. {error.hint}"
            self._ask(what, words, HTTPStatus.SERVICE_UNAVAILABLE)
            return
        log.info("page-asked", extra={"task": task, "request": request, "by": visitor.on_record})
        self.redirect(f"/asked/{request}", status=HTTPStatus.SEE_OTHER)

    def _ask(self, what: str, wrong: str = "", code: HTTPStatus = HTTPStatus.OK) -> None:
        assert self.current_user is not None
        facts = self.application.facts(self.current_user)
        form = acting.form(what, self.get_argument("of", ""), token=self.current_user.token, wrong=wrong)
        self.show(frame.document(form, facts), code)


def _send(task: str, request: str, said: dict[str, str]) -> None:
    """Send what somebody asked for. Raises BrokerUnavailable or ConfigError: nothing was asked for then."""
    from workers import broker
    from workers.app import app
    from workers.rights import queue_of

    with broker.failing_fast(app.conf.broker_url, tls=app.conf.broker_use_ssl):
        app.send_task(task, kwargs=said, queue=queue_of(task), task_id=request)
