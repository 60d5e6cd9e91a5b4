"""An HSM that is refused, unplugged, full, or lacks something: each a clear error, nothing locked or lost."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pkcs11
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pkcs11.exceptions import DeviceError, GeneralError

from strongroom.container.wrapping import Identity, Stanza
from strongroom.errors import ConfigError, KeyServiceError
from strongroom.keys.ec import EcRecipient
from strongroom.keys.errors import (
    KeyDenied,
    KeyExists,
    KeyNotFound,
    KeyServiceUnavailable,
    MechanismMissing,
    PinRefused,
    TokenFull,
)
from strongroom.keys.pkcs11 import token_keys
from strongroom.keys.pkcs11.session import PinFile, PinPrompt, Token, library
from strongroom.keys.pkcs11.token_keys import (
    HsmAesKey,
    Pkcs11AesIdentity,
    Pkcs11EcIdentity,
    find,
    generate_aes,
    generate_ec,
    next_version,
    versions,
)
from strongroom.plugins.conformance.recipients import CONTEXT, KEY
from tests.live.keys.conftest import AES, EC, EC_OTHER, Hsm
from tests.live.nss import LABEL as NSS_LABEL
from tests.live.nss import Nss
from tests.live.nss import module as nss_module
from tests.live.p11kit import P11Kit
from tests.live.softhsm import PIN, SoftHsm, file_with, module
from tests.patience import PATIENCE
from tests.targets.disks import small_disk

WRONG = "CANARY-9999"
LOGIN = "tests.live.keys.login"


def flagged(hsm: SoftHsm, label: str) -> bool:
    """Ask the token, in a process of its own, whether it has counted a wrong PIN."""
    done = subprocess.run(
        [sys.executable, "-m", LOGIN, "flags", str(module()), label], capture_output=True, check=True
    )
    return bool(json.loads(done.stdout))


def log_in_elsewhere(hsm: SoftHsm, label: str, pin: Path, *, times: int = 1) -> list[str]:
    """Log in from so many processes at once; return what each was told."""
    command = [sys.executable, "-m", LOGIN, "login", str(module()), label, str(pin)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(times)]
    return [process.communicate(timeout=PATIENCE)[0].strip() for process in started]


# -- the PIN ---------------------------------------------------------------------


def test_a_wrong_pin_is_tried_once_and_what_the_token_counts_is_told(
    softhsm: SoftHsm, tmp_path: Path
) -> None:
    softhsm.make_token("wrong-pin")
    path = file_with(tmp_path / "pin", WRONG)
    token = softhsm.token("wrong-pin", pin=PinFile(path))

    with pytest.raises(PinRefused, match=r"does not take the PIN.*counted a wrong PIN") as caught:
        next_version(token)
    assert WRONG not in str(caught.value) + caught.value.hint
    with pytest.raises(PinRefused, match=r"is not tried.*counted a wrong PIN"):
        next_version(token)

    # A good login, by hand, sets the counter back; this process still does not try the wrong one again.
    typed = softhsm.token("wrong-pin", pin=PinPrompt(lambda words: PIN))
    assert next_version(typed) == 1
    token.begin_again()
    assert not flagged(softhsm, "wrong-pin")
    with pytest.raises(PinRefused, match=r"has refused .* before; it is not tried again"):
        next_version(token)
    assert not flagged(softhsm, "wrong-pin")

    file_with(path, PIN)
    assert next_version(token) == 1


def test_workers_that_start_with_a_wrong_pin_burn_one_try_between_them(
    softhsm: SoftHsm, tmp_path: Path
) -> None:
    softhsm.make_token("many-workers")

    told = log_in_elsewhere(softhsm, "many-workers", file_with(tmp_path / "pin", WRONG), times=4)

    assert sorted(told) == ["not tried", "not tried", "not tried", "refused"]


def test_a_process_that_is_logged_in_goes_on_whatever_pin_another_gave(
    softhsm: SoftHsm, tmp_path: Path
) -> None:
    softhsm.make_token("logged-in")
    assert next_version(softhsm.token("logged-in")) == 1
    assert log_in_elsewhere(softhsm, "logged-in", file_with(tmp_path / "pin", WRONG)) == ["refused"]

    assert next_version(softhsm.token("logged-in")) == 1
    assert log_in_elsewhere(softhsm, "logged-in", softhsm.pin_file) == ["not tried"]


def test_a_person_is_told_how_the_counter_stands_before_typing(softhsm: SoftHsm, tmp_path: Path) -> None:
    softhsm.make_token("typed-pin")
    assert log_in_elsewhere(softhsm, "typed-pin", file_with(tmp_path / "pin", WRONG)) == ["refused"]
    asked: list[str] = []

    def ask(words: str) -> str:
        asked.append(words)
        return PIN

    assert next_version(softhsm.token("typed-pin", pin=PinPrompt(ask))) == 1
    assert asked == [
        "PIN of the token `typed-pin`; the token has counted a wrong PIN since the last good login"
    ]


@pytest.mark.parametrize(("typed", "label"), [("", "none"), (" ", "blank"), ("\udcff", "bytes")])
def test_what_is_no_pin_is_not_tried_when_a_person_types_it(softhsm: SoftHsm, typed: str, label: str) -> None:
    softhsm.make_token(f"typed-{label}")

    with pytest.raises(PinRefused, match="none was tried"):
        next_version(softhsm.token(f"typed-{label}", pin=PinPrompt(lambda _: typed)))
    assert next_version(softhsm.token(f"typed-{label}")) == 1  # unattended, so the token has counted nothing


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [("", 0o600, "does not hold a PIN"), (PIN, 0o644, "others may use"), ("a\nb", 0o600, "does not hold")],
)
def test_a_file_that_is_no_pin_is_not_tried(
    softhsm: SoftHsm, tmp_path: Path, content: str, mode: int, said: str
) -> None:
    softhsm.make_token(f"file-{mode:o}-{len(content)}")
    path = file_with(tmp_path / "pin", content)
    path.chmod(mode)

    with pytest.raises(ConfigError, match=said):
        next_version(softhsm.token(f"file-{mode:o}-{len(content)}", pin=PinFile(path)))


def test_nss_too_takes_a_good_pin_after_a_wrong_one_was_refused(nss: Nss, tmp_path: Path) -> None:
    wrong = file_with(tmp_path / "pin", WRONG)
    command = [sys.executable, "-m", LOGIN, "login", str(nss_module()), NSS_LABEL]
    told = [
        subprocess.run([*command, str(pin)], capture_output=True, text=True, check=True).stdout
        for pin in (wrong, nss.pin_file, wrong)
    ]

    assert told == ["refused", "in", "refused"]


# -- away and back ---------------------------------------------------------------


@pytest.fixture
def opener(softhsm: SoftHsm) -> Pkcs11EcIdentity:
    softhsm.make_token("away")
    token = softhsm.token("away")
    version = next_version(token)
    generate_ec(token, key="backup", version=version)
    return Pkcs11EcIdentity(token, key="backup", version=version)


def test_an_hsm_that_is_unplugged_is_named_and_works_again_once_it_is_back(softhsm: SoftHsm) -> None:
    softhsm.make_token("remote")
    with P11Kit(softhsm, "remote") as server:
        token = server.token()
        generate_ec(token, key="backup", version=1)
        identity = Pkcs11EcIdentity(token, key="backup", version=1)
        stanza = identity.recipient().wrap(KEY, context=CONTEXT)
        assert identity.unwrap(stanza, context=CONTEXT) == KEY

        server.unplug()
        for _ in range(2):
            with pytest.raises(KeyServiceUnavailable, match="`remote`") as caught:
                identity.unwrap(stanza, context=CONTEXT)
            assert caught.value.transient
        server.plug()
        assert identity.unwrap(stanza, context=CONTEXT) == KEY

        # Away and back between two calls: nobody notices.
        server.unplug()
        server.plug()
        assert identity.unwrap(stanza, context=CONTEXT) == KEY


def test_a_token_that_answers_with_nonsense_for_a_moment_is_asked_again(softhsm_keys: Hsm) -> None:
    """As one does that another process is logging in to; after a few times it is believed."""
    token, begun = softhsm_keys.token(), library(module()).generation

    def answering(*problems: type[Exception]) -> Callable[[object], str]:
        left = list(problems)

        def action(session: object) -> str:
            if left:
                raise left.pop(0)
            return "answered"

        return action

    assert token.do(answering(GeneralError, DeviceError, GeneralError)) == "answered"
    assert library(module()).generation >= begun + 3
    with pytest.raises(KeyServiceUnavailable):
        token.do(answering(*[GeneralError] * 4))
    assert token.do(answering()) == "answered"


def test_a_token_that_is_taken_out_is_missed_and_found_again(softhsm: SoftHsm, softhsm_keys: Hsm) -> None:
    ec = Pkcs11EcIdentity(softhsm_keys.token(), key="backup", version=EC)
    aes = Pkcs11AesIdentity(HsmAesKey(softhsm_keys.token(), key="backup", version=AES))
    sealed = [(each, each.recipient().wrap(KEY, context=CONTEXT)) for each in (ec, aes)]
    plug = softhsm.unplug()
    try:
        for identity, stanza in sealed:
            with pytest.raises(KeyServiceUnavailable, match="is not there; those that are: none"):
                identity.unwrap(stanza, context=CONTEXT)
    finally:
        plug()
    assert [identity.unwrap(stanza, context=CONTEXT) for identity, stanza in sealed] == [KEY, KEY]


# -- what a token lacks ------------------------------------------------------------


def test_a_token_without_the_mechanism_is_named_and_no_key_is_left_in_it(softhsm: SoftHsm) -> None:
    softhsm.make_token("no-wrap")
    with P11Kit(softhsm, "no-wrap") as server:
        token = server.token()
        with pytest.raises(MechanismMissing, match="CKM_AES_KEY_WRAP; no key was made"):
            generate_aes(token, key="backup", version=1)
        assert versions(token, "SECRET_KEY") == []

        # A key that was made elsewhere, and is then used through this way in.
        generate_aes(softhsm.token("no-wrap"), key="backup", version=1)
        server.unplug()
        server.plug()
        with pytest.raises(MechanismMissing, match="cannot do what this recipient needs"):
            Pkcs11AesIdentity(HsmAesKey(token, key="backup", version=1)).recipient().wrap(KEY, context=b"")


def test_a_full_token_keeps_no_key_and_says_so_and_its_old_keys_still_open(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, size=256 * 1024) as mounted:
        if not mounted:
            pytest.skip("we may not mount a small disk here")
        with SoftHsm(disk / "tokens") as full:
            full.make_token("full")
            token = full.token("full")
            token.begin_again()
            old = Pkcs11EcIdentity(
                token, key="backup", version=1, public=generate_ec(token, key="backup", version=1)
            )
            stanza = old.recipient().wrap(KEY, context=CONTEXT)
            filler = disk / "filler"
            with pytest.raises(OSError, match="No space left"):
                filler.write_bytes(bytes(1024 * 1024))

            with pytest.raises(TokenFull, match=r"has not kept|has no room"):
                generate_ec(token, key="backup", version=2)
            with pytest.raises(TokenFull, match=r"has not kept|has no room"):
                generate_aes(token, key="backup", version=3)
            assert old.unwrap(stanza, context=CONTEXT) == KEY

            filler.unlink()
            generate_ec(token, key="backup", version=4)
            assert old.unwrap(stanza, context=CONTEXT) == KEY
        token.begin_again()


def test_a_key_that_the_token_reports_and_has_not_kept_is_noticed(
    softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library would go on using the key that it remembers."""
    softhsm.make_token("forgetful")
    token = softhsm.token("forgetful")
    make = token_keys._secret

    def make_and_lose(session: object, key: str, version: int) -> None:
        before = set(softhsm.tokens.rglob("*.object"))
        make(session, key, version)
        for path in set(softhsm.tokens.rglob("*.object")) - before:
            path.unlink()

    monkeypatch.setattr(token_keys, "_secret", make_and_lose)
    with pytest.raises(TokenFull, match="has not kept it"):
        generate_aes(token, key="backup", version=1)
    monkeypatch.undo()
    begun = library(module()).generation
    assert generate_aes(token, key="backup", version=1)
    assert library(module()).generation > begun  # read back by a library that remembers nothing


