"""What docker-compose.yml runs before everything else. It makes what is missing, and leaves what is there.

``secrets``: an authority, certificates of the servers, a password for each role, the users of Redis, the
passwords of the page and of Flower, and the token for metrics.
``rights``: the tables of the database, and the right of each role to some of them.
``demo``: the configuration of the demo, if that is missing, and the credentials for its servers.
``seed``: a bucket, a container, and secrets that are made up, on the servers of the demo.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import secrets
import shutil
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psycopg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from strongroom.config import load_settings
from strongroom.keys.roles import load_or_create_role
from workers.names import roles_in_use
from workers.paths import role_keys

CONFIG = Path("/etc/strongroom/strongroom.toml")
FOLDER = Path("/run/strongroom")
PASSWORDS = FOLDER / "passwords"
LASTS = dt.timedelta(days=3650)
"""Certificates are for the network of these containers alone. New ones are made in an empty volume."""
USER = 10001
SERVERS = ("redis", "postgres", "openbao", "s3", "azurite")


def write(path: Path, content: str | bytes) -> None:
    """Write a file of mode 0600 whole or not at all."""
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_bytes(content.encode() if isinstance(content, str) else content)
    new.replace(path)


def make_certificates() -> None:
    """Make an authority, and have it certify the two servers; then forget its key."""

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def builder(subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        made = (
            x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("Strongroom's containers"))
        )
        made = made.public_key(key.public_key()).serial_number(x509.random_serial_number())
        return made.not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + LASTS)

    now = dt.datetime.now(dt.UTC)
    authority = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority.public_key())
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    own = builder("Strongroom's containers", authority)
    own = own.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    own = own.add_extension(usage, critical=True).add_extension(identifier, critical=False)
    for server in SERVERS:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = builder(server, key)
        for extension in (
            x509.BasicConstraints(ca=False, path_length=None),
            x509.SubjectAlternativeName([x509.DNSName(server), x509.DNSName("localhost")]),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
        ):
            certificate = certificate.add_extension(extension, critical=False)
        signed = certificate.sign(authority, hashes.SHA256())
        kinds = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        write(FOLDER / f"{server}.key", key.private_bytes(*kinds))
        write(FOLDER / f"{server}.pem", signed.public_bytes(serialization.Encoding.PEM))
    write(FOLDER / "ca.pem", own.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def rules(server: str) -> str:
    """Return what each role needs of a server."""
    words = ["strongroom", "cluster", "rules", server, "--passwords", str(PASSWORDS), "--quiet"]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def make_secrets() -> None:
    """Make what is missing."""
    if not CONFIG.exists():
        sys.exit(
            "There is no ops/compose/config/strongroom.toml. Nothing was started. Type:\n"
            "  cp ops/compose/config/strongroom.toml.example ops/compose/config/strongroom.toml"
        )
    if not (FOLDER / "ca.pem").exists():
        make_certificates()
    for name in ("postgres-owner", "page-password", "flower-password", "metrics-token"):
        if not (FOLDER / name).exists():
            write(FOLDER / name, secrets.token_urlsafe(24))
    write(FOLDER / "users.acl", rules("redis"))
    rules("postgres")  # for its passwords
    # All at once: a process that began before all are there would refuse what the last ones send.
    for role in roles_in_use(page_acts=load_settings().page.act):
        load_or_create_role(role_keys(Path(os.environ["STRONGROOM_STATE_DIR"])), role)


def grant_rights() -> None:
    """Make the tables that are missing, and give each role its rights to them."""
    subprocess.run(["strongroom", "runs", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    script = [line for line in rules("postgres").splitlines() if not line.startswith("\\")]
    owner = os.environ["STRONGROOM_STATE__URL"]
    password = (FOLDER / "postgres-owner").read_text()
    tls = {"sslmode": "verify-full", "sslrootcert": str(FOLDER / "ca.pem")}
    with psycopg.connect(owner, password=password, autocommit=True, **tls) as database:
        database.execute("\n".join(script).encode())


# -- The demo -------------------------------------------------------------------------------------


DEMO = FOLDER / "demo"
AZURE = "https://azurite:10000/devstoreaccount1"
LISTENER = """
listener "tcp" {
  address       = "0.0.0.0:8300"
  tls_cert_file = "/run/strongroom/openbao.pem"
  tls_key_file  = "/run/strongroom/openbao.key"
}
"""


def prepare_demo() -> None:
    """Bring its configuration, and make the credentials for its servers."""
    if not CONFIG.exists():
        shutil.copyfile(Path(__file__).with_name("demo") / "strongroom.toml", CONFIG)
    DEMO.mkdir(mode=0o700, exist_ok=True)
    if not (DEMO / "vault-token").exists():
        key = secrets.token_hex(16)
        write(DEMO / "s3-credentials", f"[default]\naws_access_key_id={key}\naws_secret_access_key={key}\n")
        key = base64.b64encode(secrets.token_bytes(64)).decode()
        write(DEMO / "azure-key", key)
        account = f"DefaultEndpointsProtocol=https;AccountName=devstoreaccount1;AccountKey={key}"
        write(DEMO / "azure-credential", f"{account};BlobEndpoint={AZURE};")
        write(DEMO / "openbao.hcl", LISTENER)
        words = ["strongroom", "keys", "new", "--output", str(DEMO / "backup.key"), "--algorithm", "AES256"]
        alone = {"STRONGROOM_CONFIG": "/dev/null", "STRONGROOM_STATE_DIR": "/tmp/state"}  # noqa: S108
        subprocess.run([*words, "--quiet"], check=True, env={"PATH": os.environ["PATH"], **alone})
        write(DEMO / "vault-token", secrets.token_urlsafe(16))
    for path in (DEMO, *DEMO.iterdir()):
        os.chown(path, USER, USER)


def seed_demo() -> None:
    """Fill its servers."""
    trusted = ssl.create_default_context(cafile=str(FOLDER / "ca.pem"))
    token = (DEMO / "vault-token").read_text()

    def put(number: int) -> None:
        value = {"password": secrets.token_urlsafe(24)}
        request = urllib.request.Request(
            f"https://openbao:8300/v1/secret/data/team-{number % 7}/service-{number}",
            data=json.dumps({"data": value}).encode(),
            headers={"X-Vault-Token": token},
        )
        urllib.request.urlopen(request, context=trusted, timeout=10).close()  # noqa: S310 - it is our own address

    def make_bucket() -> None:
        import boto3  # noqa: PLC0415 - an extra, which the demo alone needs

        os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(DEMO / "s3-credentials")
        s3 = boto3.client(
            "s3", endpoint_url="https://s3:4566", region_name="us-east-1", verify=str(FOLDER / "ca.pem")
        )
        if "strongroom" not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
            s3.create_bucket(Bucket="strongroom")
            s3.put_bucket_versioning(Bucket="strongroom", VersioningConfiguration={"Status": "Enabled"})

    def make_container() -> None:
        from azure.storage.blob import BlobServiceClient  # noqa: PLC0415 - another

        account = (DEMO / "azure-credential").read_text()
        service = BlobServiceClient.from_connection_string(account, connection_verify=str(FOLDER / "ca.pem"))
        container = service.get_container_client("strongroom")
        if not container.exists():
            container.create_container()

    once_it_answers(lambda: put(0))
    for number in range(1, 200):
        put(number)
    once_it_answers(make_bucket)
    once_it_answers(make_container)
    sys.stdout.write("The demo's servers are filled: 200 secrets in OpenBao, and places for their backups.\n")


def once_it_answers(work: Callable[[], None]) -> None:
    """Do it once the server that it takes is up."""
    until = time.monotonic() + 120
    while True:
        try:
            work()
        except Exception:  # whatever it says: it starts
            if time.monotonic() > until:
                raise
            time.sleep(1)
        else:
            return


if __name__ == "__main__":
    {"secrets": make_secrets, "rights": grant_rights, "demo": prepare_demo, "seed": seed_demo}[sys.argv[1]]()
