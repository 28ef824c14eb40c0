"""Tells events to people: a mail for each, by SMTP."""

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from shared.base.destination_settings import MailDestination
from shared.base.errors import Away, BrokeOff, Deferred, DeliveryError, Rejected
from shared.reports.message import Happening, build_mail

LOGIN = range(530, 540)
"""The account is not accepted: nothing of the mail. It waits until somebody has mended that."""
CLOSING = 421


def judge(code: int, text: str) -> DeliveryError:
    """What a reply without success means (RFC 5321 4.2.1)."""
    if code in LOGIN:
        return Away(text)
    if code == CLOSING or not 400 <= code < 600:
        return BrokeOff(text)
    return Rejected(text) if code >= 500 else Deferred(text)


class MailClient:
    """One connection for a burst."""

    def __init__(self, settings: MailDestination) -> None:
        self._settings = settings
        self._connection: smtplib.SMTP | None = None

    def send(self, happening: Happening) -> str | None:
        """Raises Away, BrokeOff, Deferred or Rejected; returns a remark if some of the recipients were refused."""
        chosen = self._settings
        mail = build_mail(happening, chosen.sender, chosen.recipients, details=chosen.details)
        with self._judged(Away, "is out of reach"):
            connection = self._connect()
        with self._judged(BrokeOff, "broke off"):
            try:
                refused = connection.send_message(mail)
            except smtplib.SMTPRecipientsRefused as error:
                code = min(code for code, _ in error.recipients.values())
                raise judge(code, f"{self._name} refuses every recipient ({code})") from error
        return f"refused for {len(refused)} of {len(chosen.recipients)} recipients" if refused else None

    @contextmanager
    def _judged(self, lost: type[Away], what: str) -> Iterator[None]:
        """Turns what SMTP's client raises into what it means; `lost` where there is no reply, and what it did then."""
        try:
            yield
        except smtplib.SMTPResponseException as error:
            self.close()
            raise judge(error.smtp_code, f"{self._name} answered {error.smtp_code}") from error
        except (smtplib.SMTPException, OSError) as error:
            self.close()
            raise lost(f"{self._name} {what}: {' '.join(str(error).split())}") from error

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(smtplib.SMTPException, OSError):
                connection.quit()

    @property
    def _name(self) -> str:
        return f"the mail server {self._settings.host}:{self._settings.port}"

    def _connect(self) -> smtplib.SMTP:
        if self._connection is not None:
            return self._connection
        chosen = self._settings
        context = ssl.create_default_context(cafile=chosen.ca)
        if chosen.encryption == "tls":
            connection: smtplib.SMTP = smtplib.SMTP_SSL(
                chosen.host, chosen.port, timeout=chosen.timeout, context=context
            )
        else:
            connection = smtplib.SMTP(chosen.host, chosen.port, timeout=chosen.timeout)
        self._connection = connection
        if chosen.encryption == "starttls":
            connection.starttls(context=context)
        if chosen.user is not None and chosen.password is not None:
            connection.login(chosen.user, chosen.password.get_secret_value())
        return connection
