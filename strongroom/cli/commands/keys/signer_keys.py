"""signers create, request, certify, replace and rotate: making the roles' keys."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Iterator
from datetime import timedelta

from strongroom.cli.commands.keys.signers import REPEAT_ESCROW, approve_signers
from strongroom.cli.shared.installation_key import given_key
from strongroom.cli.shared.services import run_store
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.container.certificate import Certificate
from strongroom.container.signing import fingerprint
from strongroom.errors import UsageError
from strongroom.keys import roles
from strongroom.keys.rolelist import RoleKey
from strongroom.sheet import Lines, Sheet

PUBLIC_KEY = re.compile(r"[0-9a-f]{64}")


def create_key(arguments: Namespace, output: Output) -> Answer:
    folder, role = place.find().role_keys, arguments.role
    signer = roles.load_or_create_role(folder, role, installation_key=given_key(arguments, folder, output))
    lines = [f"{role}: signs: {signer.fingerprint}", f"Installation: {signer.certificate.fingerprint}"]
    return _made(role, signer.certificate, *lines)


def request_key(arguments: Namespace, output: Output) -> Answer:
    folder, role = place.find().role_keys, arguments.role
    public = roles.request(folder, role)
    lines = [
        f"The next key of role '{role}' is made. It signs nothing before it is certified.",
        "Where the installation key is kept, run:",
        f"  strongroom keys signers certify {role} {public.hex()}",
        f"Then copy {roles.TRUSTED} from there to {folder / roles.TRUSTED}.",
    ]
    record = {"role": role, "public": public.hex(), "fingerprint": fingerprint(public)}
    return Answer(record=record, sheet=Sheet(parts=[Lines(lines)]))


def certify_key(arguments: Namespace, output: Output) -> Answer:
    folder = place.find().role_keys
    if not PUBLIC_KEY.fullmatch(arguments.key):
        raise UsageError(
            "That is no public key.",
            hint="It is the 64 digits that 'strongroom keys signers request' printed.",
        )
    approve_signers(
        "certify",
        [arguments.role, arguments.key],
        f"certify the key {arguments.key} of role {arguments.role}",
    )
    certifier = given_key(arguments, folder, output)
    key = roles.certify_key(folder, arguments.role, bytes.fromhex(arguments.key), installation_key=certifier)
    _record("signer.certified", arguments.role, key)
    lines = [
        f"{arguments.role}: version {key.version} is certified: {key.fingerprint}",
        f"Copy {folder / roles.TRUSTED} to the host that made the key, and to every other host.",
    ]
    return _made(arguments.role, key.certificate, *lines)


def replace_key(arguments: Namespace, output: Output) -> Answer:
    folder = place.find().role_keys
    approve_signers("replace", [arguments.role], f"replace the lost key of role {arguments.role}")
    key = roles.replace(folder, arguments.role, installation_key=given_key(arguments, folder, output))
    _record("signer.replaced", arguments.role, key)
    lines = [
        f"{arguments.role}: version {key.version} signs: {key.fingerprint}",
        "The installation's fingerprint is the same, so nobody elsewhere has to do anything.",
        "What the lost key signed stays good. If somebody may have it: strongroom keys signers distrust KEY",
        f"Where roles work on other hosts, copy {folder / roles.TRUSTED} there now.",
        REPEAT_ESCROW,
    ]
    return _made(arguments.role, key.certificate, *lines)


def _record(kind: str, role: str, key: RoleKey) -> None:
    run_store().event(kind, role=role, version=key.version, fingerprint=key.fingerprint)


def _made(role: str, certificate: Certificate, *lines: str) -> Answer:
    record = {
        "role": role,
        "fingerprint": certificate.key_fingerprint,
        "installation": certificate.fingerprint,
    }
    return Answer(record=record, sheet=Sheet(parts=[Lines(lines)]))


def rotate_keys(arguments: Namespace, output: Output) -> Answer:
    folder = place.find().role_keys
    if arguments.grace < 0:
        raise UsageError("--grace is a number of hours, not below zero.")
    here = [role for role in roles.ROLES if (folder / f"{role}.key").exists()]
    if not (chosen := arguments.role or here):
        raise UsageError(
            "No role's private key lies here.", hint="Rotate it on the host where its role works."
        )
    step = "announce" if arguments.announce else "rotate"
    approve_signers(step, sorted(chosen), f"{step} the keys of {', '.join(sorted(chosen))}")
    store, made = run_store(), []
    certifier = given_key(arguments, folder, output)
    for role in chosen:
        key = (
            roles.announce(folder, role, installation_key=certifier)
            if arguments.announce
            else roles.rotate(
                folder,
                role,
                grace=timedelta(hours=arguments.grace),
                installation_key=certifier,
            )
        )
        kind = "signer.announced" if arguments.announce else "signer.rotated"
        store.event(kind, role=role, version=key.version, fingerprint=key.fingerprint)
        made.append((role, key))
    record = {"made": [{"role": r, "version": k.version, "fingerprint": k.fingerprint} for r, k in made]}
    lines = list(_rotated(made, folder / roles.TRUSTED, announced=arguments.announce))
    return Answer(record=record, sheet=Sheet(parts=[Lines(lines)]))


def _rotated(made: list[tuple[str, RoleKey]], path: object, *, announced: bool) -> Iterator[str]:
    for role, key in made:
        yield f"{role}: version {key.version} {'is announced' if announced else 'signs'}: {key.fingerprint}"
    if announced:
        yield f"Copy {path} to every other host, then repeat without --announce."
        return
    yield "Running workers notice by themselves. What the old keys signed stays good."
    yield f"Where roles work on other hosts, copy {path} there now: they refuse the new keys until then."
    yield REPEAT_ESCROW
