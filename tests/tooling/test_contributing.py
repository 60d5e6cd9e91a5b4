"""CONTRIBUTING.md says what a new thing touches: each is done here in a copy, and touches no more.

Nothing of a copy is ever seen by this process: what was added is tried in one of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("strongroom", "workers", "tasks", "tests/sources", "tests/targets")
ALONE = (
    "beat_schedule.py",
    "pyproject.toml",
    "tests/__init__.py",
    "tests/conftest.py",
    "tests/nothing_skipped.py",
)


class Tree:
    """A copy of the tree, and what was touched in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.touched: set[str] = set()

    def write(self, path: str, text: str) -> None:
        """Write a new file."""
        file = self.root / path
        assert not file.exists(), f"{path} is there already"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def edit(self, path: str, before: str, after: str) -> None:
        """Change an existing file."""
        file = self.root / path
        assert file.read_text().count(before) == 1, f"{path} has not just one {before!r}"
        file.write_text(file.read_text().replace(before, after))
        self.touched.add(path)

    def register(self, section: str, kind: str, record: str) -> None:
        """Write down a kind where the kinds are looked up, and where others find them."""
        row = f'{section}": {{\n'
        self.edit(
            "strongroom/config/registry.py",
            f'    "{row}',
            f'    "{row}        "{kind}": f"{{_RECORDS}}.{section}:{record}",\n',
        )
        group = f'[project.entry-points."strongroom.{section}"]\n'
        self.edit("pyproject.toml", group, f'{group}{kind} = "strongroom.config.{section}:{record}"\n')

    def run(self, *words: str, **env: str) -> str:
        """Run Python in the copy, and return what it printed."""
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": str(self.root), "HOME": str(self.root), **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def conform(self, test: str) -> None:
        """Run a test module that subclasses a conformance suite."""
        self.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", test)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    for folder in COPIED:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (*ALONE, *(str(each.relative_to(ROOT)) for each in (ROOT / "tests").glob("*.py"))):
        shutil.copy(ROOT / file, tmp_path / file)
    return Tree(tmp_path)


def said_of(thing: str) -> set[str]:
    """Return the existing files that CONTRIBUTING.md tells to touch for a new thing of a kind."""
    rows = (line.split("|") for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines())
    [touch] = [cells[2] for cells in rows if len(cells) > 3 and cells[1].strip() == thing]
    named = re.findall(r"`([\w./]+)`", touch)
    return {path for path in named if (ROOT / path).is_file()}


TOY = """
[sources.own]
kind = "toy"
word = "CANARY-word"
"""
BENCHES = """
[targets.one]
kind = "bench"
region = "eu"
ticket_file = "{ticket}"
[policies.names]
kind = "metadata"
targets = ["one", "two"]
[targets.two]
kind = "bench"
region = "us"
"""


def test_a_source_is_a_package_and_its_record(tree: Tree) -> None:
    tree.write(
        "strongroom/sources/toy/__init__.py",
        '''from strongroom.sources.memory import MemoryStore


class Toy(MemoryStore):
    """Secrets that a child keeps."""

    kind = "toy"


def make(name, own, settings):
    made = Toy([], name=name)
    made.word = own.word
    return made
''',
    )
    tree.edit(
        "strongroom/config/sources.py",
        "\nclass FilesSourceSettings(",
        '''
class ToySource(SourceKind, frozen=True, kw_only=True):
    """What a child keeps."""

    MADE_BY: ClassVar[str] = "strongroom.sources.toy:make"
    LIBRARY: ClassVar[str | None] = "msgspec"
    SPELT: ClassVar[str] = "toy:WORD"
    EXAMPLE: ClassVar[str] = "#[sources.toy]\\n#kind = \\"toy\\"\\n#word = \\"teddy\\"\\n"

    kind: Annotated[Literal["toy"], SOURCE_KIND]
    word: Annotated[Text, Meta(description="What the child says.", examples=["teddy"])]

    @classmethod
    def of_word(cls, kind: str, place: str) -> OwnSource | None:
        text = table("sources.toy", {"kind": "toy", "word": place})
        return OwnSource("toy", text) if kind == "toy" else None


class FilesSourceSettings(''',
    )
    tree.register("sources", "toy", "ToySource")
    tree.write(
        "tests/sources/test_toy.py",
        """import pytest

from strongroom.sources.toy import Toy
from strongroom.plugins.conformance.sources import DestinationConformance


class TestToy(DestinationConformance):
    @pytest.fixture
    def destination(self):
        return Toy()
""",
    )
    tree.conform("tests/sources/test_toy.py")
    (tree.root / "strongroom.toml").write_text(TOY)
    tried = """
from pathlib import Path
from strongroom.config import load_settings
from strongroom.config.text import SOURCES, parse_source
from strongroom.config.text import default_config_text
from strongroom.cli.commands.checks.configured import _needed
from strongroom.wiring import adapters
settings = load_settings({}, Path("strongroom.toml"))
print(adapters.source("own", settings).word, "own" in adapters.destinations(settings), _needed(settings))
print("toy:WORD" in SOURCES, parse_source("toy:bear").name, "#[sources.toy]" in default_config_text())
"""
    assert tree.run("-c", tried).splitlines() == [
        "CANARY-word True {'msgspec'}",
        "True toy True",
    ]
    assert tree.touched == said_of("source")


