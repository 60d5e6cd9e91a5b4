"""Restoring into Vault when replies get lost, restores are interrupted, and others write too."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from strongroom.errors import SourceError
from strongroom.model import ListedSecret, Media, Secret, SecretBytes, SecretVersion, VersionState
from strongroom.sources import SecretChange
from strongroom.sources.errors import SourceUnavailable
from strongroom.sources.vault import VaultSource
from strongroom.system.errors import Conflict
from tests.live.openbao import OpenBao
from tests.live.proxy import Answer, Call, Fault, LoseReply, Request, Reset, method
from tests.live.vault_parts import Site
from tests.live.vault_parts import own as own  # noqa: PLC0414  # a fixture is found by name
from tests.live.vault_parts import site as site  # noqa: PLC0414  # as above

REQUESTS = 8


def history(name: str) -> Secret:
    """Return a secret whose restore takes every kind of write: eight requests."""
    live = [
        SecretVersion(number=n, value=SecretBytes(b'{"v":"CANARY-%d"}' % n), media=Media.JSON)
        for n in range(1, 6)
    ]
    live[1] = SecretVersion(number=2, state=VersionState.DELETED)
    live[3] = SecretVersion(number=4, state=VersionState.DESTROYED)
    return Secret(name=name, versions=tuple(live), tags={"a": "b"})


CHECKED = ["/metadata/a", "/data/a"]
MARKS = ["/delete/a", "/destroy/a"]
FAULTS = {"reply": LoseReply(), "request": Reset(), "503": Answer(503), "500": Answer(500)}


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize(
    ("lost", "fault"),
    [(path, fault) for path in CHECKED for fault in FAULTS]
    # A mark that fails for good is told and not repeated: nobody knows whether it failed.
    + [(path, fault) for path in MARKS for fault in FAULTS if fault != "500"],
)
def test_a_lost_reply_writes_nothing_twice(site: Site, own: str, lost: str, fault: str) -> None:
    source = site.source(own)
    rule = site.proxy.fail(FAULTS[fault], when=method("POST", path=lost), times=2)
    assert source.write([SecretChange(secret=history(f"{own}a"), expected=None)]) == 1
    assert rule.met == min(2, len(site.proxy.seen(method("POST", path=lost))))
    (found,) = source.read(list(source.list()))
    assert found is not None
    assert source.kept(found) == source.kept(history(f"{own}a"))


class Overtaken(Fault):
    """Somebody else writes, and our request is lost on its way."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work

    def before(self, request: Request) -> None:  # noqa: ARG002
        self._work()


def test_somebody_elses_version_is_not_taken_for_ours_when_our_request_is_lost(site: Site, own: str) -> None:
    theirs = Overtaken(lambda: site.server.put(own, "a", {"v": "theirs"}))
    site.proxy.fail(theirs, when=method("POST", path="/data/a"))
    with pytest.raises(Conflict, match="somebody else wrote version 1"):
        site.source(own).write([SecretChange(secret=replace(history(f"{own}a"), tags={}), expected=None)])
    assert site.server.data(f"{own}data/a")["data"] == {"v": "theirs"}


def test_somebody_elses_version_is_not_taken_for_ours(
    site: Site,
    own: str,
) -> None:
    """Our request was lost, and somebody wrote just then."""
    source = site.source(own)

    def interfere(_: Request) -> None:
        site.server.put(own, "a", {"v": "theirs"})

    site.proxy.fail(Call(interfere), when=method("POST", path="/data/a"))
    with pytest.raises(Conflict, match="somebody else wrote version 1"):
        source.write([SecretChange(secret=replace(history(f"{own}a"), tags={}), expected=None)])
    assert site.server.data(f"{own}data/a")["data"] == {"v": "theirs"}


def test_a_restore_that_was_interrupted_goes_on_where_it_stopped(site: Site, own: str) -> None:
    wanted = history(f"{own}a")
    source = site.source(own)
    whole = _metadata_after(site.server, own, source, wanted)
    for step in range(1, REQUESTS + 1):
        site.server.call("DELETE", f"{own}metadata/a")
        site.proxy.heal()
        site.proxy.fail(Call(lambda _: None), when=method("POST", path=f"/{own}"), times=step)
        site.proxy.fail(Answer(400), when=method("POST", path=f"/{own}"), times=None)
        try:
            source.write([SecretChange(secret=wanted, expected=None)])
        except SourceError:
            site.proxy.heal()
            heads = source.heads([wanted.name])
            source.write([SecretChange(secret=wanted, expected=heads.get(wanted.name))])
            assert _metadata(site.server, own) == whole
        else:
            break
    assert step == REQUESTS


