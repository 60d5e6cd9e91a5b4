"""Keys that people, HSMs and services keep, for recover.py, which loads this file when one of them is named.

It needs nothing beyond what recover.py needs, but for an HSM the package python-pkcs11. What goes wrong is a
ValueError whose text quotes no key.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def need(condition: object, message: str) -> None:
    """Raise ValueError unless the condition holds."""
    if not condition:
        raise ValueError(message)


TextOf = Callable[[Path], str]
Asked = Callable[[str], str]


def gather(
    given: argparse.Namespace, text_of: TextOf, asked: Asked, note: Callable[[str], None]
) -> dict[str, tuple[Any, ...]]:
    """Read every key of these kinds that the command line names."""
    return {
        "quorums": tuple(gather_quorums(given, text_of, asked, note)),
        "hsms": tuple(gather_hsms(given, text_of, asked)),
        "answers": tuple(map(answer_of, (*given.answer, *lines_of(given.answers, text_of)))),
    }


def lines_of(paths: Sequence[Path], text_of: TextOf) -> Iterator[str]:
    for path in paths:
        lines = [line for line in text_of(path).splitlines() if line.strip()]
        need(lines, f"'{path}' holds no answer.")
        yield from lines


def answer_of(text: str) -> bytes:
    try:
        found = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        found = b""
    need(len(found) == 32, "--answer takes what Vault or KMS printed: 32 bytes in base64.")
    return found


def gather_quorums(
    given: argparse.Namespace, text_of: TextOf, asked: Asked, note: Callable[[str], None]
) -> Iterator[bytes]:
    """Read shares from files, a line each, or ask for them one by one; a slip loses no other."""
    for path in given.share_file:
        yield join_shares([line for line in text_of(path).splitlines() if line.strip()])
    shares: list[str] = []
    while given.shares:
        try:
            shares.append(asked(f"Share {len(shares) + 1}: "))
            (_, _, threshold), _, _ = read_share(shares[-1])
        except ValueError as failure:
            note(f"{failure} Type it again.")
            shares.pop()
            continue
        if len(shares) == threshold:
            yield join_shares(shares)
            return


def gather_hsms(given: argparse.Namespace, text_of: TextOf, asked: Asked) -> Iterator[Hsm]:
    for path in given.hsm_private_key:
        try:
            key = load_pem_private_key(path.read_bytes(), None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"'{path}' is no EC private key in PEM, or it is encrypted.")
        yield software(key)
    if given.hsm:
        path = given.pin_file
        pin = text_of(path).rstrip("\r\n") if path else asked("PIN: ")
        need(pin.strip(), "There is no PIN; none was tried.")
        yield pkcs11_token(given.hsm, given.token, pin)


# -- what to do for a key that is kept elsewhere ----------------------------------


def instruction(kind: str, args: dict[str, Any], context: bytes, transit: Sequence[str] = ()) -> str:
    """Say what to do for a stanza that a quorum, an HSM or a service opens."""
    if kind not in ("transit", "kms"):
        return HELP.get(kind, lambda _: "use a newer recover.py")(args)
    asked = _kms(args, context) if kind == "kms" else _transit(args, transit) or _transit(args, (), "KEY")
    where = " (KEY: see the recovery kit)" if "/KEY " in asked else ""
    return f"run '{asked}'{where}, and give what it prints with --answer" if asked else _NO_KMS


_NO_KMS = "it names no key of AWS KMS"


def question(kind: str, args: dict[str, Any], context: bytes, transit: Sequence[str]) -> str:
    """Return the command for a shell that has the service decrypt."""
    if kind == "kms":
        asked, lacking = _kms(args, context), _NO_KMS
    else:
        asked, lacking = _transit(args, transit), "--transit MOUNT/KEY has to name its key, and does not."
    need(asked, lacking)
    return asked


def _transit(args: dict[str, Any], transit: Sequence[str], unknown: str = "") -> str:
    path = next(
        (name for name in transit if transit_id(name) == args["key"]), unknown and f"transit/{unknown}"
    )
    if not path:
        return ""
    mount, _, key = path.strip("/").rpartition("/")
    ciphertext = base64.b64encode(bytes.fromhex(args["data_key"])).decode()
    asked = f"write -field=plaintext {quote(f'{mount}/decrypt/{key}')} ciphertext=vault:v"
    return f"{'vault' if unknown else _VAULT} {asked}{int(args['version'])}:{ciphertext}"


_VAULT = '"$(command -v bao || command -v vault)"'


def transit_id(name: str) -> str:
    """Return what a stanza calls a key of the transit engine, by its mount and name."""
    return sha256(b"strongroom/v1/transit-id/" + name.strip("/").encode())[:16].hex()


def _kms(args: dict[str, Any], context: bytes) -> str:
    arn = re.fullmatch(rb"arn:[a-z-]+:kms:([a-z0-9-]+):[0-9]+:key/[A-Za-z0-9-]+", bytes.fromhex(args["arn"]))
    if arn is None:  # whoever wrote it may want a command of theirs to be typed
        return ""
    blob = base64.b64encode(bytes.fromhex(args["blob"])).decode()
    return (
        f"echo {blob} | base64 -d | aws kms decrypt --region {arn[1].decode()} --key-id {arn[0].decode()} "
        f"--encryption-context strongroom={context.hex()} --ciphertext-blob fileb:///dev/stdin "
        "--output text --query Plaintext"
    )


def _in_hsm(args: dict[str, Any]) -> str:
    return f"plug in the HSM (its key has the id {args['version']:04x}); give --hsm MODULE --token LABEL"


HELP: dict[str, Callable[[dict[str, Any]], str]] = {
    "quorum": lambda args: "bring custodians together; give --shares",
    "pkcs11-ec": _in_hsm,
    "pkcs11-aes": _in_hsm,
}


# -- keys in an HSM, or its copy in a safe ----------------------------------------


@dataclass(frozen=True)
class Hsm:
    """Something that does a Diffie-Hellman, and maybe unwraps, with keys that it keeps.

    ``agree`` takes the SHA-256 of a public point, a version and the other side's point; it returns the
    shared x-coordinate and our public point, or None if it has no such key.
    """

    agree: Callable[[bytes, int, bytes], tuple[bytes, bytes] | None]
    unwrap: Callable[[int, bytes], bytes | None] = lambda version, wrapped: None


def software(private: ec.EllipticCurvePrivateKey) -> Hsm:
    """Use a copy of the private key in the HSM's place."""
    public = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def agree(name: bytes, version: int, enc: bytes) -> tuple[bytes, bytes] | None:
        if sha256(public) != name or len(enc) != len(public):
            return None
        try:
            other = ec.EllipticCurvePublicKey.from_encoded_point(private.curve, enc)
        except ValueError:
            return None
        return private.exchange(ec.ECDH(), other), public

    return Hsm(agree)