def test_a_target_is_a_package_and_its_record(tree: Tree) -> None:
    tree.write(
        "strongroom/targets/bench/__init__.py",
        """from strongroom.targets.memory import MemoryTarget


def make(name, own, settings):
    return MemoryTarget(name=name, region=own.region)
""",
    )
    tree.edit(
        "strongroom/config/targets.py",
        "\nclass SftpTargetSettings(",
        '''
class BenchTargetSettings(TargetKind, frozen=True, kw_only=True):
    """A bench in a park."""

    MADE_BY: ClassVar[str] = "strongroom.targets.bench:make"
    SECRET_FILES: ClassVar[tuple[str, ...]] = ("ticket_file",)
    SPELT: ClassVar[str] = "REGION=bench://PARK"

    kind: Annotated[Literal["bench"], TARGET_KIND]
    park: Annotated[Text, Meta(description="The park.", examples=["centre"])] = "centre"
    region: Annotated[Region, Meta(examples=["eu"])]
    provider: Annotated[Provider, Meta(examples=["city"])] = "city"
    ticket_file: Annotated[AbsolutePath | None, Meta(description="The ticket.", examples=["/t"])] = None

    @classmethod
    def of_word(cls, place: str, url: SplitResult) -> dict[str, str] | None:
        return {"kind": "bench", "park": url.netloc} if url.scheme == "bench" else None

    def store(self, vaults: Vaults) -> tuple[str, ...] | None:
        return "park", self.park

    def copied_by(self, copy: str) -> tuple[str, ...]:
        return (f"carry bench://{self.park} {copy}",)


class SftpTargetSettings(''',
    )
    tree.register("targets", "bench", "BenchTargetSettings")
    tree.write(
        "tests/targets/test_bench.py",
        """import pytest

from strongroom.targets.memory import MemoryTarget
from strongroom.plugins.conformance.targets import TargetConformance


class TestBench(TargetConformance):
    @pytest.fixture
    def target(self):
        return MemoryTarget(name="bench")
""",
    )
    tree.conform("tests/targets/test_bench.py")
    ticket = tree.root / "ticket"
    ticket.write_text("CANARY-ticket")
    ticket.chmod(0o644)
    (tree.root / "strongroom.toml").write_text(BENCHES.format(ticket=ticket))
    tried = """
from pathlib import Path
from strongroom.cli.commands.backup.kit import _copy
from strongroom.config import ConfigProblems, load_settings
from strongroom.config.text import TARGETS, parse_target
try:
    load_settings({}, Path("strongroom.toml"))
except ConfigProblems as problems:
    print(problems)
Path("ticket").chmod(0o600)
Path("strongroom.toml").write_text(Path("strongroom.toml").read_text().partition("[policies")[0])
from strongroom.wiring import adapters
settings = load_settings({}, Path("strongroom.toml"))
print(adapters.target("one", settings, prepare=False).name, parse_target("eu=bench://west").settings)
print(*_copy(settings, "one"), sep="; ")
"""
    printed = tree.run("-c", tried)
    assert "others than its owner may use this file" in printed
    assert "'two' and 'one' lie in one park: they are lost together" in printed
    assert "one {'kind': 'bench', 'park': 'west'}" in printed
    assert 'carry bench://centre "$COPY"' in printed
    assert tree.touched == said_of("target")


def test_a_step_is_a_kind_and_an_action_of_its_job(tree: Tree) -> None:
    tree.edit(
        "strongroom/state/records.py",
        '    CHECK = "check"\n    DRIFT',
        '    CHECK = "check"\n    POLISH = "polish"\n    DRIFT',
    )
    tree.edit(
        "strongroom/operations/checks/check_job.py",
        "StepKind.CHECK: StepAction(perform, CheckResult, Pool.VERIFY)",
        "StepKind.CHECK: StepAction(perform, CheckResult, Pool.VERIFY), "
        "StepKind.POLISH: StepAction(perform, CheckResult, Pool.DRILL)",
    )
    tried = """
from workers.rights import may_send, queue_of
print(queue_of("strongroom.step.polish"), *sorted(
    role for role in ("submit", "beat", "control", "seal", "verify", "drill", "prune")
    if "strongroom.step.polish" in may_send(role)
))
from tasks.steps import STEPS
print(*(name.value for name in STEPS if name.value == "polish"))
"""
    assert tree.run("-c", tried).splitlines() == ["drill control drill verify", "polish"]
    assert {path for path in tree.touched if "checks/check_job" not in path} == said_of("step")


