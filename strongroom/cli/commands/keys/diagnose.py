"""Try every configured key, and name what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from msgspec.structs import replace

from strongroom.cli.errors import UnsafeSetup
from strongroom.cli.shared.settings import asking
from strongroom.cli.shared.try_key import try_key
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import in_line
from strongroom.config import Settings, load_settings
from strongroom.errors import KeyServiceError, StrongroomError, UsageError, by_name
from strongroom.keys.errors import PassphraseNeeded
from strongroom.operations.key_management.diagnose import Diagnosed, KeyProblem, Remark, Use, remarks
from strongroom.operations.key_management.misplaced_keys import keys_on
from strongroom.sheet import Lines, Part, Sheet, Table
from strongroom.wiring import adapters


def diagnose(only: Sequence[str], *, whole: bool) -> Answer:
    """Try every key, or those named alone, and look where keys must not lie.

    Args:
        whole: each has to open here. Otherwise one whose passphrase is elsewhere, as a private half may be,
            is no worse: it proves itself there, in time.
    """
    settings = load_settings()
    ask = asking()
    keys = [try_key(name, settings, ask) for name in _names(only, settings)]
    uses = [Use(policy=name, recipients=policy.recipients) for name, policy in settings.policies.items()]
    judged = keys if whole else [_in_trust(key) for key in keys]
    said = [] if only else [*remarks(judged, uses), *_strays(settings)]
    wrong: list[StrongroomError] = [
        _error(key.name, key.problem) for key in judged if key.problem is not None
    ]
    wrong += [UnsafeSetup(f"{remark.about}: {remark.text}.") for remark in said if remark.wrong]
    return Answer(
        record={"keys": keys, "remarks": said},
        sheet=Sheet(parts=list(_parts(keys, said))),
        error=next(iter(wrong), None),
    )


def _in_trust(key: Diagnosed) -> Diagnosed:
    sealed = key.problem is not None and key.problem.code == PassphraseNeeded.__name__
    return replace(key, problem=None) if sealed else key


def _error(name: str, problem: KeyProblem) -> StrongroomError:
    kind = by_name(problem.code) or KeyServiceError
    return kind(f"keys.{name}: {problem.message}", hint=problem.hint or None)


def _names(wanted: Sequence[str], settings: Settings) -> list[str]:
    if unknown := [name for name in wanted if name not in settings.keys]:
        raise UsageError(
            f"There is no configured key '{unknown[0]}'.",
            hint=f"Configured: {', '.join(settings.keys) or 'none'}.",
        )
    return list(wanted or settings.keys)


def _strays(settings: Settings) -> list[Remark]:
    """Look for keys where backups lie: on every target at once, for one may be dead."""
    with ThreadPoolExecutor(max(1, len(settings.targets))) as threads:
        return [
            remark for some in threads.map(partial(_on_target, settings), settings.targets) for remark in some
        ]


def _on_target(settings: Settings, name: str) -> list[Remark]:
    about = f"targets.{name}"
    try:
        strays = keys_on(adapters.target(name, settings, prepare=False))
    except StrongroomError as error:
        return [Remark(about=about, text=f"was not looked through for keys: {error.message}")]
    text = "is a private key next to the backups: anyone who gets the target has both. Remove it"
    return [Remark(about=about, text=f"{in_line(stray)} {text}", wrong=True) for stray in strays]


def _parts(keys: Sequence[Diagnosed], said: Sequence[Remark]) -> Iterator[Part]:
    head = ("Key", "Kind", "Wrap", "Unwrap", "Quantum", "State")
    rows = [
        (key.name, key.kind, _time(key.wrap_ms), _opened(key), _quantum(key), _state(key)) for key in keys
    ]
    yield Table(head, rows, nothing="No key is configured.")
    yield Lines([f"{key.name}: {key.describes}" for key in keys if key.describes])
    for name, problem in ((key.name, key.problem) for key in keys if key.problem is not None):
        yield Lines([f"keys.{name}: {problem.message} ({problem.code})", f"  {problem.hint}"])
    yield Lines([_said(remark) for remark in said] if keys else [])


def _said(remark: Remark) -> str:
    return f"{'wrong' if remark.wrong else 'note'}: {remark.about}: {remark.text}"


def _time(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds:.1f} ms"


def _opened(key: Diagnosed) -> str:
    return _time(key.unwrap_ms) if key.opens_here else "-"


def _quantum(key: Diagnosed) -> str:
    return {None: "-", True: "withstands", False: "falls"}[key.post_quantum]


def _state(key: Diagnosed) -> str:
    if key.problem is not None:
        return key.problem.code
    return "seals and opens" if key.opens_here else "seals; opens elsewhere"
