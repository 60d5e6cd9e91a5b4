"""The page over HTTP: behind its login, of a real installation, with hostile names, and in a browser."""

from __future__ import annotations

import base64
import re
import shlex
import ssl
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import text
from tornado.web import create_signed_value

from strongroom.config import Settings, load_settings
from strongroom.config.live import LiveSettings
from strongroom.errors import ConfigError
from strongroom.operations.engine import muted
from strongroom.operations.show.frame import PAGE, PAGES, commands_of
from strongroom.state.records import CatalogEntry, Replica, RunKind, RunState, RunStep, StepKind
from strongroom.state.store import RunStore
from strongroom.times import for_people
from tests.cli.program import PASSPHRASE, Machine
from tests.live.certificates import make_certificate
from tests.patience import PATIENCE, until
from tests.process import free_port, installed
from tests.slots import monthly
from tests.workers.browser import Browser, browsing
from tests.workers.cluster import RunningCluster
from tests.workers.serving import serving
from tests.workers.visitor import Visitor
from workers import flower, page_server, paths
from workers.exporter import Exporter
from workers.page_people import GUESSES, LASTS, PER, SESSIONS, People
from workers.page_server import Site

HOSTILE = '</td><script>alert(1)</script>"\u202e'


@dataclass
class Place:
    """A served installation."""

    settings: Settings
    exporter: Exporter
    port: int
    store: RunStore
    backup: str = ""

    @property
    def password(self) -> str:
        return page_server.password(self.settings)

    def visitor(self) -> Visitor:
        """Return somebody who is logged in."""
        found = Visitor(self.port)
        assert found.log_in(self.password).status == HTTPStatus.SEE_OTHER
        return found

    def show(self, path: str) -> str:
        answer = self.visitor().ask(path)
        assert answer.status == HTTPStatus.OK, answer
        return answer.text


@contextmanager
def served(settings: Settings) -> Iterator[Place]:
    """Serve in a thread, as the process does."""
    exporter = Exporter(LiveSettings.fixed(settings))
    with serving(settings.served(settings.page), Site(settings, exporter)):
        yield Place(settings, exporter, settings.page.port, RunStore(settings.database_url))


