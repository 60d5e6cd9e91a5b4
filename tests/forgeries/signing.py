"""Forgeries of whoever holds a signing key: a stranger's, one of ours of the wrong role, a genuine one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from typing import Any

import msgspec
from msgspec.structs import replace

from strongroom.container import canonical, document
from strongroom.container.cobblestone import name_hash
from strongroom.container.manifest import ContainerEntry, Counts, Manifest, receipt_of
from strongroom.container.marks import QUARANTINE, QuarantineMark
from strongroom.container.signing import Certificate, CertifiedSigner, Signer, sign_receipt
from strongroom.container.wrapping import DETACHED, WrappingKeyRecord, write_detached
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.operations.engine.layout import container_entry, container_name
from tests.forgeries.forgery import RECIPIENT, ROLE, SIGNER, STRANGER, forgery
from tests.forgeries.genuine import (
    BACKUP,
    NEWER,
    OLDER,
    OURS,
    THEIRS,
    Forge,
    Made,
    Objects,
    lying,
    make,
    older,
    received,
    secrets,
    signed,
    signed_body,
    strangers,
)
from tests.forgeries.writing import before_end, both, container, copy, drop, envelope, flip, manifest, put
from tests.vectors import material as m
from tests.vectors.forge import Parts, re_signed
from tests.vectors.targets import with_entries


def sign(signer: CertifiedSigner, **changed: Any) -> Forge:
    """Sign the manifest anew, with other members."""
    return lambda objects, made: objects.__setitem__(
        made.name, signed(replace(made.manifest, **changed), signer)
    )


def sign_lie(change: Callable[[Made], Manifest]) -> Forge:
    return lambda objects, made: objects.__setitem__(made.name, signed(change(made)))


def sign_body(change: Callable[[bytes], bytes]) -> Forge:
    def forge(objects: Objects, made: Made) -> None:
        objects[made.name] = signed_body(change(canonical.encode(made.manifest)))

    return forge


def seal_envelope(
    signer: CertifiedSigner,
    generation: int = 2,
    change: Callable[[WrappingKeyRecord], WrappingKeyRecord] = lambda record: record,
) -> Forge:
    """Sign an envelope: of the second generation in the place of ours, of a later one beside it."""

    def forge(objects: Objects, made: Made) -> None:
        record = replace(made.wrapping.record, generation=generation)
        objects[made.envelope(generation)] = write_detached(change(record), signer)

    return forge


def with_certificate(signer: Signer, certificate: Certificate) -> CertifiedSigner:
    """Return a signer that shows a certificate which need not be its own."""
    found = CertifiedSigner.__new__(CertifiedSigner)
    Signer.__init__(found, signer._private)
    found.certificate, found.trust, found.lists = certificate, 0, {}
    return found


def false_certificates(role: str) -> dict[str, CertifiedSigner]:
    """Return signers whose certificates are copied, bent, or signed by nobody of ours."""
    ours, theirs = OURS[role].certificate, THEIRS[role]
    claimed = replace(theirs.certificate, installation=ours.installation)
    return {
        "a copied certificate": with_certificate(theirs, ours),
        "a copied certificate with the key exchanged": with_certificate(
            theirs, replace(ours, key=theirs.public.hex())
        ),
        "our installation's name over its own signature": with_certificate(theirs, claimed),
        "a certificate whose signature is zeros": with_certificate(
            theirs, replace(claimed, signature="00" * 64)
        ),
    }


def marked(state: str, signer: CertifiedSigner, backup: str = BACKUP) -> bytes:
    return QUARANTINE.sign(
        QuarantineMark(
            backup_id=backup,
            number=1,
            state=state,  # type: ignore[arg-type]
            reason="",
            incident="",
            by="",
            at=m.CREATED,
        ),
        signer,
    )


MARK = f"quarantine/{BACKUP}/00000001.json"


# -- a stranger -----------------------------------------------------------------------------------


def everything_of(made: Callable[[], Made]) -> Forge:
    return lambda objects, _: objects.update(made().objects)


def re_sign_container(signer: CertifiedSigner) -> Forge:
    def forge(objects: Objects, made: Made) -> None:
        objects[made.pieces[0]] = re_signed(objects[made.pieces[0]], signer)

    return forge


def by_strangers() -> None:
    theirs = THEIRS["control"]
    forgery("the manifest signed anew", STRANGER, sign(theirs), "UntrustedSigner")
    forgery(
        "the manifest signed anew, as a copy beside",
        STRANGER,
        lambda objects, made: objects.__setitem__(f"{made.name}.r1", signed(made.manifest, theirs)),
    )
    forgery(
        "the manifest signed anew, and ours as its copy",
        STRANGER,
        both(put(copy(manifest, 1), manifest), sign(theirs)),
    )
    forgery(
        "the manifest signed anew beside an older backup",
        STRANGER,
        both(lambda objects, _: objects.update(older().objects), sign(theirs)),
        aside="UntrustedSigner",
        comes="older",
        chooses=True,
    )
    forgery(
        "a whole newer backup",
        STRANGER,
        everything_of(lambda: strangers(NEWER)),
        aside="UntrustedSigner",
        chooses=True,
    )
    forgery("a whole older backup", STRANGER, everything_of(lambda: strangers(OLDER)))
    forgery(
        "a whole backup of the same id", STRANGER, everything_of(lambda: strangers(BACKUP)), "UntrustedSigner"
    )
    forgery(
        "a whole backup of the same id, its manifest as a copy",
        STRANGER,
        lambda objects, made: objects.update(
            {
                f"{made.name}.r1" if name == made.name else name: content
                for name, content in strangers(BACKUP).objects.items()
            }
        ),
    )
    forgery(
        "a whole backup of the same id, and our manifest as a copy",
        STRANGER,
        both(put(copy(manifest, 1), manifest), everything_of(lambda: strangers(BACKUP))),
    )
    forgery(
        "its container in a container's place",
        STRANGER,
        lambda objects, made: objects.__setitem__(
            made.pieces[0],
            next(content for name, content in strangers(BACKUP).objects.items() if "containers" in name),
        ),
        "Tampered",
    )
    forgery("the container signed anew", STRANGER, re_sign_container(THEIRS["seal"]), "Tampered")
    forgery(
        "the container signed anew under a copied certificate",
        STRANGER,
        lambda objects, made: objects.__setitem__(
            made.pieces[0],
            re_signed(objects[made.pieces[0]], THEIRS["seal"], certificate=OURS["seal"].certificate),
        ),
        "Tampered",
    )
    forgery(
        "the container signed anew, as a copy beside",
        STRANGER,
        lambda objects, made: objects.__setitem__(
            f"{made.pieces[0]}.r1", re_signed(objects[made.pieces[0]], THEIRS["seal"])
        ),
    )
    for role in ("recover", "control"):
        signer = THEIRS[role]
        forgery(
            f"the envelope signed anew by its {role}",
            STRANGER,
            seal_envelope(signer),
            aside="UntrustedSigner",
            key="old",
        )
        forgery(f"generation 3 by its {role}", STRANGER, seal_envelope(signer, 3), aside="UntrustedSigner")
    forgery(
        "the envelope signed anew, and have the new key",
        STRANGER,
        seal_envelope(THEIRS["recover"]),
        "WrongKey",
    )
    forgery(
        "generation 3 for recipients of its own",
        STRANGER,
        seal_envelope(
            THEIRS["recover"], 3, lambda record: replace(record, stanzas=record.stanzas[:1], mac="00" * 32)
        ),
        aside="UntrustedSigner",
    )
    forgery(
        "the envelope signed anew, and ours as its copy",
        STRANGER,
        both(put(copy(envelope, 1), envelope), seal_envelope(THEIRS["recover"])),
    )
    for name, signer in false_certificates("control").items():
        forgery(f"the manifest under {name}", STRANGER, sign(signer), "Tampered")
    for name, signer in false_certificates("recover").items():
        forgery(f"the envelope under {name}", STRANGER, seal_envelope(signer), aside="Tampered", key="old")
        forgery(f"generation 3 under {name}", STRANGER, seal_envelope(signer, 3), aside="Tampered")
    forgery(
        "its quarantine mark",
        STRANGER,
        put(MARK, marked("quarantined", THEIRS["control"])),
        aside="UntrustedSigner",
        marks=True,
    )
    forgery(
        "our mark of another backup under this one's name",
        STRANGER,
        put(MARK, marked("quarantined", OURS["control"], OLDER)),
        aside="Tampered",
        marks=True,
    )
    forgery(
        "its head of a ledger",
        STRANGER,
        put(f"ledger/{'ab' * 8}/2026-11/000000000001-{'cd' * 8}.json", b"junk"),
    )


# -- a key of ours, of the wrong role --------------------------------------------------------------


def by_other_roles() -> None:
    for role in ("seal", "transfer", "verify"):
        forgery(f"{role} signs the manifest", ROLE, sign(OURS[role]), "UntrustedSigner")
    forgery(
        "seal signs a newer backup's manifest",
        ROLE,
        lambda objects, made: objects.__setitem__(
            f"manifests/{NEWER}.json", signed(replace(made.manifest, backup_id=NEWER), OURS["seal"])
        ),
        aside="UntrustedSigner",
        chooses=True,
    )
    for role in ("control", "seal", "transfer", "verify"):
        forgery(
            f"{role} signs the envelope", ROLE, seal_envelope(OURS[role]), aside="UntrustedSigner", key="old"
        )
        forgery(f"{role} signs generation 3", ROLE, seal_envelope(OURS[role], 3), aside="UntrustedSigner")
    for role in ("control", "transfer", "verify"):
        forgery(
            f"{role} seals the containers",
            ROLE,
            everything_of(partial(make, "forged", sealer=OURS[role])),
            "UntrustedSigner",
        )
    forgery(
        "seal makes its certificate one of control",
        ROLE,
        sign(with_certificate(OURS["seal"], replace(OURS["seal"].certificate, role="control"))),
        "Tampered",
    )
    forgery(
        "seal shows control's certificate",
        ROLE,
        sign(with_certificate(OURS["seal"], OURS["control"].certificate)),
        "Tampered",
    )
    forgery(
        "transfer shows recover's certificate under generation 3",
        ROLE,
        seal_envelope(with_certificate(OURS["transfer"], OURS["recover"].certificate), 3),
        aside="Tampered",
    )
    forgery(
        "seal signs a quarantine mark",
        ROLE,
        put(MARK, marked("quarantined", OURS["seal"])),
        aside="UntrustedSigner",
        marks=True,
    )
    forgery("recover signs the manifest, as it may", ROLE, sign(OURS["recover"]))
    forgery(
        "recover seals the containers, as it may",
        ROLE,
        everything_of(lambda: make("genuine", sealer=OURS["recover"])),
    )


# -- a recipient's private key -----------------------------------------------------------------------


def splice(record: WrappingKeyRecord, original: bytes) -> bytes:
    """Put another record into a signed envelope, and leave its signature."""
    lines = original.split(b"\n")
    body = b'"body":' + canonical.encode(record) + b","
    head = b"\n".join([lines[0], body, *lines[2:4], b""])
    return head + b'"length":"%012d"}\n' % (len(head) + 25)


def opened(made: Made, number: int = 0) -> Parts:
    return Parts.of(made.objects[made.pieces[number]], KeyFileIdentity(m.KEY_FILE))


def other_values(made: Made) -> Parts:
    """Return a container's parts with every value changed, as whoever knows its file key can seal them."""
    parts = opened(made)
    changed = tuple((values.replace(b"genuine", b"forged!"), rows) for values, rows in parts.segments)
    assert changed != parts.segments
    return parts.change(segments=changed)