# -- which key ---------------------------------------------------------------------


def test_a_key_or_version_that_is_not_there_is_named_with_those_that_are(hsm: Hsm) -> None:
    stanza = EcRecipient(hsm.public[EC], key="backup", version=9).wrap(KEY, context=CONTEXT)
    missing = Pkcs11EcIdentity(hsm.token(), key="backup", version=9, public=hsm.public[EC])
    with pytest.raises(KeyNotFound, match=r"no key `backup` v9; there is v1, v2, v3"):
        missing.unwrap(stanza, context=CONTEXT)

    with pytest.raises(KeyNotFound, match="nor any other version of it"):
        Pkcs11EcIdentity(hsm.token(), key="other", version=EC).recipient()


def test_a_key_is_never_made_over_another(hsm: Hsm) -> None:
    before = versions(hsm.token(), "PRIVATE_KEY")
    for label in ("backup", "anything"):
        with pytest.raises(KeyExists, match="version 3 already"):
            generate_ec(hsm.token(), key=label, version=EC_OTHER)
    assert versions(hsm.token(), "PRIVATE_KEY") == before


def test_a_private_key_never_leaves(hsm: Hsm) -> None:
    token = hsm.token()
    for kind, version in (("PRIVATE_KEY", EC), ("SECRET_KEY", AES)):

        def look(session: object, kind: str = kind, version: int = version) -> tuple[bool, bool]:
            key = find(token, session, kind, "backup", version)
            with pytest.raises(pkcs11.PKCS11Error):
                key[pkcs11.Attribute.VALUE]
            return key[pkcs11.Attribute.SENSITIVE], key[pkcs11.Attribute.EXTRACTABLE]

        assert token.do(look) == (True, False)