def settings_of(machine: Machine, **more: str) -> Settings:
    environment = machine.env | {"STRONGROOM_PAGE__PORT": str(free_port())} | more
    return load_settings(environment, machine.path("strongroom.toml"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """An installation with a good backup, a failed one, and an incident; the tests only look."""
    machine = Machine(tmp_path_factory.mktemp("page") / "machine")
    stock(machine)
    machine.ok("backup", "--policy", "full", "--force")
    machine.path("gone").rmdir()
    machine.run("backup", "--policy", "broken", "--force")
    settings = settings_of(machine)
    with served(settings) as place:
        place.backup = place.store.backups(policy="full")[0].backup
        machine.ok(
            "incident", "open", "--force", "--backup", place.backup, "--reason", f"lost {HOSTILE[:-1]}"
        )
        odd = replace(place.store.backups()[0], backup=f"20200101{HOSTILE}", policy=HOSTILE)
        bad = Replica(backup=odd.backup, target=HOSTILE, good=False, verified=None, verified_at=None)
        place.store.put_backup(odd, [bad])
        said = "plan: SourceError: CANARY-NAME is gone"
        with place.store._database.writing() as conn:
            conn.execute(text(f"UPDATE runs SET error = '{said}' WHERE error > ''"))
        place.store.event("replica.lost", backup=place.backup, target="eu", why="CANARY-NAME")
        yield place


def stock(machine: Machine) -> None:
    machine.set("CANARY-NAME", "CANARY-VALUE")
    machine.path("gone").mkdir()
    for name in ("recovery", "spare"):
        machine.ok("keys", "new", "--output", f"{name}.key")
    regions = "".join(
        f'[targets.{name}]\nkind = "directory"\npath = "regions/{name}"\nregion = "{name}"\ncreate = true\n'
        for name in ("eu", "us")
    )
    keys = "".join(
        f'[keys.{name}]\nkind = "hpke"\npublic_key_file = "{name}.key.pub"\nidentity_file = "{name}.key"\n'
        for name in ("recovery", "spare")
    )
    policies = "".join(
        f'[policies.{name}]\nkind = "full"\nsource = "{source}"\ntargets = ["eu", "us"]\n'
        f'recipients = ["recovery", "spare"]\nschedule = "{monthly()}"\n'
        for name, source in (("full", "local"), ("broken", "gone"))
    )
    sources = (
        f'[sources.local]\nkind = "local"\n[sources.gone]\nkind = "files"\npath = "{machine.path("gone")}"\n'
    )
    machine.path("strongroom.toml").write_text(regions + keys + sources + policies)


# -- the login -------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PAGES, "/backups/x", "/runs/x", "/other", "/style.css/.."])
def test_nothing_is_shown_without_a_login(place: Place, path: str) -> None:
    answer = Visitor(place.port).ask(path)
    assert answer.status == HTTPStatus.FOUND
    assert answer.headers["location"].startswith("/login?next=")
    assert answer.text == ""


def test_the_login_page_tells_a_stranger_nothing_of_the_installation(place: Place) -> None:
    answer = Visitor(place.port).ask("/login")
    assert answer.status == HTTPStatus.OK
    for word in ("full", "recovery", place.backup, "0.1"):
        assert word not in answer.text


def test_whoever_logs_in_goes_on_to_the_page_that_was_asked_for(place: Place) -> None:
    someone = Visitor(place.port)
    onward = someone.ask("/backups?policy=full").headers["location"]
    (asked,) = re.findall(r'name="next" value="([^"]*)"', someone.ask(onward).text)
    assert someone.log_in(place.password, next=asked).headers["location"] == "/backups?policy=full"
    assert someone.ask(asked).status == HTTPStatus.OK


@pytest.mark.parametrize(
    "asked", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nX: y", ""]
)
def test_nobody_is_sent_to_another_place_after_the_login(place: Place, asked: str) -> None:
    location = Visitor(place.port).log_in(place.password, next=asked).headers["location"]
    assert location.startswith("/")
    assert not location.startswith(("//", "/\\"))


@pytest.mark.parametrize(("user", "password"), [("strongroom", "wrong"), ("root", ""), ("strongroom", "")])
def test_a_wrong_login_is_refused_and_says_not_what_was_wrong(place: Place, user: str, password: str) -> None:
    with served(replaced_port(place.settings)) as own:
        someone = Visitor(own.port)
        answer = someone.log_in(password, user)
        assert answer.status == HTTPStatus.FORBIDDEN
        assert "The user or the password is wrong." in answer.text
        assert "set-cookie" not in answer.headers
        assert someone.log_in(place.password, "another").status == HTTPStatus.FORBIDDEN


def replaced_port(settings: Settings) -> Settings:
    return replace(settings, page=replace(settings.page, port=free_port()))


def test_after_too_many_wrong_logins_the_right_one_has_to_wait_too(place: Place) -> None:
    with served(replaced_port(place.settings)) as own:
        someone = Visitor(own.port)
        for _ in range(GUESSES):
            assert someone.log_in("wrong").status == HTTPStatus.FORBIDDEN
        answer = someone.log_in(place.password)
        assert answer.status == HTTPStatus.TOO_MANY_REQUESTS
        assert answer.headers["retry-after"] == f"{PER:.0f}"


def test_guesses_are_forgotten_after_a_while_and_counted_by_address() -> None:
    now = [0.0]
    login = People("me", "right", clock=lambda: now[0])
    for _ in range(GUESSES):
        login.try_login("me", "wrong", "10.0.0.1")
    assert login.try_login("me", "right", "10.0.0.1") is HTTPStatus.TOO_MANY_REQUESTS
    assert isinstance(login.try_login("me", "right", "10.0.0.2"), str)
    now[0] = PER + 1
    assert isinstance(login.try_login("me", "right", "10.0.0.1"), str)


def test_the_oldest_session_ends_where_there_are_too_many() -> None:
    login = People("me", "right")
    many = [str(login.try_login("me", "right", "a")) for _ in range(SESSIONS + 1)]
    assert not login.holds(many[0])
    assert all(map(login.holds, many[1:]))


@pytest.mark.parametrize(
    ("age", "key", "status"), [(-60, "", 200), (0, "", 302), (-60, "CANARY-of-another", 302)]
)
def test_a_session_lasts_for_its_time_and_only_as_it_was_signed(
    place: Place, age: int, key: str, status: int
) -> None:
    site = Site(place.settings, place.exporter)
    session = str(site.people.try_login("strongroom", place.password, "a"))
    at = time.time() - LASTS - age
    signed = create_signed_value(
        key or site.settings["cookie_secret"], "strongroom", session, clock=lambda: at
    )
    settings = replaced_port(place.settings)
    with serving(settings.served(settings.page), site):
        someone = Visitor(settings.page.port, cookie=f"strongroom={signed.decode()}")
        assert someone.ask("/").status == status


def test_a_session_is_over_after_the_logout(place: Place) -> None:
    someone = place.visitor()
    assert someone.ask("/").status == HTTPStatus.OK
    left = someone.ask("/logout", "POST", "")
    assert left.headers["location"] == "/login"
    assert left.headers["set-cookie"].startswith('strongroom="";')
    assert someone.ask("/").status == HTTPStatus.FOUND, "the cookie is kept by whoever took it"


@pytest.mark.parametrize("cookie", ["strongroom=", "strongroom=x", "other=x", "strongroom=\xe4", ";;="])
def test_a_made_up_session_is_none(place: Place, cookie: str) -> None:
    assert Visitor(place.port, cookie=cookie).ask("/").status == HTTPStatus.FOUND


@pytest.mark.parametrize("length", ["-1", "999999999999", "\xb2", "0000000199999999999999999999"])
def test_a_login_form_of_an_odd_length_is_refused(place: Place, length: str) -> None:
    with closing(HTTPConnection("127.0.0.1", place.port, timeout=PATIENCE)) as client:
        client.request("POST", "/login", "user=a", {"Content-Length": length})
        # After that it may be a reset that ends the answer: the form was not read.
        assert client.getresponse().status == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "ODD"])
