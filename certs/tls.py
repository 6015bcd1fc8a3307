"""TLS as we speak it: 1.3 only, a certificate on both sides always, and a name that is checked after the handshake.

What proves whom, in both directions:
* **The server learns its client** from `peer_identity`: the leaf that gRPC shows, checked against the root of the
  member that it names (`certs.identity`). It is asked on every call.
* **The client learns its server** in the handshake only: gRPC for Python has no way to show a client its server's
  certificate. So a client trusts exactly one root, that of the member it means to reach (a gateway: the hub's; a
  national system: its own nation's), the host name must match, and of the leaves that such a root issues only the
  gateway's or the hub's may serve at all (extended key usage). The pinned root with its name constraint is the identity
  check; it leaves open only which of one member's servers answered, and there is one.

TLS 1.2 is refused twice: no suite for it is left (see `certs`), and `peer_identity` reads the connection's version.
Certificates are changed without a restart: the files are looked at on each new connection. Connections that exist live
on; that somebody was revoked is noticed by asking `peer_identity`'s question again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, cast

import certs  # before grpc: it forbids TLS 1.2

import grpc  # isort: skip
import grpc.aio  # isort: skip

from certs import certificate
from certs.identity import IdentityError, Kind, identity_of_certificate
from certs.private import PrivateFileError, read_private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from certs.identity import Identity
    from certs.roster import Members

log = logging.getLogger(__name__)

TLS_VERSION: Final = b"TLSv1.3"
BUNDLE_BYTES_MAX: Final = 1024 * 1024  # the roots of a hundred members are under 100 KiB


class TlsError(Exception):
    """The certificate, its key or the roots cannot be used; the text says why."""


def server_credentials(cert_pem: bytes, key_pem: bytes, roots_pem: bytes) -> grpc.ServerCredentials:
    """Return credentials of a server that lets in only holders of a certificate under `roots_pem`. Raises TlsError."""
    _check(cert_pem, key_pem, roots_pem)
    return grpc.ssl_server_credentials([(key_pem, cert_pem)], roots_pem, require_client_auth=True)


def reloading_server_credentials(cert: Path, key: Path, roots: Path) -> grpc.ServerCredentials:
    """Return the same from three files, which are looked at again on each new connection. Raises TlsError.

    New files are taken over together or not at all: while they do not fit each other, the old ones stay in force.
    """
    files = _Files((cert, key, roots))
    first = files.read()
    # gRPC takes None for "as before"; its published types forget that.
    fetcher = cast("Callable[[], grpc.ServerCertificateConfiguration]", files.read_if_changed)
    return grpc.dynamic_ssl_server_credentials(first, fetcher, require_client_authentication=True)


def channel_credentials(cert_pem: bytes, key_pem: bytes, roots_pem: bytes) -> grpc.ChannelCredentials:
    """Return credentials of a client that believes servers under `roots_pem` only. Raises TlsError.

    Give it one root: that of the member to be reached. New certificates need a new channel.
    """
    _check(cert_pem, key_pem, roots_pem)
    return grpc.ssl_channel_credentials(roots_pem, key_pem, cert_pem)


def read_pair(cert: Path, key: Path) -> tuple[bytes, bytes]:
    """Return certificate and private key from their files. Raises TlsError, also when others may read the key."""
    try:
        return _read(cert), read_private(key)
    except PrivateFileError as error:
        raise TlsError(str(error)) from error


def peer_certificate(context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
    """Return the leaf, in PEM, of whoever makes this call over TLS 1.3. Raises IdentityError."""
    facts = context.auth_context()
    if _only(facts.get("ssl_tls_version", ())) != TLS_VERSION:
        raise IdentityError(Kind.TLS_TOO_OLD, "speak TLS 1.3")
    leaf = _only(facts.get("x509_pem_cert", ()))
    if not leaf:
        raise IdentityError(Kind.NOT_A_MEMBER, "show a certificate")
    return leaf


def peer_identity(context: grpc.aio.ServicerContext[Any, Any], members: Members, now_ns: int) -> Identity:
    """Return who makes this call. Raises IdentityError."""
    return identity_of_certificate(peer_certificate(context), members, now_ns)


# The question to ask again about a `peer_certificate` when a newer members document is in force.
certificate_identity: Final = identity_of_certificate


class _Files:
    """Certificate, key and roots of a server, read again when one of the files has changed."""

    def __init__(self, paths: tuple[Path, Path, Path]) -> None:
        self._paths = paths
        self._seen: list[tuple[int, int, int]] = []

    def read(self) -> grpc.ServerCertificateConfiguration:
        self._seen = self._look()
        cert_path, key_path, roots_path = self._paths
        (cert_pem, key_pem), roots_pem = read_pair(cert_path, key_path), _read(roots_path)
        _check(cert_pem, key_pem, roots_pem)
        return grpc.ssl_server_certificate_configuration([(key_pem, cert_pem)], roots_pem)

    def read_if_changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return None for "as before". Called by gRPC on a thread of its own, on each new connection."""
        try:
            if self._look() == self._seen:
                return None
            config = self.read()
        except TlsError as error:  # a rotation half done, or done wrongly: nobody is cut off for it
            log.warning("certificate not taken over file=%s reason=%s", self._paths[0].name, error)
            return None
        log.info("certificate taken over file=%s", self._paths[0].name)
        return config

    def _look(self) -> list[tuple[int, int, int]]:
        try:
            stats = [path.stat() for path in self._paths]
        except OSError as error:
            raise TlsError(f"{error.filename}: cannot be read: {error.strerror}") from error
        return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]


def _check(cert_pem: bytes, key_pem: bytes, roots_pem: bytes) -> None:
    if not certs.TLS12_FORBIDDEN:
        raise TlsError("grpc was imported before certs, so TLS 1.2 would be possible: import certs.tls first")
    if not roots_pem.strip():  # without roots gRPC would fall back to those of the web
        raise TlsError("no roots: nobody could be believed")
    try:
        certificate.check_pair(cert_pem, key_pem)
    except certificate.CertificateError as error:
        raise TlsError(str(error)) from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(BUNDLE_BYTES_MAX + 1)
    except OSError as error:
        raise TlsError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > BUNDLE_BYTES_MAX:
        raise TlsError(f"{path}: is larger than any bundle of roots")
    return data


def _only(values: Iterable[bytes]) -> bytes:
    """Return the one value of a fact about the connection, empty for none or several."""
    listed = list(values)
    return listed[0] if len(listed) == 1 else b""
