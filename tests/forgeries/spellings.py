"""What is rightly signed and wrongly spelt: every member of a manifest and of a certificate, one by one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec

from strongroom.container import canonical, document
from strongroom.container.manifest import MANIFEST
from strongroom.container.signing import CertifiedSigner
from tests.forgeries.forgery import SIGNER, STRANGER, forgery
from tests.forgeries.genuine import OURS, THEIRS, Forge, Made, Objects
from tests.forgeries.signing import edit_json, sign_body, with_certificate
from tests.vectors import material as m

Edit = Callable[[dict[str, Any]], object]


def member(path: str, value: object) -> Edit:
    """Set a member; ``containers.0.size`` is one of the first container."""

    def change(content: dict[str, Any]) -> None:
        place, last = _place(content, path)
        place[last] = value

    return change


def without(path: str) -> Edit:
    def change(content: dict[str, Any]) -> None:
        place, last = _place(content, path)
        del place[last]

    return change


def _place(content: Any, path: str) -> tuple[Any, Any]:
    *above, last = path.split(".")
    for name in above:
        content = content[int(name) if name.isdigit() else name]
    return content, int(last) if last.isdigit() else last


TEXTS = ("backup_id", "policy", "source", "created_at")
TRUTHS = ("values", "sealed")
NUMBERS = ("quorum", "regions", "providers", "counts.secrets", "containers.0.piece", "containers.0.size")
HEX = tuple(
    f"containers.0.{name}"
    for name in ("sha256", "first", "last", "wrapping_key", "signer", "container_signature", "signature")
)
LISTS = ("recipients", "targets", "not_contained", "containers")
OBJECTS = ("selection", "counts", "selection.tags")
WRONG: dict[str, tuple[tuple[str, ...], tuple[object, ...]]] = {
    "a text": (TEXTS, (None, 1)),
    "a truth": (TRUTHS, (None, "true")),
    "a number": (NUMBERS, (None, -1, canonical.MOST + 1, "1", True)),
    "hex": (HEX, (None, "zz", "00" * 15)),
    "a list": (LISTS, (None, {})),
    "an object": (OBJECTS, (None, [])),
}
MISSING = (*TEXTS[:2], "sealed", "selection.tags", "counts.size", "containers.0.signer", "recipients.0.type")


def members() -> None:
    for paths, values in WRONG.values():
        for path in paths:
            for value in values:
                said = "null" if value is None else f"{value!r:.24}"
                body = sign_body(edit_json(member(path, value)))
                forgery(f"the manifest's {path} is {said}", SIGNER, body, "Malformed")
    for path in MISSING:
        body = sign_body(edit_json(without(path)))
        forgery(f"the manifest has no {path}", SIGNER, body, "Malformed")


def raw(old: bytes, new: bytes) -> Forge:
    return sign_body(lambda body: body.replace(old, new, 1))


SPELT: dict[str, Forge] = {
    "a number with a point": raw(b'"quorum":1', b'"quorum":1.0'),
    "a number with an exponent": raw(b'"quorum":1', b'"quorum":1e0'),
    "a number with a zero before it": raw(b'"quorum":1', b'"quorum":01'),
    "a number that is minus zero": raw(b'"regions":1', b'"regions":-0'),
    "NaN": raw(b'"quorum":1', b'"quorum":NaN'),
    "Infinity": raw(b'"quorum":1', b'"quorum":Infinity'),
    "a number of a million digits": raw(b'"quorum":1', b'"quorum":' + b"9" * 1_000_000),
    "an escape that is not needed": raw(b'"weekly"', b'"week\\u006cy"'),
    "an escaped slash": raw(b'"weekly"', b'"week\\/ly"'),
    "an escape in capitals": raw(b'"weekly"', b'"\\u001B"'),
    "a control character": raw(b'"weekly"', b'"week\x01ly"'),
    "a text that is not UTF-8": raw(b'"weekly"', b'"week\xffly"'),
    "a half pair in bytes": raw(b'"weekly"', b'"\xed\xa0\x80"'),
    "half a pair after a whole one": raw(b'"weekly"', b'"\\ud83d\\ude00\\ud83d"'),
    "a tab": raw(b'"policy":', b'\t"policy":'),
    "a comma too many": raw(b'"previous":null', b'"previous":null,'),
    "a comma too few": raw(b',"policy"', b'"policy"'),
    "single quotes": raw(b'"weekly"', b"'weekly'"),
    "a comment": raw(b',"policy"', b'/**/,"policy"'),
    "something behind it": sign_body(lambda body: body + b"{}"),
    "a list around it": sign_body(lambda body: b"[" + body + b"]"),
    "nothing but null": sign_body(lambda _: b"null"),
    "an empty object": sign_body(lambda _: b"{}"),
    "a member twice, the same": raw(b'"quorum":1', b'"quorum":1,"quorum":1'),
    "tags out of order": sign_body(edit_json(member("selection.tags", {"b": "1", "a": "2"}))),
    "100,000 lists in each other": raw(b'"previous":null', b'"previous":' + b"[" * 100_000 + b"]" * 100_000),
    "1,001 texts of what is not contained": sign_body(edit_json(member("not_contained", ["x"] * 1001))),
    "100,001 containers": sign_body(
        edit_json(lambda content: content.update(containers=content["containers"][:1] * 100_001))
    ),
    "a digest in capitals": sign_body(edit_json(member("containers.0.sha256", "AB" * 32))),
    "an entry with a member too many": sign_body(edit_json(member("containers.0.z", 1))),
    "a recipient with a member too many": sign_body(edit_json(member("recipients.0.z", 1))),
}
FINE: dict[str, Edit] = {
    "a created_at that is no time": member("created_at", "the day before"),
    "a created_at of the year 9999": member("created_at", "9999-12-31T23:59:59Z"),
    "the largest quorum": member("quorum", canonical.MOST),
    "no recipients": member("recipients", []),
    "no targets": member("targets", []),
    "1,000 texts of what is not contained": member("not_contained", ["x" * 1000] * 1000),
    "a previous that is another file's": member("previous", "ab" * 32),
}


def spelt() -> None:
    for name, forge in SPELT.items():
        forgery(f"the manifest's body: {name}", SIGNER, forge, "Malformed")
    for name, edit in FINE.items():
        forgery(f"the manifest's body, which is fine: {name}", SIGNER, sign_body(edit_json(edit)))


# -- certificates -----------------------------------------------------------------------------------


def certified(change: Callable[[bytes], bytes], signer: CertifiedSigner = OURS["control"]) -> Forge:
    """Sign the manifest under a certificate that is spelt otherwise."""

    def forge(objects: Objects, made: Made) -> None:
        shown = change(signer.certificate.encode())
        objects[made.name] = written(canonical.encode(made.manifest), shown, signer)

    return forge


def written(body: bytes, certificate: bytes, signer: CertifiedSigner) -> bytes:
    """Write a manifest around any bytes that stand where the certificate should."""
    signature = signer.sign(MANIFEST.domain, document.signed_message(body, certificate)).hex().encode()
    head = MANIFEST.opening + b'"body":%b,\n"certificate":%b,\n"signature":"%b"' % (
        body, certificate, signature,
    )  # fmt: skip
    return head + document.length_tail(len(head) + document.LENGTH_TAIL)


def issued(**members: str) -> Forge:
    """Sign the manifest under a certificate that our installation did issue, with odd members."""

    def forge(objects: Objects, made: Made) -> None:
        told = {**msgspec.to_builtins(OURS["control"].certificate), **members}
        del told["signature"]
        unsigned = json.dumps(told, separators=(",", ":")).encode()
        signature = m.INSTALLATION.sign(b"strongroom/v1/certificate", unsigned).hex()
        shown = unsigned[:-1] + b',"signature":"%b"}' % signature.encode()
        objects[made.name] = written(canonical.encode(made.manifest), shown, OURS["control"])

    return forge


NEUTRAL = "01" + "00" * 31
CERTIFICATES: dict[str, tuple[Forge, str]] = {
    "a space in it": (certified(lambda shown: shown.replace(b'","', b'", "', 1)), "Tampered"),
    "capitals in it": (certified(lambda shown: shown.replace(b"a", b"A")), "Tampered"),
    "a member more": (certified(lambda shown: shown[:-1] + b',"z":1}'), "Tampered"),
    "no time": (certified(lambda shown: shown.replace(b'"issued_at"', b'"issued"', 1)), "Tampered"),
    "nothing in it": (certified(lambda _: b"{}"), "Tampered"),
    "null": (certified(lambda _: b"null"), "Tampered"),
    "itself twice": (certified(lambda shown: shown + shown), "Tampered"),
    "200,000 lists": (certified(lambda _: b"[" * 200_000), "Tampered"),
    "another time": (certified(lambda shown: shown.replace(b"2026", b"2027", 1)), "Tampered"),
    "another role": (certified(lambda shown: shown.replace(b'"control"', b'"recover"')), "Tampered"),
    "a signature of zeros": (certified(lambda shown: shown[:-130] + b"0" * 128 + b'"}'), "Tampered"),
    "issued in 1970": (issued(issued_at="1970-01-01T00:00:00Z"), "ok"),
    "issued in 2099": (issued(issued_at="2099-12-31T23:59:59Z"), "ok"),
    "issued at no time": (issued(issued_at="9999-99-99T99:99:99Z"), "ok"),
    "issued with a zone": (issued(issued_at="2026-11-25T02:45:01+00:00"), "Tampered"),
    "issued with a fraction": (issued(issued_at="2026-11-25T02:45:01.5Z"), "Tampered"),
    "issued for no role": (issued(role=""), "Tampered"),
    "issued for a role of 17 letters": (issued(role="c" * 17), "Tampered"),
    "issued for a role in capitals": (issued(role="CONTROL"), "Tampered"),
    "issued for a role that is unknown": (issued(role="admin"), "UntrustedSigner"),
    "issued for the seal role": (issued(role="seal"), "UntrustedSigner"),
    "issued for another key": (issued(key="ab" * 32), "Tampered"),
    "issued for the neutral point": (issued(key=NEUTRAL), "Tampered"),
    "issued for zeros": (issued(key="00" * 32), "Tampered"),
}


def certificates() -> None:
    for name, (forge, expect) in CERTIFICATES.items():
        forgery(f"the manifest's certificate: {name}", SIGNER, forge, expect)
    neutral = msgspec.structs.replace(THEIRS["control"].certificate, installation=NEUTRAL)
    forged = with_certificate(THEIRS["control"], neutral)
    forgery(
        "the manifest's certificate: of the neutral point as installation",
        STRANGER,
        lambda objects, made: objects.__setitem__(
            made.name, written(canonical.encode(made.manifest), neutral.encode(), forged)
        ),
        "Tampered",
    )


def enter() -> None:
    for enter_group in (members, spelt, certificates):
        enter_group()