def test_nothing_can_be_changed(place: Place, method: str) -> None:
    answer = place.visitor().ask("/backups", method, "")
    assert answer.status == HTTPStatus.METHOD_NOT_ALLOWED
    assert answer.headers["allow"] == "GET, HEAD"
    assert answer.text == "Nothing is changed here: this is read alone.\n"


@pytest.mark.parametrize(
    "said",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},  # of a browser that does not say the other
        {"Origin": "null"},
    ],
)
def test_a_form_of_another_place_neither_logs_in_nor_out(place: Place, said: dict[str, str]) -> None:
    someone = place.visitor()
    for path in ("/login", "/logout"):
        answer = someone.ask(path, "POST", "", **said)
        assert answer.status == HTTPStatus.FORBIDDEN
        assert "set-cookie" not in answer.headers
    assert someone.ask("/").status == HTTPStatus.OK


def test_a_form_of_the_address_that_people_know_is_taken_behind_a_proxy(place: Place) -> None:
    page = replace(place.settings.page, port=free_port(), url="http://strongroom.example/page")
    with served(replace(place.settings, page=page)) as own:
        answer = own.visitor().ask("/logout", "POST", "", Origin="http://strongroom.example")
        assert answer.status == HTTPStatus.SEE_OTHER


def test_a_head_has_the_headers_of_the_page_and_no_content(place: Place) -> None:
    someone = place.visitor()
    asked, shown = someone.ask("/keys", "HEAD"), someone.ask("/keys")
    assert (asked.status, asked.text) == (HTTPStatus.OK, "")
    assert asked.headers["content-type"] == shown.headers["content-type"]
    assert int(asked.headers["content-length"]) > 0
    assert Visitor(place.port).ask("/keys", "HEAD").status == HTTPStatus.FOUND


