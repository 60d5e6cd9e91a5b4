"""What a plug-in does wrong is told as its own, without its words, and everything else goes on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import pytest

from strongroom.cli.main import main
from strongroom.cli.shared.opening import target_of
from strongroom.cli.shared.sources import destination_of, way_into
from strongroom.cli.terminal import place
from strongroom.config import Settings, plugin_guard
from strongroom.config.kinds import TargetKind
from strongroom.config.registry import broken_plugins, find_kind
from strongroom.errors import KeyServiceError, SourceError, TargetError, UsageError
from strongroom.keys import Stanza
from strongroom.model import ListedSecret
from strongroom.operations.checks.backups import read_only
from strongroom.operations.errors import SecretNotRotated
from strongroom.system.errors import PluginBroken, PluginNotARecord
from strongroom.targets import Target
from strongroom.wiring import adapters
from strongroom.wiring.jobs import rotators
from strongroom.wiring.keys import identities, recipient
from tests.patience import PATIENCE, until
from tests.plugins.installed import TARGET, install
from tests.plugins.test_registry import NAMED, OURS, load, refused, site

__all__ = ["site"]

RECORD = TARGET.format(api=1, module="acme_tape", kind="tape")
FAULTY = f"""{RECORD.partition("def make")[0]}
from strongroom.plugins import ObjectInfo, Target, TargetIdentity

class Faulty(Target):
    def __init__(self, name, own):
        super().__init__(TargetIdentity(name=name, region=own.region, provider="acme", address="a"))

    def stat(self, name):
        raise KeyError("CANARY-stat")

    def put(self, name, chunks, *, size, sha256):
        try:
            self.stat(name)  # what it raises for itself it catches itself
        except KeyError:
            list(chunks)
        raise FileNotFoundError(2, "CANARY-put", "CANARY-path")

    def list(self, prefix=""):
        yield ObjectInfo(name="a", size=1)
        raise ValueError("CANARY-list")

    def read(self, name, *, offset=0, length=None):
        for each in self.list(name):
            yield each.name.encode()

def make(name, own, settings):
    return Faulty(name, own)
