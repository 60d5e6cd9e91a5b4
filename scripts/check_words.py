"""Refuse phrases that readers stumble over, and private words where the field has a term.

What is read: the pages in ``PAGES``, the files in ``SHIPPED`` with their comments, and of each folder in
``FOLDERS`` the texts that a person can see.
These are string literals, docstrings of settings and errors (pages print them), and names of
modules. Comments, other docstrings, identifiers and code between backticks are not read. Nor are pages that
the code makes: their words are those of the code.

To add a phrase, put one line into ``PHRASES``: a regular expression (small letters; a space matches a line
break too) and what to write instead. No line can be exempted: reword it.
``python scripts/check_words.py FOLDER...`` reads further folders.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

FOLDERS: tuple[str, ...] = ("strongroom", "tasks", "workers")
"""Folders of code that are checked."""

PAGES = ("README.md", "CONTRIBUTING.md", "docs/*.md", "ops/*.md", "strongroom/container/FORMAT.md")
"""Pages, as git understands it."""

SHIPPED = (
    *("Makefile", "docker-compose.yml", "ops/Dockerfile"),
    *("ops/compose/*", "ops/systemd/*"),
)
"""Files that an administrator edits, so that their comments are documents, too."""

MADE = "<!-- Made from the code"
"""How a page begins, below its title, that the code makes."""

PHRASES = {
    # -- contorted --
    r"for want of": "because there is no … ('because no key is here')",
    r"stays what it (was|is)|was known to be": "does not change ('its status does not change')",
    r"(is|are|was|were|be) told of": "learns of, sees, is notified of ('operators are notified')",
    r"(is|are|was|were) told (apart|from)": "differs from, is distinguished from",
    r"what (lies|lay|is lying) there|wh(at|ich) lies on": "the objects there, the stored backups",
    r"(lies|lie|lay) (there|beside|about)": "is stored, is there, is next to ('stored next to the backup')",
    r"(is|are|was|were) (?-i:none)": "say what is missing ('no backup exists', 'the value is not JSON')",
    r"of its own accord": "automatically, or name who does it ('the scheduler repairs it')",
    r"(was|were|be|been|is|are) looked at": "is checked, is inspected, is read",
    r"(a|the|one|last) look (at|tells|reads)|by (one|the) look|by looking": "check ('by the last check')",
    r"(look|looks|looked) (who|whether|what)": "check who, check whether ('check who can delete there')",
    r"in the place of": "instead of, replaces",
    r"what came of": "the outcome, the result of",
    r"(is|are|was|were) (away|told)": "does not answer, is not mounted; is notified, is reported",
    r"whoever|whomever": "anyone who, or the role ('an attacker who …', 'the auditor')",
    r"for ever": "forever, permanently; or say until when",
    r"(as|so) long as it lasts": "while it lasts, until it is resolved",
    r"goes by|go by": "uses, follows ('repair uses the record')",
    r"of ours|not ours": "name the owner ('Strongroom's own', 'another installation's')",
    r"at the (least|most)": "at least, at most",
    r"(is|are|was|were|be) (to be )?done with": "is retired, is no longer needed",
    r"brings? (it|them|each|this) up\b|brought up": "restores, copies ('repair copies the replica')",
    r"(is|are|was|were) heeded|heeds?": "is followed, follows, respects",
    r"till": "until",
    r"(that|which|what|it) lacks|lacks (it|one|none)": "is missing, does not have ('the missing replica')",
    # -- private words --
    r"keepers?": "key service (KMS, HSM, Vault); custodian for a person",
    r"anew": "again ('encrypt again', 'print the kit again')",
    r"(taken|took|takes) (away|over)": "removes, deletes; adopts",
    r"left aside|passed over|passes over|passing over": "ignored, skipped ('the object is ignored')",
    r"ways? in\b": "recipient, key that opens it",
    r"ways? back": "undo file, rollback ('restore writes an undo file first')",
    r"at hand": "available, on this host ('if a key is available')",
    r"sealed for|seals for|seal for": "sealed to, encrypted to ('sealed to two recipients', as age says)",
}
"""What is refused, and what to write instead."""

MODULES = {
    "within": "deadlines",
    "homes": "same_server",
    "left_out": "omitted_recipients",
    "looked": "record_verification",
    "looks": "inspection",
    "looking": "read_only",
    "shown": "render_secret",
    "shredded": "shred_guard",
    "accessed": "access_log",
    "apart": "key_separation",
    "typed": "identity_options",
    "origin": "restore_source",
    "carry": "transfer",
    "replaced": "remove_replaced",
    "resign": "re_sign",
    "driven": "process_lock",
    "spares": "key_redundancy",
    "keepers": "key_services",
    "asking": "prompts",
    "erasing": "key_destruction",
    "unasked": "prompting",
    "standing": "schema_check",
    "telling": "due_notifications",
    "ways": "unlock_paths",
}
"""Names of modules that only their author reads, and the field's."""

