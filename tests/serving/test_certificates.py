"""A certificate that is renewed while the server runs."""

import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from serving.servers import Server, until


def write_pair(folder: Path) -> None:
    """Write a certificate of localhost that signs itself, and its key."""
    folder.mkdir()
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-days", "2"]
    files = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run([*command, *files], check=True, capture_output=True)


def trusted(server: Server, certificate: Path, name: str | None = "localhost") -> bool:
    """Return whether the server shows a certificate over HTTPS, also to clients that do not name the server."""
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = name is not None
    try:
        with socket.create_connection(("127.0.0.1", server.port), 20) as plain:
            context.wrap_socket(plain, server_hostname=name).close()
    except ssl.SSLCertVerificationError:
        return False
    return True


def trusted_by_grpc(server: Server, certificate: Path) -> bool:
    """Return whether the server shows a certificate over gRPC."""
    credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
    with grpc.secure_channel(f"localhost:{server.grpc_port}", credentials) as channel:
        try:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), 20)
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE and "CERTIFICATE_VERIFY_FAILED" in error.details()
            return False
    return True


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_new_connections_get_a_renewed_certificate(workers, started, toy_exports, tmp_path):
    for pair in ("old", "new"):
        write_pair(tmp_path / pair)
    used = shutil.copytree(tmp_path / "old", tmp_path / "used")
    options = ["--tls-cert", used / "cert.pem", "--tls-key", used / "key.pem", "--workers", workers]
    server = started(toy_exports / "adder", *options, scheme="https")
    old, new = tmp_path / "old" / "cert.pem", tmp_path / "new" / "cert.pem"

    def shown(certificate: Path) -> bool:
        every = [trusted(server, certificate), trusted(server, certificate, None), trusted_by_grpc(server, certificate)]
        assert len(set(every)) == 1, every
        return every[0]

    until(lambda: trusted_by_grpc(server, old))
    assert shown(old) and not shown(new)
    with socket.create_connection(("127.0.0.1", server.port), 20) as plain:
        context = ssl.create_default_context(cafile=str(old))
        with context.wrap_socket(plain, server_hostname="localhost") as kept:
            shutil.copy(new, used / "cert.pem")  # not yet with its key
            assert shown(old) and not shown(new)
            shutil.copy(tmp_path / "new" / "key.pem", used / "key.pem")
            assert shown(new) and not shown(old)
            kept.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")  # what is open stays so
            assert b"200 OK" in kept.recv(1000)
    log = server.log.read_text()
    assert "certificate not renewed" in log and "certificate renewed" in log and "Traceback" not in log