"""
SOURCE = '''
from typing import Annotated, ClassVar, Literal
from msgspec import Meta
from strongroom.plugins import ListedSecret, Source, SourceKind

class Tape(SourceKind, frozen=True, kw_only=True):
    """A tape."""

    PLUGIN_API: ClassVar[int] = 1
    MADE_BY: ClassVar[str] = "acme_tape:make"
    WRITABLE: ClassVar[bool] = False

    kind: Annotated[Literal["tape"], Meta(description="Which kind.")]

class TapeSource(Source):
    name = "tape"

    @property
    def address(self):
        raise OSError(5, "CANARY-address")

    def list(self, *, with_tags=False):
        yield ListedSecret("a", 1)
        raise ValueError("CANARY-list")

    def read(self, entries):
        raise ValueError("CANARY-read")

def make(name, own, settings):
    return TapeSource()
'''


KEY = '''
from typing import Annotated, ClassVar, Literal
from msgspec import Meta
from strongroom.plugins import KeyKind, Stanza

class Tape(KeyKind, frozen=True, kw_only=True):
    """A tape."""

    PLUGIN_API: ClassVar[int] = 1
    MADE_BY: ClassVar[str] = "acme_tape:recipient"
    OPENED_BY: ClassVar[str] = "acme_tape:identity"

    kind: Annotated[Literal["tape"], Meta(description="Which kind.")]

class Reel:
    type, label, fingerprint, post_quantum = "acme-tape", "one", "acme-tape:1", True

    def __init__(self):
        self.mine = "an attribute of its own"

    def describe(self):
        return "a tape"

    def recipient(self):
        return self

    def wrap(self, key, *, context):
        WRAP

    def unwrap(self, stanza, *, context):
        UNWRAP

def recipient(name, own, settings, ask):
    return Reel()

def identity(name, own, settings, ask):
    BEFORE
    yield Reel()
'''
RAISES, GIVES = 'raise KeyError("CANARY-words")', 'return "CANARY-words"'
ROTATOR = '''
from typing import Annotated, ClassVar, Literal
from msgspec import Meta
from strongroom.plugins import RotatorKind, RotatorWork

class Tape(RotatorKind, frozen=True, kw_only=True):
    """A tape."""

    PLUGIN_API: ClassVar[int] = 1
    MADE_BY: ClassVar[str] = "acme_tape:make"

    kind: Annotated[Literal["tape"], Meta(description="Which kind.")]

class Machine:
    def rotate(self):
        raise KeyError("CANARY-words")

    def read(self):
        return "CANARY-words"

def make(name, own, settings):
    def engine(secret):
        if secret == "none":
            raise KeyError("CANARY-words")
        return Machine() if secret == "machine" else "CANARY-words"

    return RotatorWork(does="turns", engine=engine)
'''


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where commands find the configuration that a test has written."""
    monkeypatch.setenv("STRONGROOM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("STRONGROOM_CONFIG", str(tmp_path / "strongroom.toml"))
    return tmp_path


def tape(site: Path, tmp_path: Path) -> Target:
    install(site, "acme-tape", FAULTY)
    return adapters.target("one", load(tmp_path, NAMED), prepare=False)


@pytest.mark.parametrize("method", ["stat", "list", "read"])
def test_what_fails_in_a_target_says_whose_it_is_and_where_without_its_words(
    site: Path, tmp_path: Path, method: str
) -> None:
    target = tape(site, tmp_path)
    with pytest.raises(TargetError) as told:
        list(getattr(target, method)("a"))
    said = f"{told.value.message} {told.value.hint}"
    assert "package acme-tape failed in its" in said
    assert "acme_tape.py:" in said
    assert "CANARY" not in said
    assert not told.value.transient


@pytest.mark.parametrize("method", ["list", "read"])
def test_what_fails_where_a_target_leaves_the_checks_of_names_to_its_base_is_told_alike(
    site: Path, tmp_path: Path, method: str
) -> None:
    text = FAULTY.replace("def list(self, prefix=", "def _list(self, prefix=")
    text = text.replace(
        "def read(self, name, *, offset=0, length=None)", "def _read(self, name, offset, length)"
    )
    install(site, "acme-tape", text)
    target = adapters.target("one", load(tmp_path, NAMED), prepare=False)
    with pytest.raises(TargetError, match=r"is not the name|cannot begin the name"):
        getattr(target, method)("../a")
    with pytest.raises(TargetError, match="package acme-tape failed in its") as told:
        list(getattr(target, method)("a"))
    assert "CANARY" not in f"{told.value.message} {told.value.hint}"


def test_the_way_to_a_fault_leads_into_the_plugin(site: Path, tmp_path: Path) -> None:
    with pytest.raises(TargetError) as told:
        tape(site, tmp_path).stat("a")
    trace, files = told.value.__traceback__, []
    while trace is not None:
        files.append(Path(trace.tb_frame.f_code.co_filename).name)
        trace = trace.tb_next
    assert files[-1] == "acme_tape.py"
    assert told.value.__cause__ is None


def test_what_the_system_refused_is_said_in_its_words_without_the_path(site: Path, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"FileNotFoundError \(No such file or directory\)") as told:
        tape(site, tmp_path).put("a", [b"x"], size=1, sha256=bytes(32))
    assert "CANARY" not in told.value.message


def test_what_a_target_is_given_fails_as_it_did(site: Path, tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise InterruptedError("the reader's own trouble")

    with pytest.raises(InterruptedError, match="the reader's own trouble"):
        tape(site, tmp_path).put("a", chunks(), size=1, sha256=bytes(32))


def test_what_fails_in_a_source_says_whose_it_is(site: Path, tmp_path: Path) -> None:
    install(site, "acme-tape", SOURCE, group="strongroom.sources")
    source = adapters.source("one", load(tmp_path, '[sources.one]\nkind = "tape"\n'))
    for work in (
        lambda: list(source.list()),
        lambda: list(source.read([ListedSecret("a", 1)])),
        lambda: source.address,
    ):
        with pytest.raises(SourceError, match="package acme-tape failed in its") as told:
            work()
        assert "CANARY" not in f"{told.value.message} {told.value.hint}"


def test_a_source_that_is_only_read_is_refused_by_name_where_one_is_to_be_restored_into(
    site: Path, here: Path
) -> None:
    install(site, "acme-tape", SOURCE, group="strongroom.sources")
    settings = load(here, '[sources.one]\nkind = "tape"\n')
    for ask in (lambda: destination_of("one", place.find()), lambda: adapters.destination("one", settings)):
        with pytest.raises(UsageError, match="'one': it is only read"):
            ask()
    assert way_into("one", place.find()) == ""


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('SECRET_FILES: ClassVar = ("region")', "SECRET_FILES is no tuple"),
        ('SECRET_FILES: ClassVar = ("no_such",)', "SECRET_FILES is no tuple"),
        ('SECRET_FILES: ClassVar = ("region",)', "which is no AbsolutePath"),
    ],
)
def test_secret_files_that_name_none_are_a_fault_of_the_record(
    site: Path, tmp_path: Path, line: str, why: str
) -> None:
    install(site, "acme-tape", RECORD.replace("    MADE_BY", f"    {line}\n    MADE_BY"))
    assert why in refused(tmp_path, PluginNotARecord).message