def by_recipients() -> None:
    def later(generation: int, signer: CertifiedSigner | None) -> Forge:
        def forge(objects: Objects, made: Made) -> None:
            record = made.later(generation).record if generation > 2 else made.wrapping.record
            objects[made.envelope(generation)] = (
                write_detached(record, signer) if signer else splice(record, objects[made.envelope()])
            )

        return forge

    def unsigned(objects: Objects, made: Made) -> None:
        record = replace(made.later().record, generation=2)
        objects[made.envelope()] = splice(record, objects[made.envelope()])

    forgery("generation 3 with the signature of 2", RECIPIENT, later(3, None), aside="Tampered")
    forgery(
        "other recipients in the envelope, under its signature",
        RECIPIENT,
        unsigned,
        aside="Tampered",
        key="old",
    )
    forgery(
        "generation 3 with a right MAC, by a stranger",
        RECIPIENT,
        later(3, THEIRS["recover"]),
        aside="UntrustedSigner",
    )
    forgery(
        "generation 99999999 with a right MAC, by a stranger",
        RECIPIENT,
        later(99_999_999, THEIRS["recover"]),
        aside="UntrustedSigner",
    )
    forgery(
        "other values under the stolen file key, in place",
        RECIPIENT,
        resealed_container(THEIRS["seal"], in_place),
        "Tampered",
    )
    forgery(
        "other values under the stolen file key, as a copy",
        RECIPIENT,
        resealed_container(THEIRS["seal"], lambda made, _: f"{made.pieces[0]}.r1"),
    )
    forgery(
        "other values under the stolen file key, beside a damaged container",
        RECIPIENT,
        both(
            resealed_container(THEIRS["seal"], lambda made, _: f"{made.pieces[0]}.r1"),
            flip(container, lambda _: 90),
        ),
        "Tampered",
    )
    forgery(
        "other values under their own digest's name",
        RECIPIENT,
        resealed_container(
            THEIRS["seal"], lambda made, data: container_name(made.id, hashlib.sha256(data).hexdigest())
        ),
    )
    forgery(
        "other values, and a stranger's manifest of them",
        RECIPIENT,
        both(everything_of(lambda: strangers(BACKUP)), later(3, THEIRS["recover"])),
        "UntrustedSigner",
    )
    forgery("other values in the rows under the old signature", RECIPIENT, spliced_values, "Tampered")