def pkcs11_session(module: str, label: str, pin: str) -> Any:
    """Log in to a token, once: a wrong PIN is not tried again."""
    try:
        import pkcs11  # noqa: PLC0415 - only where there is an HSM
    except ImportError:
        raise ValueError("An HSM needs the package python-pkcs11: see README.md.") from None
    try:
        return pkcs11.lib(module).get_token(token_label=label).open(user_pin=pin)
    except pkcs11.PKCS11Error as error:
        kinds = f"{type(error).__name__} {error}".strip()
        raise ValueError(f"The HSM does not let us in ({kinds}). Nothing was tried twice.") from None


def told(use: Callable[..., Any]) -> Callable[..., Any]:
    """Name what an HSM does not do, or not any more."""
    import pkcs11  # noqa: PLC0415 - only where there is an HSM

    def used(*words: Any) -> Any:
        try:
            return use(*words)
        except pkcs11.PKCS11Error as error:
            raise ValueError(f"The HSM does not do it ({type(error).__name__} {error}).") from None
        except AttributeError:  # what the token does not allow its key, the binding does not offer
            raise ValueError("The HSM does not allow its key this use.") from None

    return used


def pkcs11_token(module: str, label: str, pin: str) -> Hsm:
    """Return what an HSM does with the keys of a token that never leave it."""
    session = pkcs11_session(module, label, pin)
    import pkcs11  # noqa: PLC0415 - only where there is an HSM

    attribute, kind = pkcs11.Attribute, pkcs11.ObjectClass

    def find(**wanted: Any) -> list[Any]:
        return list(session.get_objects({attribute[name]: value for name, value in wanted.items()}))

    def agree(name: bytes, version: int, enc: bytes) -> tuple[bytes, bytes] | None:
        for public in find(CLASS=kind.PUBLIC_KEY, ID=version.to_bytes(2, "big")):
            point = bytes(public[attribute.EC_POINT])[-len(enc) :]  # after the DER octet string's head
            if sha256(point) != name:
                continue
            private = find(CLASS=kind.PRIVATE_KEY, ID=version.to_bytes(2, "big"), LABEL=public.label)
            need(private, f"The HSM has the public half of '{public.label}' alone.")
            secret = private[0].derive_key(
                pkcs11.KeyType.GENERIC_SECRET,
                8 * (len(enc) // 2),
                mechanism=pkcs11.Mechanism.ECDH1_DERIVE,
                mechanism_param=(pkcs11.KDF.NULL, None, enc),
                template={attribute.SENSITIVE: False, attribute.EXTRACTABLE: True},
            )
            return bytes(secret[attribute.VALUE]), point
        return None

    def unwrap_(version: int, wrapped: bytes) -> bytes | None:
        for key in find(CLASS=kind.SECRET_KEY, ID=version.to_bytes(2, "big")):
            try:
                made = key.unwrap_key(
                    kind.SECRET_KEY,
                    pkcs11.KeyType.GENERIC_SECRET,
                    wrapped,
                    mechanism=pkcs11.Mechanism.AES_KEY_WRAP,
                    template={
                        attribute.TOKEN: False,
                        attribute.SENSITIVE: False,
                        attribute.EXTRACTABLE: True,
                    },
                )
            except pkcs11.PKCS11Error:
                continue
            return bytes(made[attribute.VALUE])
        return None

    return Hsm(told(agree), told(unwrap_))


# -- shares of a quorum (SLIP-39) ---------------------------------------------------

# Every word of SLIP-39's list begins with four letters of its own; these are they, in order.
WORDS = """
acadacidacneacquacroactiactradapadeqadjuadmiadoraduladvaadvoafraagaiagenagreaideaircairlairpajar
alaralbualcoaliealivalphalrealtoalumalwaamazambiamouamusanalanatanceanciangeangranimanswanteanxi
aparaquaarcaarenarguarmeartiartwaspeauctauguauntaveraviaavoiawarawayaxisaxlebeambearbeavbecobedr
behabeinbelibelobenebestbeyobikebiolbirtbishblacblanblesblimblinbluebodyboltboribornbothbounbrac
branbravbreabriebrokbrotbrowbuckbudgbuilbulbbulgbumpbundburdburnbusybuyecagecalccamecampcanycapa
capicaptcarbcardcarecargcarpcarvcatecausceilcentcerachamchancharchecchemcheschewchubcineciviclas
claycleaclieclimclinclocclogclosclotclubcluscoalcoascodicolucompcorncostcouncourcovecowbcradcraf
crazcredcriccrimcriscritcrowcruccruncruscryscubicultcuricurlcustcylidaisdamadancdarkdatadaugdead
dealdebrdebudecedecidecldecodecrdelidemadensdenydepadepedepidepldescdesedesideskdestdetadetedevi
devodiagdictdietdiledimidinidipldisadiscdisedishdismdispdistdivedivodocudomadomedomidougdowndrag
dramdreadresdrifdrindrovdrugdryeduckdukeduradwardynaearlearteaseeasyechoecliecoledgeediteduceith
elboeldeelecelegelemelepelevelitelseemaiemeremisempeemphemplemptendiendlendoenemenerenfoengaenjo
enlaentrenveenvyepidepisequaequieraserodescaestaestievalevenevidevilevokexacexamexceexchexclexcu
execexerexhaexotexpaexpeexplexprexteextreyebfacifactfailfainfakefalsfamifamofancfangfantfatafati
favofawnfibefictfiltfinafindfingfirefirmfiscfishfitnflamflasflavfleaflexflipfloaflorfluffocuforb
forcforeforgformfortforwfounfracfragfreqfresfriafridfriefrosfrotfrozfumefundfurlfusegalagamegarb
gardgarlgasogathgenegenigenrgenugeolgestgladglanglasglenglimgoatgoldgradgrangrasgravgraygreagrie
grilgringrocgrosgrougrowgrumguarguesguilguitgumshairhamshandhangharvhavehavohawkhazaheadhealhear
heathelpheraherdhesihoboholiholyhomehormhosphourhugehumahumihunthusbhushhuskhybrideaidenidleimag
impaimplimprimpuinclincoincrindeindiinduinfainfoinheinjuinmainseinsiinstinteintiinvainvoirisisla
isolitemivorjackjerkjewejoinjudijuicjumpjuncjunijunkjuryjustkernkeybkidnkindkitcknifknitladeladl
ladylairlamplanglarglaselaunlawsleadleaflearleavlectlegalegelegslendlenglevelibelibrliceliftlike
lilalilylipsliqulistlitelivilizaloanlobelocalosiloudloyalucklunalunclungluxulyinlyrimachmagamaid
mailmainmakemakimamamanamandmansmanumaramarcmarkmarvmasomatemathmaximayomeanmedamedimembmemoment
mercmerimethmetrmidsmildmilimineminimiramixemixtmobimodemodimoismomemornmortmothmounmousmovemuch
mulemultmuscmusemusimustnailnatineckneganervnetwnewsnuclnumbnumenylooasiobesobjeobseobtaoceaofte
olymomitoraloranorbiordeordiorgaouncovenoverownepacepacipackpaidpainpajapancpantpapapapeparcpark
partpatepatrpaympayrpeacpeanpeaspecapenapencpercperfpermpetiphanpharphotphraphyspickpictpiecpile
pinkpipepistpitcplaiplanplasplatplaypleaplotplunpracpraypreapredpregprempreppresprevprieprimprio
prisprivprizprobprocprofprogpromprosprovprunpublpulspumppunipunypupapurcpurppythquanquarquicquie
raceraciradarailrainraisrandrankrapiraspreacrealreboreburecarecerecoregrregurejerelaremeremiremo
rendreparepereplrequrescreseresirespresuretaretrreunreverevirewarhymrhytrichrivariverobirockroma
romprostrounroyaruinrulerumosacksafasalasalosaltsatisatosavesaysscanscarscatscenschosciescouscra
screscriscroseafseassecrsecusegmsenishadshafshamshapsharshelshershorshoushrisidesilesilvsimisimp
singsistskinskunslapslavsledslicslimslowslussmarsmeasmelsmirsmitsmoksmugsnaksnapsnifsocisoftsold
solusoulsourspacsparspeaspecspelspenspewspidspilspinspirspitsprasprisquasquestadstafstanstarstat
staysteastepsticstilstorstrastristylsubjsubmsugasuitsunlsupesurfsurpsurvsweaswimswinswitsymbsymp
syndsysttacktacttadptaletasktasttaugtaxiteacteamteastemptenatendtenstermtesttextthanthattheatheo
therthorthrethumthunticktidytimbtimetingtofutogetoletotatoxitractraftraitrantrastravtreatrentria
trictriptriutroutruetrustwictwintypetypiuglyultiumbruncoundeunfaunfounhauniounivunkiunknunusunwr
upgrupstuserusheusuavalivaluvampvanivarivegavelvventverdveriveryvetevexevictvideviewvintviolvira
visivisuvitavocavoicvoluvotevotiwalnwarmwarnwatcwavywealweapwebcwelcwelfwestwidtwildwindwinewire
wisdwithwitswolfwomaworkwortwrapwriswritwrotyearyelpyielyogazero
""".replace("\n", "")
PLACES = {WORDS[at : at + 4]: at // 4 for at in range(0, len(WORDS), 4)}


def read_share(text: str) -> tuple[tuple[int, int, int], int, bytes]:
    """Return what all shares of a set have in common (id, exponent, threshold), the number and the value."""
    typed = text.lower().split()
    wrong = [str(at) for at, word in enumerate(typed, 1) if word[:4] not in PLACES]
    need(not wrong, f"Word {', '.join(wrong)} of a share is no word of a share.")
    need(len(typed) == 33, f"A share has 33 words, and {len(typed)} were given.")
    places = [PLACES[word[:4]] for word in typed]
    need(rs1024([*b"shamir_extendable", *places]) == 1, "A word of a share is wrong: look again.")
    bits = 0
    for place in places[:30]:
        bits = bits << 10 | place
    value, head = bits & ((1 << 256) - 1), bits >> 260
    # The head: id 15, extendable 1, exponent 4; group's index, threshold and count, index, threshold: 4 each.
    need(
        head >> 24 & 1 and not head >> 8 & 0xFFF and not bits >> 256 & 15,
        "It is another kind of share.",
    )
    return (head >> 25, head >> 20 & 15, (head & 15) + 1), head >> 4 & 15, value.to_bytes(32, "big")


def rs1024(values: Sequence[int]) -> int:
    """The checksum of SLIP-39, which is 1 if all is right."""
    generator = (
        0xE0E040, 0x1C1C080, 0x3838100, 0x7070200, 0xE0E0009,
        0x1C0C2412, 0x38086C24, 0x3090FC48, 0x21B1F890, 0x3F3F120,
    )  # fmt: skip
    check = 1
    for value in values:
        top, check = check >> 20, (check & 0xFFFFF) << 10 ^ value
        for bit, factor in enumerate(generator):
            check ^= factor if top >> bit & 1 else 0
    return check


def join_shares(texts: Sequence[str], passphrase: bytes = b"") -> bytes:
    """Put the shares of a quorum together; return the private key's seed. Ours have no passphrase."""
    read = [read_share(text) for text in texts]
    need(len({common for common, _, _ in read}) == 1, "The shares are of different quorums.")
    _, exponent, threshold = read[0][0]
    points = {place: value for _, place, value in read}
    need(len(points) == len(texts), "A share was given twice.")
    need(len(points) == threshold, f"{threshold} shares are needed, {len(points)} were given.")
    secret, check = interpolate(points, 255), interpolate(points, 254)
    right = hmac.digest(check[4:], secret, "sha256")[:4]
    need(right == check[:4], "The shares are whole, and do not belong together.")
    left, other = secret[:16], secret[16:]
    for step in (3, 2, 1, 0):
        mask = hashlib.pbkdf2_hmac("sha256", bytes([step]) + passphrase, other, (10_000 << exponent) // 4, 16)
        left, other = other, bytes(a ^ b for a, b in zip(left, mask, strict=True))
    return other + left


def interpolate(points: dict[int, bytes], at: int) -> bytes:
    """Lagrange's interpolation over GF(256), byte by byte."""
    result = bytes(32)
    for place, value in points.items():
        factor = 1
        for other in points:
            if other != place:
                factor = times(factor, times(at ^ other, inverse(place ^ other)))
        result = bytes(a ^ times(factor, b) for a, b in zip(result, value, strict=True))
    return result


def times(a: int, b: int) -> int:
    """Multiply in GF(256) with the polynomial of AES."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a, b = a << 1 ^ (0x11B if a & 0x80 else 0), b >> 1
    return product


def inverse(a: int) -> int:
    power = a
    for _ in range(253):  # a to the 254th
        power = times(power, a)
    return power