def test_a_key_without_the_right_to_derive_is_named(softhsm: SoftHsm, softhsm_keys: Hsm) -> None:
    pem = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    softhsm.import_key("backup", pem, key="sign-only", version=70)
    token = softhsm_keys.token()
    token.begin_again()
    identity = Pkcs11EcIdentity(token, key="sign-only", version=70)
    stanza = identity.recipient().wrap(KEY, context=CONTEXT)

    with pytest.raises(KeyDenied, match="`sign-only`") as caught:
        identity.unwrap(stanza, context=CONTEXT)
    assert "CKA_DERIVE" in caught.value.hint


def test_another_aes_key_under_the_same_name_is_noticed_before_it_seals(hsm: Hsm) -> None:
    key = HsmAesKey(hsm.token(), key="backup", version=AES, key_id="00" * 16)
    with pytest.raises(KeyServiceError, match="is not the configured one"):
        Pkcs11AesIdentity(key).recipient().wrap(KEY, context=CONTEXT)


def test_a_library_that_is_not_there_or_none_is_named(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "none.so", "there is no"), (Path(__file__), "is not a PKCS#11 library")):
        token = Token(module=path, label="backup", pin=PinFile(file_with(tmp_path / "pin", PIN)))
        with pytest.raises(ConfigError, match=said):
            next_version(token)