@pytest.mark.parametrize("taken", ["destroy", "delete"])
def test_a_version_that_was_taken_away_since_comes_back_on_top(site: Site, own: str, taken: str) -> None:
    """What is there is no mere beginning of what is wanted, even if all else is the same."""
    wanted, source = history(f"{own}a"), site.source(own)
    source.write([SecretChange(secret=wanted, expected=None)])
    site.server.call("POST", f"{own}{taken}/a", {"versions": [3]})
    source.write([SecretChange(secret=wanted, expected=5)])
    (found,) = source.read([ListedSecret(wanted.name, 0)])
    assert found is not None
    values = {version.number: version.value.reveal() for version in found.versions if version.value}
    assert values[8] == b'{"v":"CANARY-3"}'
    assert found.current.number == 10


def test_only_metadata_is_written_where_only_that_differs(site: Site, own: str) -> None:
    wanted, source = history(f"{own}a"), site.source(own)
    source.write([SecretChange(secret=replace(wanted, tags={"other": "tag"}), expected=None)])
    source.write([SecretChange(secret=wanted, expected=5)])
    (found,) = source.read([ListedSecret(wanted.name, 0)])
    assert found is not None
    assert source.kept(found) == source.kept(wanted)


def _metadata_after(server: OpenBao, mount: str, source: VaultSource, wanted: Secret) -> object:
    source.write([SecretChange(secret=wanted, expected=None)])
    return _metadata(server, mount)


def _metadata(server: OpenBao, mount: str) -> object:
    found = server.data(f"{mount}metadata/a")
    versions = {
        number: (at["destroyed"], bool(at["deletion_time"])) for number, at in found["versions"].items()
    }
    return versions, found["current_version"], found["oldest_version"], found["custom_metadata"]


# -- what the server does not take ---------------------------------------------


def of_strings(name: str, count: int) -> SecretChange:
    """Return a change to a secret of so many strings, one of them a key that has a number."""
    fields = {f"key-{number}": "CANARY" for number in range(count // 2)} | ({"odd": 1} if count % 2 else {})
    return live(name, json.dumps(fields).encode())


def live(name: str, value: bytes) -> SecretChange:
    version = SecretVersion(number=1, value=SecretBytes(value), media=Media.JSON)
    return SecretChange(secret=Secret(name=name, versions=(version,)), expected=None)


@pytest.mark.parametrize("count", [997, 998, 999])
def test_a_secret_of_as_many_strings_as_the_server_takes_is_restored(
    site: Site, own: str, count: int
) -> None:
    """Check-and-set needs two more, so the last two go without."""
    source = site.source(own)
    assert source.write([of_strings(f"{own}a", count)]) == 1
    assert len(site.server.data(f"{own}data/a")["data"]) == (count + 1) // 2


def test_somebody_elses_version_is_not_taken_for_ours_without_check_and_set_either(
    site: Site, own: str
) -> None:
    source = site.source(own)
    theirs = Call(lambda _: site.server.put(own, "a", {"somebody": "else"}))
    site.proxy.fail(theirs, when=lambda request: request.body.startswith(b'{"data"'))
    with pytest.raises(Conflict, match="version 1"):
        source.write([of_strings(f"{own}a", 999)])
    assert site.server.data(f"{own}data/a?version=1")["data"] == {"somebody": "else"}


def test_a_secret_of_more_strings_is_named_and_the_rest_can_be_had(site: Site, own: str) -> None:
    with pytest.raises(SourceError, match=r"version 1 of secret 'own/a' was refused") as caught:
        site.source(own).write([of_strings(f"{own}a", 1_000)])
    assert "--exclude" in caught.value.hint


@pytest.mark.parametrize(
    ("words", "hint"), [("value too large", "1 MiB"), ("no space left on device", "disk room")]
)
def test_an_entry_that_the_storage_does_not_take_is_named_and_not_called_a_lost_reply(
    site: Site, own: str, words: str, hint: str
) -> None:
    body = json.dumps({"errors": [words]}).encode()
    rule = site.proxy.fail(Answer(500, body=body), when=method("POST", path="/data/a"), times=None)
    with pytest.raises(SourceError, match="was not stored") as caught:
        site.source(own).write([live(f"{own}a", b"{}")])
    assert hint in caught.value.hint
    assert rule.met == 1


def test_a_restore_that_stops_says_how_to_go_on_and_speaks_of_no_backup(site: Site, own: str) -> None:
    site.proxy.fail(Answer(400), when=method("POST", path="/data/"), times=None)
    with pytest.raises(SourceError, match="was refused") as refused:
        site.source(own).write([live(f"{own}a", b"{}")])
    site.proxy.fail(Answer(503), when=method("GET", path="/metadata/"), times=None)
    with pytest.raises(SourceUnavailable) as away:
        site.source(own).write([live(f"{own}a", b"{}")])
    for caught in (refused, away):
        assert "goes on where it stopped" in caught.value.hint
        assert "backup" not in caught.value.hint
