"""diagnose-backup-encryption: try every configured key, and name what is wrong with it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgspec

from strongroom.cli.errors import UnsafeSetup
from strongroom.cli.shared.settings import asking
from strongroom.cli.shared.try_key import try_key
from strongroom.cli.terminal.output import Output, in_line, table
from strongroom.config import Settings, load_settings
from strongroom.errors import KeyServiceError, StrongroomError, UsageError, by_name
from strongroom.operations.key_management.diagnose import Diagnosed, Problem, Remark, Use, remarks
from strongroom.operations.key_management.misplaced_keys import keys_on
from strongroom.wiring import adapters


def diagnose_encryption(arguments: Namespace, output: Output) -> None:
    settings = load_settings()
    ask = asking()
    keys = [try_key(name, settings, ask) for name in _names(arguments.key, settings)]
    uses = [Use(policy=name, recipients=policy.recipients) for name, policy in settings.policies.items()]
    said = [] if arguments.key else [*remarks(keys, uses), *_strays(settings)]
    document = {"keys": msgspec.to_builtins(keys), "remarks": msgspec.to_builtins(said)}
    output.answer(document, _lines(keys, said))
    for name, problem in ((key.name, key.problem) for key in keys if key.problem is not None):
        raise _error(name, problem)
    for remark in said:
        if remark.wrong:
            raise UnsafeSetup(f"{remark.about}: {remark.text}.")


def _error(name: str, problem: Problem) -> StrongroomError:
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


def _lines(keys: Sequence[Diagnosed], said: Sequence[Remark]) -> list[str]:
    if not keys:
        return ["No key is configured."]
    rows = [
        (key.name, key.kind, _time(key.wrap_ms), _opened(key), _quantum(key), _state(key)) for key in keys
    ]
    lines = table(("KEY", "KIND", "WRAP", "UNWRAP", "QUANTUM", "STATE"), rows)
    lines += ["", *(f"{key.name}: {key.describes}" for key in keys if key.describes)]
    for key in keys:
        if key.problem is not None:
            lines += [
                "",
                f"keys.{key.name}: {key.problem.message} ({key.problem.code})",
                f"  {key.problem.hint}",
            ]
    return [*lines, *([""] if said else []), *(_said(remark) for remark in said)]


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
