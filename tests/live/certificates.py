"""Certificates for loopback that tests make: valid ones, one that expired, and an authority that signs."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def make_certificate(folder: Path, *, expired: bool = False) -> tuple[Path, Path]:
    """Write a self-signed certificate of 127.0.0.1 and its key; it is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    start, end = (now - timedelta(days=3), now + timedelta(days=-1 if expired else 1))
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _written(folder, made, key)


def _written(folder: Path, made: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> tuple[Path, Path]:
    certificate, private = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.touch(mode=0o600)
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, private


class Authority:
    """An authority of a test's own, and what it signs: certificates of servers and of clients.

    Args:
        folder: where all of it lies; ``ca.pem`` is what others believe it by.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CANARY authority")])
        now = datetime.now(UTC)
        made = _signed(
            self._name,
            self._key.public_key(),
            issuer=self._name,
            signer=self._key,
            start=now,
            end=now + timedelta(days=1),
            authority=True,
        )
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *, hosts: Sequence[str] = (), expired: bool = False) -> tuple[Path, Path]:
        """Write a certificate and its key.

        Args:
            name: its common name, as which PostgreSQL knows a client.
            hosts: names and addresses of the server that it is for.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        end = now + timedelta(days=-1 if expired else 1)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = _signed(
            subject,
            key.public_key(),
            issuer=self._name,
            signer=self._key,
            start=now - timedelta(days=3),
            end=end,
            hosts=hosts,
        )
        folder = self.folder / f"{name}-{x509.random_serial_number():x}"
        folder.mkdir()
        return _written(folder, made, key)


def _signed(
    subject: x509.Name,
    public: ec.EllipticCurvePublicKey,
    *,
    issuer: x509.Name,
    signer: ec.EllipticCurvePrivateKey,
    start: datetime,
    end: datetime,
    hosts: Sequence[str] = (),
    authority: bool = False,
) -> x509.Certificate:
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(
            x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if authority:
        made = made.add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    if hosts:
        made = made.add_extension(
            x509.SubjectAlternativeName([_host(name) for name in hosts]), critical=False
        )
    return made.sign(signer, hashes.SHA256())


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def server_context(folder: Path, *, expired: bool = False) -> tuple[ssl.SSLContext, Path]:
    """Return what a server needs to speak TLS, and the file that a client trusts it by."""
    certificate, key = make_certificate(folder, expired=expired)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate
