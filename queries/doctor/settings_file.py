"""Settings: can they be read, do all their names exist, and can nobody else read the secrets."""

import stat
from pathlib import Path

from queries import setting_names
from queries.doctor.finding import Finding, ok, problem, unknown
from shared.base import settings
from shared.base.errors import WrongSettings
from shared.base.home import announcement
from shared.base.settings import Settings

CHECK = "settings"
OF_DESTINATIONS = ("secret", "password", "token")
SECRETS = ("database_url", "broker_url", "patient_secret", "signing_key", "flower_password", *OF_DESTINATIONS)


def load(home: Path) -> tuple[list[Finding], Settings | None]:
    """What there is to say of the settings, and the settings; None where they cannot be used."""
    names = setting_names.sentences(home)
    try:
        chosen = settings.load(home)
    except WrongSettings as error:
        findings = [problem(CHECK, str(error), "mend it: pneumoscreen.toml.example lists every setting")]
        return findings + [_name(sentence) for sentence in names], None
    findings = [_name(sentence) for sentence in names]
    return findings or [ok(CHECK, f"all names are known ({home / 'pneumoscreen.toml'} and the environment)")], chosen


def _name(sentence: str) -> Finding:
    return problem(CHECK, sentence, "write the name as it is in pneumoscreen.toml.example, or delete it")


def secrets(home: Path) -> list[Finding]:
    """One finding for each file that holds a secret and that others may read."""
    check, findings = "secrets", []
    for file in (home / "pneumoscreen.toml", home / "patient.secret", announcement(home), home / "run/broker.conf"):
        try:
            mode = stat.S_IMODE(file.stat().st_mode)
            is_secret = file.name != "pneumoscreen.toml" or _holds_secret(file.read_text(encoding="utf-8-sig"))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            findings.append(unknown(check, f"{file} cannot be read: {error}"))
            continue
        if is_secret and mode & stat.S_IROTH:
            findings.append(problem(check, f"every user of this machine may read {file}", f"chmod 600 {file}"))
    return findings or [ok(check, "no file with a secret is open to every user of this machine")]


def _holds_secret(text: str) -> bool:
    lines = (line.strip() for line in text.splitlines())
    return any(line.startswith(SECRETS) for line in lines)