def resealed_container(signer: CertifiedSigner, name: Callable[[Made, bytes], str]) -> Forge:
    """Put a container with other values there, of the same size, and signed anew."""

    def forge(objects: Objects, made: Made) -> None:
        shown = msgspec.to_builtins(signer.certificate)
        parts = other_values(made).with_envelope(lambda envelope: envelope.update(certificate=shown))
        data = parts.change(signer=signer).build("stolen")
        objects[name(made, data)] = data

    return forge


def in_place(made: Made, _: bytes) -> str:
    return made.pieces[0]


def spliced_values(objects: Objects, made: Made) -> None:
    """Exchange the sealed segments and leave index, envelope and signature as they are."""
    forged = other_values(made).build("stolen")
    data = objects[made.pieces[0]]
    end = before_end(data, 0, 1, 2)
    assert len(forged) == len(data)
    objects[made.pieces[0]] = data[:80] + forged[80:end] + data[end:]


# -- a genuine role's key: depth of defence -----------------------------------------------------------


def relisted(made: Made, entries: Iterable[ContainerEntry]) -> Manifest:
    return with_entries(made.manifest, *entries)


def renumbered(made: Made, order: tuple[int, ...]) -> Manifest:
    """List containers in another order, each with a new number and a receipt that says so."""
    entries = [
        received(made.manifest, made.manifest.containers[old], piece=new) for new, old in enumerate(order)
    ]
    return relisted(made, entries)