_WORDS = [
    (re.compile(rf"\b(?:{phrase})\b".replace(" ", r"\s+"), re.IGNORECASE), instead)
    for phrase, instead in PHRASES.items()
]
_CODE = re.compile(
    r"^(```|~~~).*?^\1[^\n]*$|^    [^\n]*$|`[^`\n]*`|\]\([^)]*\)|^<!--.*?-->", re.MULTILINE | re.DOTALL
)


def refused(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield each refused phrase: the line of the text, what stands there, and what to write instead."""
    for words, instead in _WORDS:
        for match in words.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, " ".join(match[0].split()), instead


def in_page(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the refused phrases of a Markdown page, code left out."""
    yield from refused(_CODE.sub(lambda code: re.sub(r"[^\n]", " ", code[0]), text))


def in_comments(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the refused phrases of a file whose comments begin with ``#``, also from one line to the next."""
    yield from refused(text.replace("#", " "))


def in_source(text: str, *, classes: bool) -> Iterator[tuple[int, str, str]]:
    """Yield the refused phrases of texts in Python that a person can see.

    Args:
        classes: whether a page prints the docstrings of its classes.
    """
    tree = ast.parse(text)
    printed = {id(node.body[0]) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and classes}
    unseen = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and id(node) not in printed
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in unseen:
            for line, phrase, instead in refused(re.sub(r"`[^`]*`", " ", node.value)):
                yield node.lineno + line - 1, phrase, instead


def files(patterns: tuple[str, ...]) -> list[Path]:
    """Return the files that are, or are about to be, part of the project."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *patterns]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    return sorted(ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).exists())


def problems(folders: tuple[str, ...]) -> Iterator[str]:
    """Yield one line for each refused phrase or name."""
    for shipped in files(SHIPPED):
        for line, phrase, instead in in_comments(shipped.read_text(encoding="utf-8")):
            yield f"{shipped.relative_to(ROOT)}:{line}: '{phrase}': write {instead}"
    for page in files(PAGES):
        text = page.read_text(encoding="utf-8")
        for line, phrase, instead in in_page(text) if MADE not in text else ():
            yield f"{page.relative_to(ROOT)}:{line}: '{phrase}': write {instead}"
    for source in sorted({path for folder in folders for path in (ROOT / folder).rglob("*.py")}):
        where = source.relative_to(ROOT)
        if source.stem in MODULES:
            yield f"{where}: call the module {MODULES[source.stem]}"
        for line, phrase, instead in in_source(
            source.read_text(encoding="utf-8"), classes=_prints_classes(where)
        ):
            yield f"{where}:{line}: '{phrase}': write {instead}"


def _prints_classes(source: Path) -> bool:
    """Tell whether the pages of settings and of errors print the docstrings of a module's classes."""
    return "config" in source.parts or "errors" in source.stem


def main(folders: list[str]) -> int:
    found = list(problems((*FOLDERS, *folders)))
    print("\n".join(found) if found else "Words: plain in every text that is checked.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