@pytest.mark.parametrize(
    "answer",
    [
        "def unfit(self):\n        raise ValueError('CANARY')",
        "def unfit(self):\n        yield 'CANARY'",
        "def store(self, vaults):\n        return 1 / 0",
        "@property\n    def folder(self):\n        return 1 / 0",
    ],
)
def test_a_record_that_fails_to_answer_is_used_no_more_and_the_rest_goes_on(
    site: Path, tmp_path: Path, answer: str
) -> None:
    text = RECORD.replace("\ndef make", f"\n    {answer}\n\ndef make")
    install(site, "acme-tape", text)
    settings = load(tmp_path, NAMED + OURS)
    for asked in settings.targets.values():
        asked.store({}), asked.folder
    [broken] = broken_plugins()
    assert "acme-tape: its settings cannot be asked for" in broken.message
    assert "CANARY" not in broken.message
    assert adapters.target("two", settings, prepare=True).stat("a") is None
    with pytest.raises(TargetError, match="cannot be asked"):
        adapters.target("one", settings, prepare=False).stat("a")


def test_a_misfit_may_name_its_key_as_a_word(site: Path, tmp_path: Path) -> None:
    answer = """
    def unfit(self):
        from strongroom.plugins import Misfit
        yield Misfit("region", "wrong", "Right.")
"""
    install(site, "acme-tape", RECORD.replace("\ndef make", f"{answer}\ndef make"))
    load_failed = pytest.raises(Exception, match=r"targets\.one\.region: wrong")
    with load_failed:
        load(tmp_path, NAMED)


