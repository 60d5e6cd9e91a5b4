"""Who may look at the page, and what they may do there."""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlencode

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from strongroom.config import Settings, load_settings
from strongroom.config.served import PageOidcSettings, PageProxySettings, PageSettings
from strongroom.operations.engine import muted
from strongroom.operations.errors import MessageRefused
from strongroom.operations.show.acting import ASKED, REFUSED
from strongroom.state import folding
from strongroom.state.records import RunKind, RunStep, Spec, StepKind
from strongroom.state.store import RunStore
from tests.process import free_port
from tests.workers.cluster import RunningCluster
from tests.workers.test_page import HOSTILE, Place, served
from tests.workers.visitor import FORM, Answer, Visitor, token_of
from workers import names, page_server, paths
from workers.messages import Order, _checked
from workers.page_people import ACTIONS, PER, SECRET, People, allowed_values
from workers.rights import may_send, queue_of

HEADER = "X-Forwarded-User"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An installation without a backup, whose page may be acted on."""
    environment = {
        "STRONGROOM_STATE_DIR": str(tmp_path / "state"),
        "STRONGROOM_PAGE__PORT": str(free_port()),
        "STRONGROOM_PAGE__ACT": "true",
    }
    found = load_settings(environment)
    RunStore(found.database_url).heartbeat("CANARY")  # makes it
    return found


def of_page(settings: Settings, **more: object) -> Settings:
    return replace(settings, page=replace(settings.page, **more))


def post(someone: Visitor, path: str, **said: str) -> Answer:
    headers = {name: said.pop(name) for name in list(said) if name == "Origin"}
    return someone.ask(path, "POST", urlencode(said), **FORM, **headers)


# -- what the role may do --------------------------------------------------------------


def test_the_key_of_the_page_counts_for_its_three_tasks_and_nothing_else() -> None:
    assert may_send(names.PAGE) == names.PAGE_TASKS
    everything = frozenset().union(*map(may_send, names.ROLES))
    for task in sorted(everything):
        order, queue = Order(task, "id", names.PAGE), queue_of(task)
        if task in names.PAGE_TASKS:
            assert _checked(order, {}, queue) is order
        else:
            with pytest.raises(MessageRefused, match="from role 'page', which may not send it"):
                _checked(order, {}, queue)


def test_nobody_but_the_page_and_the_pool_that_does_it_sends_what_carries_a_persons_name() -> None:
    senders = {role for role in names.ROLES if may_send(role) & names.PAGE_TASKS}
    assert senders == {names.PAGE, names.CONTROL}


# -- forms -----------------------------------------------------------------------------


def test_a_form_without_this_visitors_token_does_nothing(settings: Settings) -> None:
    with served(settings) as place:
        anna, ben = place.visitor(), place.visitor()
        bens = token_of(ben.ask("/act/run?of=x").text)
        assert bens != token_of(anna.ask("/act/run?of=x").text)
        for token in ("", "x", bens):
            assert post(anna, "/act/run", of="x", token=token).status == HTTPStatus.FORBIDDEN
        own = token_of(anna.ask("/act/run?of=x").text)
        for said in ({"Origin": "http://evil.example"}, {"Origin": "null"}):
            answer = post(anna, "/act/run", of="x", token=own, **said)
            assert answer.status == HTTPStatus.FORBIDDEN
        assert place.store.happened(ASKED, REFUSED, since=0.0) == []


def test_nothing_is_done_by_a_link(settings: Settings) -> None:
    with served(settings) as place:
        page = place.visitor().ask("/act/run?of=verification")
        assert page.status == HTTPStatus.OK
        assert "refresh" not in page.headers, "what somebody types would be lost"
        assert "<button>Run now</button>" in page.text
        assert place.store.happened(ASKED, REFUSED, since=0.0) == []


def test_a_session_that_ended_meanwhile_asks_for_nothing_and_says_so(settings: Settings) -> None:
    with served(settings) as place:
        someone = place.visitor()
        token = token_of(someone.ask("/act/run?of=x").text)
        someone.ask("/logout", "POST", "")
        answer = post(someone, "/act/run", of="x", token=token)
        assert answer.status == HTTPStatus.FORBIDDEN
        assert "Nothing was asked for" in answer.text


def test_a_page_that_nobody_may_act_on_takes_no_form(settings: Settings) -> None:
    with served(of_page(settings, act=False)) as place:
        someone = place.visitor()
        assert post(someone, "/act/run", of="x", token="x").status == HTTPStatus.METHOD_NOT_ALLOWED
        assert someone.ask("/act/run?of=x").status == HTTPStatus.NOT_FOUND
        assert "Run now" not in someone.ask("/schedule").text
        assert "this page changes nothing" in someone.ask("/schedule").text


def test_no_name_in_a_form_becomes_markup(settings: Settings) -> None:
    with served(settings) as place:
        page = place.visitor().ask(f"/act/run?{urlencode({'of': HOSTILE})}").text
        assert "<script" not in page
        assert "\u202e" not in page


def restore_run(place: Place) -> str:
    """Put a restore run on record that waits for people, and return it."""
    spec = Spec(kind=RunKind.RESTORE, policy="nightly", source="local", backup="CANARY-backup")
    made = place.store.create(spec, first=(RunStep(StepKind.APPROVE),))
    assert made is not None
    edit(place, f"UPDATE steps SET error='ApprovalNeeded: see', waits_since=1 WHERE run='{made.id}'")
    return made.id


def edit(place: Place, statement: str) -> None:
    with place.store._database.writing() as conn:
        conn.execute(text(statement))


def test_a_run_that_waits_for_people_says_so_and_what_they_type(settings: Settings) -> None:
    with served(settings) as place:
        run = restore_run(place)
        page = place.visitor().ask(f"/runs/{run}").text
        assert "waits for approval" in page
        assert f"strongroom approvals approve {run}" in page


def test_a_run_of_long_ago_says_how_many_steps_it_had_though_few_records_stand_for_them(
    settings: Settings,
) -> None:
    with served(settings) as place:
        spec = Spec(kind=RunKind.BACKUP, policy="nightly", source="local")
        steps = tuple(RunStep(StepKind.CAPTURE, piece) for piece in range(7))
        made = place.store.create(spec, first=steps)
        assert made is not None
        edit(place, "UPDATE steps SET state='done', attempts=1, finished_at=1")
        edit(place, "UPDATE runs SET state='done', finished_at=1")
        with place.store._database.writing() as conn:
            assert folding._slice(conn, (), folding.AFTER) == (False, len(steps))
        page = place.visitor().ask(f"/runs/{made.id}").text
        assert "7 of 7" in page


def test_a_run_that_is_taken_up_again_at_a_terminal_alone_has_no_button(settings: Settings) -> None:
    with served(settings) as place:
        run = restore_run(place)
        edit(place, f"UPDATE runs SET state='failed', finished_at=created_at WHERE id='{run}'")
        page = place.visitor().ask(f"/runs/{run}").text
        assert "/act/retry" not in page
        assert f"strongroom runs retry {run}" in page


def test_somebody_who_asks_too_often_has_to_wait() -> None:
    now = [0.0]
    people = People("anna", "right", clock=lambda: now[0])
    page = PageSettings()
    visitor = people.of_session(people.begin("anna", "password"), page)
    assert visitor is not None
    assert [people.may_ask(visitor) for _ in range(ACTIONS + 1)] == [True] * ACTIONS + [False]
    now[0] = PER + 1
    assert people.may_ask(visitor)


# -- the header of a proxy -------------------------------------------------------------


@pytest.fixture
def proxied(settings: Settings, tmp_path: Path) -> Settings:
    """The page behind a proxy on this host."""
    secret = tmp_path / "proxy-secret"
    secret.write_text("CANARY-proxy\n")
    secret.chmod(0o600)
    proxy = PageProxySettings(addresses=("127.0.0.0/8",), secret_file=secret, people=("anna", HOSTILE[:10]))
    return of_page(settings, proxy=proxy, password=False)


def test_the_proxys_word_on_a_person_counts_with_its_secret(proxied: Settings) -> None:
    with served(proxied) as place:
        someone = Visitor(place.port)
        page = someone.ask("/", **{HEADER: "anna", SECRET: "CANARY-proxy"})
        assert page.status == HTTPStatus.OK
        assert "anna (proxy)" in page.text
        assert "Log out" not in page.text
        assert someone.ask("/", **{SECRET: "CANARY-proxy"}).status == HTTPStatus.FOUND
        assert someone.ask("/", **{HEADER: "ben", SECRET: "CANARY-proxy"}).status == HTTPStatus.FORBIDDEN
        assert someone.log_in("CANARY-any").status == HTTPStatus.FORBIDDEN, "nobody logs in by a password"


@pytest.mark.parametrize(
    ("said", "addresses"),
    [
        ({HEADER: "anna"}, ("127.0.0.1",)),
        ({HEADER: "anna", SECRET: "CANARY-wrong"}, ("127.0.0.1",)),
        ({HEADER: "anna", SECRET: "CANARY-proxy"}, ("10.9.9.9", "192.168.0.0/16")),
        ({HEADER: "", SECRET: "CANARY-proxy"}, ("127.0.0.1",)),
        ({HEADER: "a" * 151, SECRET: "CANARY-proxy"}, ("127.0.0.1",)),
    ],
    ids=["no secret", "wrong secret", "elsewhere", "no name", "long name"],
)
def test_a_header_that_anybody_could_have_made_is_refused_on_record(
    proxied: Settings, said: dict[str, str], addresses: tuple[str, ...]
) -> None:
    assert proxied.page.proxy is not None
    with served(of_page(proxied, proxy=replace(proxied.page.proxy, addresses=addresses))) as place:
        answer = Visitor(place.port).ask("/", **said)
        assert answer.status == HTTPStatus.FORBIDDEN
        assert "set-cookie" not in answer.headers
        [event] = place.store.happened(MessageRefused.event, since=0.0)
        assert event.detail["pool"] == "page"
        assert event.detail["where"] == "127.0.0.1"
        assert "CANARY" not in str(event.detail) + answer.text


def test_a_person_who_is_taken_out_is_out_at_once(proxied: Settings) -> None:
    with served(proxied) as place:
        someone, said = Visitor(place.port), {HEADER: "anna", SECRET: "CANARY-proxy"}
        assert someone.ask("/", **said).status == HTTPStatus.OK
        assert proxied.page.proxy is not None
        _take_on(place, of_page(proxied, proxy=replace(proxied.page.proxy, people=("ben",))))
        assert someone.ask("/", **said).status == HTTPStatus.FORBIDDEN


def _take_on(place: Place, settings: Settings) -> None:
    place.exporter._live.current = settings


def test_a_session_by_a_provider_counts_as_long_as_its_claims_are_allowed() -> None:
    people = People("x", None)
    oidc = PageOidcSettings(issuer="https://login.example", client_id="x", claim="groups", allowed=("ops",))
    values = allowed_values({"groups": ["dev", "ops"]}, oidc)
    assert values == {"ops"}
    assert allowed_values({"groups": "dev"}, oidc) == allowed_values({}, oidc) == frozenset()
    session = people.begin("anna", "login.example", values)
    assert people.of_session(session, PageSettings(oidc=oidc)) is not None
    assert people.of_session(session, PageSettings(oidc=replace(oidc, allowed=("dba",)))) is None
    assert people.of_session(session, PageSettings(oidc=oidc)) is None, "it has ended"


# -- in a cluster ----------------------------------------------------------------------


def test_a_person_runs_retries_and_acknowledges_on_record_with_their_name(tmp_path: Path) -> None:
    act = {"STRONGROOM_PAGE__ACT": "true"}
    cluster = RunningCluster(tmp_path / "state", "--page", "control", environment=act)
    try:
        cluster.start()
        store = RunStore(f"sqlite:///{cluster.state_dir / 'state.db'}")
        password = (paths.run_folder(cluster.state_dir) / page_server.GENERATED).read_text().strip()
        someone = Visitor(cluster.page_port)
        assert someone.log_in(password).status == HTTPStatus.SEE_OTHER
        link = next(
            link for link in someone.ask("/schedule").links if "daily-metadata" in link and "/act/" in link
        )
        run = someone.do(link, of="daily-metadata")
        assert "It is done" in run, re.sub("<[^>]+>", " ", run)
        (made,) = re.findall(r'href="/runs/([^"]+)"', run)
        assert store.load(made).spec.kind is RunKind.BACKUP
        store.cancel(made)
        retried = someone.do(f"/act/retry?of={made}", of=made)
        assert "It was refused" in retried or "It is done" in retried
        nothing = someone.do("/act/acknowledge?of=none:x", of="none:x", reason="at work")
        assert "It was refused" in nothing
        assert "the record shows none" in nothing
        muted.acknowledge(store, "x", severity="warning", weight=0, by="-", reason="-")
        asked = store.happened(ASKED, REFUSED, since=0.0)
        assert {event.detail["by"] for event in asked} == {"strongroom (password)"}
        assert [event.detail["what"] for event in asked] == ["run", "retry", "acknowledge"]
        assert len({event.detail["request"] for event in asked}) == 3
        store.close()
    finally:
        cluster.close()