def test_no_answer_says_what_the_server_is_made_of(place: Place) -> None:
    assert Visitor(place.port).ask("/login").headers["server"] == "strongroom"


def test_the_cookie_is_for_this_place_alone_and_no_page_is_kept_or_runs_a_script(place: Place) -> None:
    someone = place.visitor()
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(someone.cookies[0].split("; "))
    headers = someone.ask("/").headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "script-src" not in policy
    assert "unsafe" not in headers["content-security-policy"]


def test_over_tls_the_cookie_never_goes_without(place: Place, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    page = replace(place.settings.page, port=free_port())
    listen = replace(place.settings.listen, certificate_file=certificate, key_file=key)
    with served(replace(place.settings, page=page, listen=listen)) as own:
        someone = Visitor(own.port, context=ssl.create_default_context(cafile=str(certificate)))
        assert someone.log_in(own.password).status == HTTPStatus.SEE_OTHER
        assert someone.cookie.startswith("__Host-")
        assert "Secure" in someone.cookies[0].split("; ")
        assert someone.ask("/").status == HTTPStatus.OK


def test_the_password_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    settings = load_settings({"STRONGROOM_STATE_DIR": str(tmp_path)})
    first = page_server.password(settings)
    file = paths.run_folder(tmp_path) / page_server.GENERATED
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert page_server.password(settings) == first
    file.write_text("\n")
    with pytest.raises(ConfigError, match=r"page\.password_file .*: is empty"):
        page_server.password(settings)


# -- what is shown ---------------------------------------------------------------------


def test_every_link_leads_to_a_page_and_no_page_holds_a_secret_or_its_name(place: Place) -> None:
    place.exporter.look()
    pages = place.visitor().walk()
    assert {*PAGES, f"/backups/{place.backup}", f"/runs/{place.backup}"} <= pages.keys()
    for path, page in pages.items():
        assert "CANARY" not in page, path
        assert PASSPHRASE not in page, path
        assert place.password not in page, path


def test_no_name_becomes_markup_or_turns_the_words_around(place: Place) -> None:
    pages = place.visitor().walk()
    shown = [path for path, page in pages.items() if "alert(1)" in page]
    assert any(path.startswith("/incidents/") for path in shown)
    assert "/backups" in shown
    for page in pages.values():
        assert "<script" not in page
        assert "\u202e" not in page


def test_the_overview_shows_how_each_policy_lies_on_each_target(place: Place) -> None:
    page = place.show("/")
    newest = place.store.backups(policy="full")[0].backup
    assert f'href="/backups/{newest}"' in page
    assert page.count(">good</span>") == 2
    assert "On eu" in page
    assert "critical alert" in page  # the broken policy has no backup


def test_the_row_of_a_policy_says_how_its_newest_run_ended_and_when_the_next_is_due(place: Place) -> None:
    rows = re.findall(r"<tr.*?</tr>", place.show("/"), re.DOTALL)
    [broken] = [row for row in rows if "policy=broken" in row]
    [good] = [row for row in rows if "policy=full" in row]
    assert ">failed</span>" in broken
    assert "SourceError" in broken
    assert ">done</span>" in good
    assert all("next in" in row for row in (good, broken))


def test_a_silenced_or_acknowledged_alert_is_shown_as_one_and_the_metric_leaves_out_what_is_silenced(
    place: Place,
) -> None:
    place.exporter.look()
    counted = place.exporter.observe().alerts
    first, other = counted[0].key, counted[1].key
    until = time.time() + 3600
    name = muted.put_silence(place.store, first, until=until, by="ann", reason=f"moves {HOSTILE}")
    muted.acknowledge(place.store, other, severity="critical", weight=0, by="ben", reason="at work")
    try:
        with served(replace(place.settings, page=replace(place.settings.page, port=free_port()))) as now:
            page, start = now.show("/alerts"), now.show("/")
            now.exporter.look()
            left = now.exporter.observe().alerts
    finally:
        (silence,) = muted.read_muted(place.store, now=time.time()).silences
        muted.end_silence(place.store, silence, by="ann")
    assert silence.id == name
    assert f"Silenced until {for_people(until)} by ann: moves" in page
    assert HOSTILE not in page
    assert "by ben: at work" in page
    assert "1 silenced" in start
    assert {one.key for one in counted} - {one.key for one in left} == {first}


def test_a_failed_run_is_told_by_its_class_and_the_command_that_says_more(place: Place) -> None:
    (failed,) = [run for run in place.store.runs() if run.state is RunState.FAILED]
    page = place.show(f"/runs/{failed.id}")
    assert "SourceError" in page
    assert f"strongroom runs show {failed.id}" in page
    assert "CANARY" in (failed.error or "")


def test_a_backup_says_where_it_lies_who_opens_it_and_what_happened(place: Place) -> None:
    page = place.show(f"/backups/{place.backup}")
    assert "the holder of the private key recovery" in page
    assert "the holder of the private key spare" in page
    assert "backup.quarantined" in page
    assert "In quarantine" in page
    assert page.count('role="rowheader"') >= 4


def test_an_incident_says_how_each_step_stands_and_what_is_next(place: Place) -> None:
    (path,) = [link for link in place.visitor().ask("/incidents").links if link.startswith("/incidents/")]
    page = place.show(path)
    assert "strongroom incident" in page
    assert f'href="/backups/{place.backup}"' in page
    assert "Seal them under new keys" in page


def test_what_there_is_not_is_not_found(place: Place) -> None:
    for path in ("/other", "/backups/other", "/runs/other", "/incidents/other", "/a/b/c", "/keys/x", "/%00"):
        answer = place.visitor().ask(path)
        assert answer.status == HTTPStatus.NOT_FOUND, path


def test_a_long_list_comes_by_the_page_and_each_backup_once(place: Place) -> None:
    with served(replaced_port(place.settings)) as own:
        like = own.store.backups(policy="full")[0]
        names = [f"2019{number:04}" for number in range(2 * PAGE + 10)]
        for name in names:
            own.store.put_backup(replaced(like, name))
        someone, path, seen = own.visitor(), "/backups?policy=long", []
        while path:
            answer = someone.ask(path)
            seen += re.findall(r'href="/backups/(2019\d+)"', answer.text)
            older = (link for link in answer.links if "before=" in link and "still=" not in link)
            path = next(older, "")
        assert seen == sorted(names, reverse=True)


def replaced(like: CatalogEntry, name: str) -> CatalogEntry:
    return replace(like, backup=name, policy="long", created_at="2019-01-01T00:00:00Z")


def test_without_the_state_database_the_page_says_so_and_shows_what_was_seen(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine")
    stock(machine)
    machine.ok("backup", "--policy", "full", "--force")
    with served(settings_of(machine)) as own:
        someone = own.visitor()
        own.exporter.look()
        assert someone.ask("/backups").status == HTTPStatus.OK
        own.store.close()
        for file in machine.state.glob("state.db*"):
            file.unlink()
        (machine.state / "state.db").mkdir()
        own.exporter._read = None
        answer = someone.ask("/")
        assert answer.status == HTTPStatus.OK
        assert "The state database cannot be read" in answer.text
        assert 'What follows is what was seen at <time datetime="' in answer.text
        assert ">good</span>" in answer.text
        listed = someone.ask("/backups")
        assert listed.status == HTTPStatus.SERVICE_UNAVAILABLE
        assert "Traceback" not in listed.text


def test_what_runs_is_shown_with_how_far_it_is_and_how_long_the_rest_takes(place: Place) -> None:
    with served(replaced_port(place.settings)) as own:
        like = next(run for run in own.store.runs() if run.spec.kind is RunKind.BACKUP)
        own.store.create(like.spec, first=(RunStep(StepKind.PLAN),))
        page = own.show("/")
        assert "backup of" in page
        assert '<svg class="share"' in page
        assert "0 of 1 step<" in page


# -- in a browser ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, place: Place) -> Iterator[Browser]:
    """A browser that was logged in by the keyboard alone, with scripts switched off."""
    with browsing(tmp_path_factory.mktemp("browser")) as browser:
        browser.show_as(width=390, script=False)
        browser.open(f"http://127.0.0.1:{place.port}/login")
        for word in ("strongroom", place.password):
            browser.press("Tab")
            browser.type(word)
        browser.press("Enter", "\r")
        browser.wait("document.title.startsWith('Overview')")
        yield browser


AXE = """axe.run().then(found => found.violations.map(
    one => one.id + ': ' + one.nodes.map(node => node.html + node.failureSummary).join('; ')))"""


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_no_rule_for_people_with_a_screen_reader_or_a_keyboard_is_broken(
    browser: Browser, place: Place, width: int, dark: bool
) -> None:
    axe = installed("axe", "node_modules", "axe-core", "axe.min.js")
    if axe is None:
        pytest.skip("axe-core is not installed; 'make live' installs it")
    script = axe.read_text() + ";1"
    browser.show_as(width=width, dark=dark)
    paths = [*PAGES, f"/backups/{place.backup}", f"/runs/{place.backup}", "/login", "/backups/none"]
    for path in paths:
        browser.open(f"http://127.0.0.1:{place.port}{path}")
        browser.run(script)
        assert browser.run(AXE) == [], path
        assert browser.run("document.documentElement.scrollWidth <= innerWidth"), path


def test_the_keyboard_reaches_the_content_first_and_each_stop_is_seen(browser: Browser, place: Place) -> None:
    browser.show_as(width=1280)
    browser.open(f"http://127.0.0.1:{place.port}/")
    browser.press("Tab")
    assert browser.run("document.activeElement.hash") == "#main"
    for _ in range(len(PAGES) + 3):
        browser.press("Tab")
        assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert browser.run("document.querySelectorAll('main h1').length") == 1


# -- in a cluster ----------------------------------------------------------------------


def test_a_cluster_serves_the_page_which_links_to_flower_and_back(tmp_path: Path) -> None:
    cluster = RunningCluster(tmp_path / "state", "--page", "--flower", "control")
    try:
        cluster.start()
        password = paths.run_folder(cluster.state_dir) / page_server.GENERATED
        someone = Visitor(cluster.page_port)
        assert someone.log_in(password.read_text().strip()).status == HTTPStatus.SEE_OTHER
        page = someone.ask("/").text
        assert f'href="http://127.0.0.1:{cluster.port}/"' in page
        back = f'href="http://127.0.0.1:{cluster.page_port}/"'
        until(lambda: back in flowers(cluster), what="Flower's link to the page")
    finally:
        cluster.close()


def flowers(cluster: RunningCluster) -> str:
    password = (paths.run_folder(cluster.state_dir) / flower.GENERATED).read_text().strip()

    login = base64.b64encode(f"strongroom:{password}".encode()).decode()
    try:
        return Visitor(cluster.port).ask("/workers", Authorization=f"Basic {login}").text
    except OSError:
        return ""


def test_what_is_to_be_typed_for_a_backup_in_a_file_names_the_file_and_works(
    tmp_path: Path,
) -> None:
    machine = Machine(tmp_path / "machine")
    machine.path("strongroom.toml").write_text(f'state_dir = "{machine.state}"\n')
    machine.set("JWT_SECRET_KEY", "CANARY-JWT")
    machine.seal()
    file = machine.path("full.sr")
    with served(settings_of(machine)) as place:
        [entry] = place.store.backups()
        assert f"--backup-file {file}" in place.show(f"/backups/{entry.backup}")
        assert "--backup-file FILE" in place.show("/backups")
    machine.ok("secrets", "delete", "JWT_SECRET_KEY", "--force")
    for line in commands_of(entry, str(file)):
        machine.ok(*shlex.split(line)[1:], STRONGROOM_PASSPHRASE=PASSPHRASE)
    assert machine.ok("get", "JWT_SECRET_KEY", "--show-value").out == "CANARY-JWT"
