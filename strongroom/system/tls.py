"""Why a server and we do not come together by TLS, in words that a person can act on.

The libraries that speak for us lose the reason: redis-py finds a broken pipe where the server's refusal came
while it wrote, and libpq does not say what is wrong with a certificate. So once one of them has failed, we
shake hands again, send nothing, and listen.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from msgspec import Struct


class ClientTls(Struct, frozen=True, kw_only=True):
    """How a server is believed, and what is shown to it: settings of one section.

    Args:
        section: of the configuration, which has ``url``, ``ca_file``, ``certificate_file`` and ``key_file``.
        verified: whether the server has to have a certificate of an authority that we know.
        named: whether that has to be of its name.
    """

    section: str
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    verified: bool = True
    named: bool = True

    def refusal(
        self, host: str, port: int, *, seconds: float, begin: Callable[[socket.socket], object] | None = None
    ) -> tuple[str, str] | None:
        """Return what keeps us apart and what to do about it; ``None`` if that is not TLS.

        Args:
            begin: what is said before the handshake.
        """
        if self.certificate_file is not None and (own := self._own(self.certificate_file)):
            return own
        try:
            context = self._context()
        except (OSError, ValueError):
            why = "cannot be told from another: the certificates to know it by cannot be read"
            return why, f"Nothing was sent. Name a file of certificates (PEM) in '{self.section}.ca_file'."
        try:
            with socket.create_connection((host, port), seconds) as plain:
                if begin is not None:
                    begin(plain)
                with context.wrap_socket(plain, server_hostname=host) as connection:
                    connection.settimeout(_LISTENING)
                    connection.recv(1)  # with TLS 1.3 a server refuses our certificate after the handshake
        except ssl.SSLError as error:
            return self._explained(error, host)
        except OSError:
            pass
        return None

    def _own(self, certificate: Path) -> tuple[str, str] | None:
        """Say what is wrong with our certificate by itself: servers say all kinds of things to that."""
        from cryptography.x509 import load_pem_x509_certificate

        setting = f"'{self.section}.certificate_file'"
        try:
            self._show(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
            end = load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
        except (OSError, ValueError):
            return (
                "was not asked: our certificate and its key do not go together, or cannot be read",
                f"Name a PEM in {setting}, and its key, without a passphrase, in '{self.section}.key_file'.",
            )
        if end < datetime.now(UTC):
            return (
                f"takes no certificate that has expired, and ours ended on {end:%Y-%m-%d}",
                f"Renew the certificate of {setting}; if it is of today, set this host's clock.",
            )
        return None

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca_file and str(self.ca_file))
        context.check_hostname = self.verified and self.named
        context.verify_mode = ssl.CERT_REQUIRED if self.verified else ssl.CERT_NONE
        self._show(context)
        return context

    def _show(self, context: ssl.SSLContext) -> None:
        if self.certificate_file is not None:
            # A key with a passphrase would ask for it here, where nobody types.
            context.load_cert_chain(self.certificate_file, self.key_file, password=lambda: "")

    def _explained(self, error: ssl.SSLError, host: str) -> tuple[str, str]:
        if isinstance(error, ssl.SSLCertVerificationError):
            said = error.verify_message.rstrip(".")
            why, hint = _THEIRS.get(error.verify_code, (f"has a certificate that does not hold ({said})", ""))
        else:
            reason = error.reason or "closed"
            other = f"ends the encrypted connection ({reason.lower().replace('_', ' ')})"
            why, hint = next((told for mark, told in _ALERTS.items() if mark in reason), (other, _WANTS))
        return why, f"Nothing was sent. {hint}".strip().format(host=host, section=self.section)


_LISTENING: Final = 1.0
"""Seconds in which a server that refuses us has said so."""

_AUTHORITY: Final = (
    "has a certificate that no authority we know has signed",
    "Name its authority in '{section}.ca_file' (PEM); if it stands there, another may answer for {host}.",
)
_OTHER_NAME: Final = (
    "has a certificate of another host",
    "It is not for '{host}': write in '{section}.url' the name that it is for, or have it made for that too.",
)
_OTHER_TIME: Final = "Renew it on {host}. If it is of today, set this host's clock."
_THEIRS: Final = {
    9: ("has a certificate that is not valid yet", _OTHER_TIME),
    10: ("has a certificate that has expired", _OTHER_TIME),
    **dict.fromkeys((18, 19, 20, 21), _AUTHORITY),
    **dict.fromkeys((62, 64), _OTHER_NAME),
}
"""What is wrong with the server's certificate, by OpenSSL's number (``X509_V_ERR_…``)."""

_WANTS: Final = (
    "It may ask for a client certificate ('{section}.certificate_file' and '{section}.key_file'), or speak "
    "no TLS of today (1.2 or 1.3)."
)
_NO_TLS: Final = ("speaks no TLS at that port", "Write in '{section}.url' the port where it does.")
_ALERTS: Final = {
    "CERTIFICATE_REQUIRED": (
        "asks for a client certificate",
        "Name one, and its key, in '{section}.certificate_file' and '{section}.key_file'.",
    ),
    "UNKNOWN_CA": (
        "does not believe our certificate",
        "Name in '{section}.certificate_file' one that an authority signed which {host} believes.",
    ),
    **dict.fromkeys(
        ("ALERT_CERTIFICATE", "BAD_CERTIFICATE"),
        (
            "refuses our certificate",
            "Compare '{section}.certificate_file' with what {host} asks for; its log says why.",
        ),
    ),
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
}
"""What a server answers to a handshake, by a part of OpenSSL's name for it."""


def system_authorities() -> str:
    """Return the file of the authorities that this system believes, as PostgreSQL's client names it.

    The client of psycopg's own package looks for them at a place that no system has, so ``system`` alone is
    nobody.
    """
    known = (ssl.get_default_verify_paths().cafile, *_BUNDLES)
    return next((path for path in known if path and Path(path).is_file()), "system")


_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Debian, Red Hat, SUSE, Alpine and macOS."""
