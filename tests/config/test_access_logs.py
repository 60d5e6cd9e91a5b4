"""Settings of access logs."""

from __future__ import annotations

import pytest

from strongroom.wiring.calendar import calendar
from strongroom.wiring.watching import access_logs
from tests.config.loading import Place

S3 = '[targets.eu]\nkind = "s3"\nbucket = "acme"\nprefix = "sr/"\nregion = "eu"\n'
KEYS = (
    '[vaults.v]\naddress = "https://v:8200"\ntoken_file = "t"\n'
    '[keys.t]\nkind = "transit"\nvault = "v"\nkey = "backup"\n'
    '[keys.k]\nkind = "kms"\nkey_id = "arn:aws:kms:eu:1:key/0"\nregion = "eu"\n'
)
VAULT = '[access_logs.v]\nformat = "vault"\ndirectory = "/var/log/vault"\n'
TRAIL = '[access_logs.t]\nformat = "cloudtrail"\ndirectory = "/x"\n'


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[access_logs.a]\nformat = "s3"', "access_logs.a.directory"),
        (f'{VAULT}[access_logs.v.store]\nkind = "s3"\nbucket = "b"\nregion = "r"', "access_logs.v.directory"),
        (f'{VAULT}targets = ["CANARY-none"]', "access_logs.v.targets"),
        (f'{VAULT}networks = ["CANARY"]', "access_logs.v.networks"),
        ('[access_logs.a]\nformat = "CANARY"\ndirectory = "/x"', "access_logs.a.format"),
        (VAULT, "access_logs.v.format"),
        (f"{VAULT}silent = 1", "access_logs.v.silent"),
    ],
)
def test_a_log_that_cannot_be_read_so_is_refused_with_its_key(place: Place, text: str, key: str) -> None:
    assert key in [problem.key for problem in place.problems(text)]


def test_each_log_is_searched_for_the_places_and_keys_that_it_can_know(place: Place) -> None:
    found = {one.name: one.watch for one in access_logs(place.load(S3 + KEYS + VAULT + TRAIL))}
    assert (found["v"].places, found["v"].keys) == ((), ("transit//backup",))
    assert (found["t"].places, found["t"].keys) == (("acme/sr/",), ("arn:aws:kms:eu:1:key/0",))


def test_the_calendar_reads_logs_where_there_are_some(place: Place) -> None:
    def needs(text: str) -> str:
        return next(entry.needs for entry in calendar(place.load(text)) if entry.name == "access")

    assert needs(KEYS + VAULT) == ""
    assert "access_logs" in needs("")
