"""How the web service starts, where it may listen, and what the commands around it say."""

import re
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import text

from local import supervisor, web_settings
from local.private_broker import free_port
from shared.base import settings
from shared.base.errors import WrongSettings
from shared.database import Database
from tests.web_server import PASSWORD, add_account, serving

Run = Callable[..., tuple[int, str, str]]
SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "web.pem", folder / "web.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "1", "-subj", "/CN=localhost", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def test_another_address_needs_tls_or_a_proxy(tmp_path: Path) -> None:
    with pytest.raises(WrongSettings, match="without TLS"):
        web_settings.check(settings.load(tmp_path, web_host="0.0.0.0"))
    web_settings.check(settings.load(tmp_path))
    web_settings.check(settings.load(tmp_path, web_host="0.0.0.0", trusted_proxy=["10.0.0.2"]))
    certificate, key = make_certificate(tmp_path)
    web_settings.check(settings.load(tmp_path, web_host="0.0.0.0", web_certificate=certificate, web_key=key))


@SQLITE
def test_everybody_who_asks_at_once_gets_a_connection_at_once(database: Database) -> None:
    threads = 40  # of Starlette's; SQLAlchemy's pool would make the sixteenth wait, for as long as others come before
    with ExitStack() as stack:
        for _ in range(threads):
            assert stack.enter_context(database.read()).scalar(text("SELECT 1")) == 1


def test_half_a_certificate_a_wrong_one_and_a_header_that_anybody_could_send_are_refused(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    with pytest.raises(WrongSettings, match="both web_certificate and web_key"):
        web_settings.check(settings.load(tmp_path, web_certificate=certificate))
    with pytest.raises(WrongSettings, match="cannot be used"):
        web_settings.check(settings.load(tmp_path, web_certificate=key, web_key=tmp_path / "none"))
    with pytest.raises(WrongSettings, match="anybody could send it"):
        web_settings.check(settings.load(tmp_path, proxy_user_header="X-Remote-User"))


@SQLITE
def test_over_tls_the_cookie_goes_over_tls_alone(database: Database, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    add_account(database, "reader")
    with serving(settings.load(tmp_path, web_certificate=certificate, web_key=key), database) as running:
        client = running.client()
        answer = client.post("/login", data={"name": "reader", "password": PASSWORD})
        assert answer.status_code == 303
        assert answer.headers["set-cookie"].startswith("__Host-pneumoscreen=")
        assert "Secure" in answer.headers["set-cookie"]
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
        assert client.get("/account").status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [{"trusted_proxy": ["proxy.example"]}, {"web_url": "xray.example"}, {"proxy_user_header": "two words"}],
    ids=str,
)
def test_settings_of_the_pages_that_make_no_sense_are_refused_by_name(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(WrongSettings, match=next(iter(wrong))):
        settings.load(tmp_path, **wrong)


def test_the_pages_port_is_the_set_one_a_free_one_near_it_or_none(tmp_path: Path) -> None:
    port = free_port()
    chosen = settings.load(tmp_path)
    assert supervisor.port_for_web(chosen, "off") is None
    assert supervisor.port_for_web(chosen, str(port)) == port
    assert supervisor.port_for_web(chosen, "auto") >= 8600
    assert supervisor.port_for_web(settings.load(tmp_path, web_port=port), "auto") == port
    assert supervisor.port_for_web(settings.load(tmp_path, web_port=0), "auto") is None
    with pytest.raises(WrongSettings, match="--web-port must be"):
        supervisor.port_for_web(chosen, "http")


@SQLITE
def test_accounts_by_command_from_the_first_to_the_last(database: Database, tmp_path: Path, run_command: Run) -> None:
    def users(*arguments: str) -> tuple[int, str, str]:
        return run_command("users", *arguments, "--home", tmp_path)

    code, out, _ = users("add", "Dr. Okafor", "--role", "senior", "--by", "me")
    assert code == 0
    assert re.search(r"^http://127\.0\.0\.1:8600/link/[\w-]{43}$", out, re.MULTILINE)
    assert users("add", "dr. okafor")[0] == 1
    assert users("add", "X", "--role", "king")[0] == 2
    assert "/link/" in users("reset", "DR. OKAFOR")[1]
    assert users("role", "Dr. Okafor", "reader")[1] == "Dr. Okafor is reader now.\n"
    assert users("disable", "Dr. Okafor")[1] == "Dr. Okafor is disabled.\n"
    assert users("reset", "Dr. Okafor")[0] == 1
    assert users("enable", "Dr. Okafor")[1] == "Dr. Okafor may log in again.\n"
    code, _, errors = users("disable", "nobody")
    assert (code, "users list" in errors) == (1, True)
    _, listed, _ = users("list")
    assert "Dr. Okafor" in listed
    assert "no password" in listed  # the link was over when the account was disabled
    (tmp_path / "pneumoscreen.toml").write_text('web_url = "https://xray.example/"\n')
    assert "https://xray.example/link/" in users("reset", "Dr. Okafor")[1]
