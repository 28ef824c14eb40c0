"""Certificates for tests: an authority of one's own, and what it signs for 127.0.0.1."""

import ssl
import subprocess
from pathlib import Path

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
AUTHORITY = "authority"


def make(folder: Path, *names: str) -> Path:
    """NAME.pem and NAME.key for each name, signed by authority.pem, and for `stranger` by itself; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (AUTHORITY, "stranger"):
        files = ("-keyout", f"{name}.key", "-out", f"{name}.pem")
        _openssl(folder, "req", "-x509", *CURVE, "-days", "2", *files, "-subj", f"/CN={name}")
    (folder / "here.cnf").write_text("subjectAltName = IP:127.0.0.1\n")
    for name in names:
        _openssl(folder, "req", *CURVE, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signed_by = ("-CA", f"{AUTHORITY}.pem", "-CAkey", f"{AUTHORITY}.key", "-CAcreateserial", "-days", "2")
        _openssl(
            folder, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signed_by, "-extfile", "here.cnf"
        )
    return folder


def server_context(folder: Path, name: str, *, asks_for_certificate: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / f"{AUTHORITY}.pem")
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    if asks_for_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(folder: Path, name: str | None) -> ssl.SSLContext:
    """Of a client that shows a certificate, or none; the authority is asked, not the name."""
    context = ssl.create_default_context(cafile=folder / f"{AUTHORITY}.pem")
    context.check_hostname = False
    if name:
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
