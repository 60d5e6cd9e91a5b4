"""Acme's plug-ins against the suites that Strongroom's own are held to."""

from pathlib import Path

import pytest
from acme_strongroom.badge import Badge, BadgeIdentity, BadgeRecipient
from acme_strongroom.bell import Bell, BellChannel
from acme_strongroom.door import Door, make
from acme_strongroom.drawer import Drawer, DrawerTarget
from acme_strongroom.sheet import Sheet, SheetSource
from msgspec.structs import replace

from strongroom.plugins.conformance import (
    ChannelConformance,
    RecipientConformance,
    RotatorConformance,
    SettingsConformance,
    SharedConformance,
    SourceConformance,
)


def drawer(path):
    return DrawerTarget("drawer", Drawer(kind="drawer", path=path, region="office"))


class TestDrawerSettings(SettingsConformance):
    section = "targets"
    record = Drawer
    example = 'kind = "drawer"\npath = "/mnt/acme/drawer.db"\nregion = "office"'


class TestDrawer(SharedConformance):
    @pytest.fixture
    def target(self, tmp_path):
        (tmp_path / "drawer.db").touch()
        return drawer(tmp_path / "drawer.db")

    @pytest.fixture
    def away(self, tmp_path):
        (tmp_path / "damaged.db").write_bytes(b"CANARY" * 1000)
        return [drawer(tmp_path / "damaged.db"), drawer(tmp_path / "no" / "drawer.db"), drawer(tmp_path)]


class TestSheetSettings(SettingsConformance):
    section = "sources"
    record = Sheet
    example = 'kind = "sheet"\npath = "/srv/acme/sheet.tsv"'


class TestSheet(SourceConformance):
    @pytest.fixture
    def filled(self, tmp_path):
        def fill(secrets):
            path = tmp_path / "sheet.tsv"
            lines = [f"{held.name}\t{held.versions[0].value.reveal().hex()}\n" for held in secrets]
            path.write_text("".join(lines))
            return SheetSource("sheet", path)

        return fill

    refilled = True

    @pytest.fixture
    def away(self, tmp_path):
        (tmp_path / "damaged.tsv").write_text("CANARY without a tab\n")
        (tmp_path / "bytes.tsv").write_bytes(b"CANARY\xff\t00\n")
        names = ("no.tsv", "damaged.tsv", "bytes.tsv", ".")
        return [SheetSource("sheet", tmp_path / name) for name in names]

    def kept(self, held):
        return replace(held, tags={})


class TestBadgeSettings(SettingsConformance):
    section = "keys"
    record = Badge
    example = 'kind = "badge"\nfile = "/etc/acme/badge"'


class TestBadge(RecipientConformance):
    post_quantum = True
    words = "anyone with the badge `recovery`"
    key = bytes(range(100, 132))

    @pytest.fixture
    def recipient(self):
        return BadgeRecipient(self.key, label="recovery")

    @pytest.fixture
    def same(self):
        return BadgeRecipient(self.key, label="recovery")

    @pytest.fixture
    def identity(self):
        return BadgeIdentity(self.key)

    @pytest.fixture
    def stranger(self):
        return BadgeIdentity(bytes(32))

    @pytest.fixture
    def secrets(self):
        return [self.key]


class TestDoorSettings(SettingsConformance):
    section = "rotators"
    record = Door
    example = 'kind = "door"\npath = "/srv/acme/door"\ninclude = ["prod/door/*"]'


class TestDoor(RotatorConformance):
    @pytest.fixture
    def door(self, tmp_path):
        return tmp_path / "door"

    @pytest.fixture
    def work(self, door):
        return make("door", Door(kind="door", path=door), None)

    @pytest.fixture
    def accepts(self, door):
        return lambda value: door.exists() and door.read_text() == value

    @pytest.fixture
    def refusing(self, tmp_path):
        return make("door", Door(kind="door", path=tmp_path / "no" / "door"), None)


class TestBellSettings(SettingsConformance):
    section = "channels"
    record = Bell
    example = 'kind = "bell"\npath = "/srv/acme/bell"'


class TestBell(ChannelConformance):
    @pytest.fixture
    def bell(self, tmp_path):
        return tmp_path / "bell"

    @pytest.fixture
    def channel(self, bell):
        return BellChannel("mine", bell)

    @pytest.fixture
    def received(self, bell):
        return lambda: bell.read_text().splitlines()

    @pytest.fixture
    def away(self):
        return BellChannel("mine", Path("/no/such/folder/bell"))