def shifted(text: str, by: int) -> str:
    return f"{int(text, 16) + by:032x}"


def edit_json(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def edited(body: bytes) -> bytes:
        content = json.loads(body)
        change(content)
        return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()

    return edited


def rename_key() -> bytes:
    """Return a name key under which the second container's names still come after the first's."""
    ordered = sorted(secrets("genuine"), key=lambda s: name_hash(m.NAME_KEY, s.name))
    above = max(name_hash(m.NAME_KEY, s.name) for s in ordered[:4])
    keys = (m.fixed(f"another name key {n}") for n in count())
    return next(key for key in keys if min(name_hash(key, s.name) for s in ordered[4:]) > above)


def first(made: Made) -> ContainerEntry:
    return made.manifest.containers[0]


def last(made: Made) -> ContainerEntry:
    return made.manifest.containers[1]


def zeros(made: Made) -> list[ContainerEntry]:
    return [replace(first(made), signature="00" * 64), last(made)]


def by_signers() -> None:
    lies: dict[str, tuple[Callable[[Made], Manifest], str]] = {
        "fewer containers than pieces": (lambda made: relisted(made, [first(made)]), "Tampered"),
        "the second container alone, as the first": (lambda made: renumbered(made, (1,)), "Tampered"),
        "no container at all": (lambda made: relisted(made, []), "ok"),
        "a receipt of zeros": (lambda made: relisted(made, zeros(made)), "Tampered"),
        "a receipt of another run": (lambda made: relisted(made, [other_run(made), last(made)]), "Tampered"),
        "another key's receipt": (lambda made: relisted(made, [by_recover(made), last(made)]), "Tampered"),
        "a stranger's receipt": (
            lambda made: relisted(made, [by_recover(made, THEIRS["seal"]), last(made)]),
            "Tampered",
        ),
        "a first name that is lower": (
            lambda made: lying(made, first=shifted(first(made).first, -1)),
            "Tampered",
        ),
        "a first name that is higher": (
            lambda made: lying(made, first=shifted(first(made).first, 1)),
            "Tampered",
        ),
        "a last name that is higher": (
            lambda made: lying(made, last=shifted(first(made).last, 1)),
            "Tampered",
        ),
        "a last name that is lower": (
            lambda made: lying(made, last=shifted(first(made).last, -1)),
            "Tampered",
        ),
        "one secret more": (lambda made: lying(made, secrets=5), "Tampered"),
        "one secret fewer": (lambda made: lying(made, secrets=3), "Tampered"),
        "one version more": (lambda made: lying(made, versions=5), "Tampered"),
        "another container's signature": (
            lambda made: lying(made, container_signature=last(made).container_signature),
            "Tampered",
        ),
        "another wrapping key": (lambda made: lying(made, wrapping_key="00" * 16), "Tampered"),
        "a size that is larger": (lambda made: lying(made, size=first(made).size + 1), "Truncated"),
        "a size that is smaller": (lambda made: lying(made, size=first(made).size - 1), "Tampered"),
        "a digest of nothing": (lambda made: lying(made, sha256="00" * 32), "MissingPiece"),
        "ranges that overlap": (lambda made: lying(made, last=shifted(last(made).first, 1)), "Malformed"),
        "a range upside down": (
            lambda made: lying(made, first=first(made).last, last=first(made).first),
            "Malformed",
        ),
        "the containers in another order": (lambda made: renumbered(made, (1, 0)), "Malformed"),
        "the first container twice": (lambda made: renumbered(made, (0, 0)), "Malformed"),
        "no values, and there are some": (lambda made: replace(made.manifest, values=False), "Tampered"),
        "not sealed, and it is": (lambda made: replace(made.manifest, sealed=False), "Malformed"),
        "a count of secrets": (lambda made: counting(made, secrets=9), "Malformed"),
        "a count of versions": (lambda made: counting(made, versions=9), "Malformed"),
        "a count of bytes": (lambda made: counting(made, size=1), "Malformed"),
        "numbers with a gap": (
            lambda made: relisted(made, [first(made), received(made.manifest, last(made), piece=2)]),
            "Malformed",
        ),
        "a digest before it that is none": (lambda made: replace(made.manifest, previous="zz"), "Malformed"),
        "text that cannot be printed": (
            lambda made: replace(made.manifest, not_contained=("\u202e",)),
            "Malformed",
        ),
        "text that is too long": (
            lambda made: replace(made.manifest, not_contained=("x" * 1001,)),
            "Malformed",
        ),
        "another backup's id": (lambda made: replace(made.manifest, backup_id=OLDER), "Tampered"),
        "another backup's id, and its receipts too": (adopting, "MissingPiece"),
        "another backup's container": (
            lambda made: relisted(made, [received(made.manifest, adopted(made)), last(made)]),
            "MissingPiece",
        ),
    }
    for name, (change, expect) in lies.items():
        comes = "nothing" if name == "no container at all" else "genuine"
        restored = {"no container at all": "NothingSelected", "no values, and there are some": "NotCovered"}
        forgery(
            f"the manifest says: {name}",
            SIGNER,
            sign_lie(change),
            expect,
            comes=comes,
            restored=restored.get(name, ""),
        )
    bodies: dict[str, Callable[[bytes], bytes]] = {
        "a member that is unknown": edit_json(lambda content: content.__setitem__("zzz", 1)),
        "a member that is missing": edit_json(lambda content: content.pop("quorum")),
        "a member of another type": edit_json(lambda content: content.__setitem__("quorum", "1")),
        "a member twice": lambda body: b'{"backup_id":"x",' + body[1:],
        "white space": lambda body: body.replace(b'","', b'", "', 1),
        "members in another order": edit_json(lambda c: c.__setitem__("backup_id", c.pop("backup_id"))),
        "no JSON": lambda _: b"junk",
        "a number of thousands of digits": lambda body: body.replace(
            b'"quorum":1', b'"quorum":' + b"1" * 5000
        ),
        "lists in lists without end": lambda body: body.replace(
            b'"previous":null', b'"previous":' + b"[" * 20_000
        ),
        "half of a surrogate pair": lambda body: body.replace(b'"weekly"', b'"\\ud800"'),
        "upper-case hex": edit_json(
            lambda c: c["containers"][0].__setitem__(
                "wrapping_key", c["containers"][0]["wrapping_key"].upper()
            )
        ),
    }
    for name, edited in bodies.items():
        forgery(f"the manifest's body has {name}", SIGNER, sign_body(edited), "Malformed")
    abouts: dict[str, dict[str, Any]] = {
        "another backup": {"backup_id": OLDER},
        "another number": {"piece": 0},
        "more containers than there are": {"pieces": 3},
        "no values": {"values": False},
    }
    for name, about in abouts.items():
        forgery(
            f"a container's index says: {name}",
            SIGNER,
            everything_of(partial(make, "genuine", about=about)),
            "Tampered",
        )
    forgery(
        "other values in place, by the key that the manifest names",
        SIGNER,
        resealed_container(OURS["seal"], in_place),
        "Tampered",
    )
    forgery(
        "containers with two keys for names",
        SIGNER,
        everything_of(lambda: make("genuine", name_keys=(m.NAME_KEY, rename_key()))),
        "Tampered",
    )
    forgery(
        "the manifest says: a container twice",
        SIGNER,
        sign_lie(lambda made: renumbered(made, (0, 1, 1))),
        "Malformed",
    )
    envelopes: dict[str, Callable[[WrappingKeyRecord], WrappingKeyRecord]] = {
        "no recipient": lambda record: replace(record, stanzas=()),
        "generation zero inside": lambda record: replace(record, generation=0),
        "too many recipients": lambda record: replace(record, stanzas=record.stanzas * 65),
        "a MAC of one byte": lambda record: replace(record, mac="00"),
    }
    for name, altered in envelopes.items():
        forgery(f"generation 3 with {name}", SIGNER, malformed_envelope(altered), aside="Malformed")
    forgery(
        "generation 3 with a MAC of zeros",
        SIGNER,
        seal_envelope(OURS["recover"], 3, lambda record: replace(record, mac="00" * 32)),
        "Tampered",
    )
    forgery(
        "generation 3 for others alone",
        SIGNER,
        lambda objects, made: objects.__setitem__(
            made.envelope(3), write_detached(made.later().record, OURS["recover"])
        ),
        "WrongKey",
    )
    forgery(
        "generation 4 under the name of 3",
        SIGNER,
        lambda objects, made: objects.__setitem__(
            made.envelope(3), write_detached(made.later(4).record, OURS["recover"])
        ),
        aside="Malformed",
    )
    forgery("a container fewer than there lie", SIGNER, drop(container), "MissingPiece")


def malformed_envelope(change: Callable[[WrappingKeyRecord], WrappingKeyRecord]) -> Forge:
    def forge(objects: Objects, made: Made) -> None:
        record = change(replace(made.wrapping.record, generation=3))
        objects[made.envelope(3)] = document.write(DETACHED, canonical.encode(record), OURS["recover"])

    return forge


def other_run(made: Made) -> ContainerEntry:
    elsewhere = replace(made.manifest, backup_id=OLDER)
    return received(elsewhere, made.manifest.containers[0])


def by_recover(made: Made, signer: CertifiedSigner = OURS["recover"]) -> ContainerEntry:
    receipt = receipt_of(made.manifest, made.manifest.containers[0])
    return container_entry(receipt, sign_receipt(receipt, signer), signer.public)


def adopted(made: Made) -> ContainerEntry:
    """Return the entry of an older backup's container, which lies in that one's folder."""
    assert made.id == BACKUP
    return older().manifest.containers[0]


def adopting(made: Made) -> Manifest:
    manifest = replace(made.manifest, backup_id=OLDER)
    return with_entries(manifest, *(received(manifest, one) for one in manifest.containers))


def counting(made: Made, **lies: int) -> Manifest:
    counts: Counts = replace(made.manifest.counts, **lies)
    return replace(made.manifest, counts=counts)


def enter() -> None:
    for enter_group in (by_strangers, by_other_roles, by_recipients, by_signers):
        enter_group()