def test_a_setting_is_a_field_of_its_section(tree: Tree) -> None:
    tree.edit(
        "strongroom/config/alerts.py",
        "class MailSettings(SettingsSection, frozen=True, kw_only=True):",
        '''class BellSettings(SettingsSection, frozen=True, kw_only=True):
    """A bell."""

    loud: Annotated[bool, Meta(description="Whether it is loud.", examples=[True])] = False


class MailSettings(SettingsSection, frozen=True, kw_only=True):''',
    )
    tree.edit(
        "strongroom/config/alerts.py",
        'examples=["smtp.example.org"]),\n    ] = None\n',
        'examples=["smtp.example.org"]),\n    ] = None\n    bell: BellSettings = BellSettings()\n',
    )
    (tree.root / "strongroom.toml").write_text("[mail.bell]\nloud = true\n")
    tried = """
from pathlib import Path
from strongroom.config import load_settings
print(load_settings({}, Path("strongroom.toml")).mail.bell.loud)
"""
    assert (
        tree.run("-c", tried.replace("from strongroom.config.reference import configuration_page\n", ""))
        == "True\n"
    )
    assert tree.touched == {"strongroom/config/alerts.py"}


def test_an_alert_is_a_kind_and_a_rule(tree: Tree) -> None:
    tree.edit(
        "strongroom/alert_kinds.py",
        "\nKINDS: Final[Mapping[str, AlertKind]] = {\n",
        """
KINDS: Final[Mapping[str, AlertKind]] = {
    "toy.broken": AlertKind(area="targets", means="A child cries.", do="Mend '{subject}'."),
""",
    )
    tree.edit(
        "strongroom/operations/judge/backups.py",
        "    away = set(facts.away)\n    for place in facts.places:\n        if place.away is not None:\n",
        '    yield wrong("toy.broken", "bear", what="the bear has one eye")\n'
        "    away = set(facts.away)\n    for place in facts.places:\n        if place.away is not None:\n",
    )
    tried = """
from strongroom.operations.judge.fact_records import InstallationFacts, AlertLimits
from strongroom.operations.judge.judgement import alerts, judge
facts = InstallationFacts(now=0.0)
print([(one.what, one.to_do) for one in alerts(facts, AlertLimits()) if one.key == "toy.broken:bear"])
print(sum(one.key == "toy.broken:bear" for one in judge(facts, AlertLimits())))
"""
    assert tree.run("-c", tried).splitlines() == ["[('the bear has one eye', \"Mend 'bear'.\")]", "1"]
    assert tree.touched == said_of("alert") | {"strongroom/operations/judge/backups.py"}


def test_a_command_is_what_it_takes_its_work_and_its_rows(tree: Tree) -> None:
    tree.edit(
        "strongroom/cli/commands/alerts/arguments.py",
        "\nCOMMANDS = {\n",
        '\n\nclass Greet(Struct, frozen=True, kw_only=True):\n    """Nothing is said of it."""\n\n\n'
        'COMMANDS = {\n    "hello": Command(Greet, "hello:say_hello", "It greets."),\n',
    )
    tree.write(
        "strongroom/cli/commands/alerts/hello.py",
        """from strongroom.cli.terminal.answer import Answer
from strongroom.sheet import Sheet


def say_hello(given, output):
    return Answer(record={"said": "hello"}, sheet=Sheet(title="Hello"))
""",
    )
    for path, before, after in (
        (
            "table.py",
            "GROUPS: Final[dict[str, dict[str, CommandEntry]]] = {",
            '"Toys": {"hello": CommandEntry("alerts", "greet")},',
        ),
        ("values_out.py", "GIVE_NONE: Final[dict[str, tuple[str, ...]]] = {", '"a greeting": ("hello",),'),
        ("backups_read.py", "READ_NONE: Final[dict[str, tuple[str, ...]]] = {", '"a greeting": ("hello",),'),
    ):
        tree.edit(f"strongroom/cli/{path}", before, f"{before}\n    {after}")
    assert json.loads(tree.run("-m", "strongroom.cli", "hello", "--json"))["said"] == "hello"
    assert "greet" in tree.run("-m", "strongroom.cli", "--help")
    assert "It greets." in tree.run("-m", "strongroom.cli", "hello", "--help")
    assert {path for path in tree.touched if not path.endswith("/arguments.py")} == said_of("command")