# -- many at once --------------------------------------------------------------------


@pytest.mark.parametrize("make", ["SoftHSM", "NSS"])
def test_a_thousand_unwraps_in_forks_and_threads_at_once_are_all_right(
    make: str, softhsm_keys: Hsm, nss_keys: Hsm
) -> None:
    token = (softhsm_keys if make == "SoftHSM" else nss_keys).token()
    assert token.label is not None
    assert isinstance(token._pin, PinFile)

    done = subprocess.run(
        [sys.executable, "-m", "tests.live.keys.stress", token.module, token.label, token._pin._path],
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"right": 200, "children": [200] * 4, "codes": [0] * 4}


def test_threads_at_work_miss_a_token_that_is_taken_out_and_go_on_with_it(
    softhsm: SoftHsm, softhsm_keys: Hsm
) -> None:
    ec = Pkcs11EcIdentity(softhsm_keys.token(), key="backup", version=EC)
    aes = Pkcs11AesIdentity(HsmAesKey(softhsm_keys.token(), key="backup", version=AES))
    sealed = [(each, each.recipient().wrap(KEY, context=CONTEXT)) for each in (ec, aes) * 2]
    missed, ended = threading.Event(), threading.Event()

    def go_on(identity: Identity, stanza: Stanza) -> int:
        """Return how often it opened once the token was missed, and wait for one that is away."""
        opened = 0
        while opened < 20 and not ended.is_set():
            try:
                assert identity.unwrap(stanza, context=CONTEXT) == KEY
                opened += missed.is_set()
            except KeyServiceUnavailable:
                missed.set()
        return opened

    with ThreadPoolExecutor(len(sealed)) as threads:
        at_work = [threads.submit(go_on, *each) for each in sealed]
        plug = softhsm.unplug()
        try:
            was_missed = missed.wait(PATIENCE)
            plug()
            assert was_missed
            assert [each.result(PATIENCE) for each in at_work] == [20] * len(sealed)
        finally:
            ended.set()