@pytest.mark.parametrize(
    ("made_by", "why"),
    [
        ("acme_tape:no_such", "no_such"),
        ("nothing_of_that_name:make", "nothing_of_that_name"),
        ("acme_tape:short", "takes 1 positional argument"),
        ("acme_tape:raising", "ValueError at acme_tape.py"),
        ("acme_tape:other", "which is no strongroom.targets.Target"),
        ("acme_tape:typed", "Its own words"),
    ],
)
def test_check_config_tries_what_makes_a_thing(
    site: Path, here: Path, made_by: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = """
def short(name): pass
def raising(name, own, settings): raise ValueError("CANARY-secret")
def other(name, own, settings): return 7
def typed(name, own, settings):
    from strongroom.plugins import ConfigError
    raise ConfigError("Its own words")
"""
    install(site, "acme-tape", RECORD.replace('"acme_tape:make"', f'"{made_by}"') + more)
    settings = load(here, NAMED + OURS)
    assert main(["check", "config"]) != 0
    told = capsys.readouterr()
    assert why in told.out + told.err
    assert "No problem found" not in told.out
    assert "CANARY" not in told.out + told.err
    assert main(["check", "storage", "one"]) != 0
    told = capsys.readouterr()
    assert why in " ".join(told.err.split())
    assert "RightMissing" not in told.err
    with pytest.raises(TargetError, match=why):
        adapters.target("one", settings, prepare=False).stat("a")


def test_a_setting_called_path_is_no_folder_unless_the_record_says_so(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = RECORD.replace(
        "    region:", '    path: Annotated[str, Meta(description="P.", examples=["/a"])]\n    region:'
    )
    install(site, "acme-tape", text)
    settings = load(tmp_path, NAMED + 'path = "/somewhere/else"\n')
    assert settings.targets["one"].folder is None
    monkeypatch.setenv("STRONGROOM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("STRONGROOM_CONFIG", str(tmp_path / "strongroom.toml"))
    assert list(target_of("one", place.find()).list()) == []
    assert find_kind("targets", "tape", TargetKind) is type(settings.targets["one"])


def test_a_source_that_is_only_read_is_told_by_its_kind_and_not_as_files() -> None:
    assert "a source of kind 'tape' is read, not written" in read_only("tape").what
    assert "files are read" in read_only("files").what


# -- keys and rotators ---------------------------------------------------------------------------


def key(
    site: Path, tmp_path: Path, *, wrap: str = RAISES, unwrap: str = RAISES, before: str = ""
) -> Settings:
    text = KEY.replace("UNWRAP", unwrap).replace("WRAP", wrap).replace("BEFORE", before)
    install(site, "acme-tape", text, group="strongroom.recipients")
    return load(tmp_path, '[keys.one]\nkind = "tape"\n')


@pytest.mark.parametrize(("body", "why"), [(RAISES, "KeyError at acme_tape.py"), (GIVES, "it gave str")])
def test_what_fails_in_a_key_says_whose_it_is_without_its_words(
    site: Path, tmp_path: Path, body: str, why: str
) -> None:
    settings = key(site, tmp_path, wrap=body, unwrap=body)
    [opener, *_] = identities(settings)
    stanza = Stanza(type="acme-tape", label="one", args={})
    for work, name in (
        (lambda: recipient("one", settings).wrap(bytes(32), context=b""), "wrap"),
        (lambda: opener.unwrap(stanza, context=b""), "unwrap"),
    ):
        with pytest.raises(
            KeyServiceError, match=rf"package acme-tape failed in its '{name}': {why}"
        ) as told:
            work()
        assert "CANARY" not in f"{told.value.message} {told.value.hint}"


def test_a_key_that_is_made_to_open_and_fails_leaves_the_others_to_open(site: Path, tmp_path: Path) -> None:
    settings = key(site, tmp_path, before=RAISES)
    [broken, *_] = identities(settings)
    assert broken.unwrap(Stanza(type="passphrase", label="another", args={}), context=b"") is None
    with pytest.raises(PluginBroken, match="package acme-tape failed in its"):
        broken.unwrap(Stanza(type="acme-tape", label="one", args={}), context=b"")


def test_a_key_that_opens_nothing_here_says_so_and_wraps_as_it_is(site: Path, tmp_path: Path) -> None:
    stanza = 'return Stanza(type="acme-tape", label="one", args={"key": key.hex()})'
    settings = key(site, tmp_path, wrap=stanza, unwrap="return None")
    wrapped = recipient("one", settings).wrap(bytes(32), context=b"")
    [opener, *_] = identities(settings)
    assert opener.unwrap(wrapped, context=b"") is None


def test_what_a_key_gives_to_seal_with_is_taken_and_held_to_what_it_has_to_be(
    site: Path, tmp_path: Path
) -> None:
    [opener, *_] = identities(key(site, tmp_path))
    assert opener.recipient().fingerprint == "acme-tape:1"
    with pytest.raises(KeyServiceError, match="package acme-tape failed in its 'wrap': KeyError"):
        opener.recipient().wrap(bytes(32), context=b"")
    type(opener).__mro__[-2].recipient = lambda _: "CANARY"  # type: ignore[attr-defined]
    [opener, *_] = identities(load(tmp_path, '[keys.one]\nkind = "tape"\n'))
    with pytest.raises(KeyServiceError, match=r"'recipient': it gave str, and has to give Recipient"):
        opener.recipient()


@pytest.mark.parametrize(
    ("secret", "step", "why"),
    [
        ("none", "engine", "KeyError at acme_tape.py"),
        ("machine", "rotate", "KeyError at acme_tape.py"),
        ("machine", "read", "it gave str, and has to give SecretBytes or None"),
    ],
)
def test_what_fails_in_an_engine_is_a_secret_not_rotated_that_says_whose_it_is(
    site: Path, tmp_path: Path, secret: str, step: str, why: str
) -> None:
    install(site, "acme-tape", ROTATOR, group="strongroom.rotators")
    [rotator] = rotators(load(tmp_path, '[rotators.one]\nkind = "tape"\ninclude = ["*"]\n'))
    assert rotator.work.engine is not None
    begin = rotator.work.engine
    with pytest.raises(SecretNotRotated, match=f"package acme-tape failed in its '{step}': {why}") as told:
        begin(secret) if step == "engine" else getattr(begin(secret), step)()
    assert "CANARY" not in f"{told.value.message} {told.value.hint}"


def test_an_engine_that_is_none_is_named(site: Path, tmp_path: Path) -> None:
    install(site, "acme-tape", ROTATOR, group="strongroom.rotators")
    [rotator] = rotators(load(tmp_path, '[rotators.one]\nkind = "tape"\ninclude = ["*"]\n'))
    assert rotator.work.engine is not None
    with pytest.raises(PluginNotARecord, match="package acme-tape made a str, which has no 'rotate'"):
        rotator.work.engine("else")


# -- answers of another type, and none ----------------------------------------------------------


def test_an_answer_of_another_type_is_a_failure(site: Path, tmp_path: Path) -> None:
    text = FAULTY.replace('raise KeyError("CANARY-stat")', 'return "CANARY"')
    text = text.replace('yield ObjectInfo(name="a", size=1)', 'yield "CANARY"')
    install(site, "acme-tape", text)
    target = adapters.target("one", load(tmp_path, NAMED), prepare=False)
    with pytest.raises(TargetError, match=r"'stat': it gave str, and has to give ObjectInfo or None"):
        target.stat("a")
    with pytest.raises(TargetError, match=r"'list': it gave str, and has to give ObjectInfo"):
        list(target.list())


def test_a_plugin_that_does_not_come_back_is_named_in_the_log(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    released = Event()
    monkeypatch.setattr(plugin_guard, "UNANSWERED", 0.06)
    monkeypatch.setattr(plugin_guard, "_watch", plugin_guard._Watch())
    target = tape(site, tmp_path)
    monkeypatch.setattr(
        sys.modules["acme_tape"], "KeyError", lambda _: released.wait(PATIENCE) or OSError(), raising=False
    )
    working = Thread(target=_stat, args=(target,))
    working.start()
    try:
        until(lambda: "plugin-does-not-answer" in caplog.text, what="a line in the log")
    finally:
        released.set()
        working.join()
    [record] = [each for each in caplog.records if each.message == "plugin-does-not-answer"]
    assert "package acme-tape, 'stat'" in record.plugin  # type: ignore[attr-defined]
    assert plugin_guard._watch.calls == {}


def _stat(target: Target) -> None:
    with suppress(TargetError):
        target.stat("a")
