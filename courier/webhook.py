"""Tells events to another system: a signed POST for each."""

import ssl
import time

import httpx

from courier import web
from shared.base.destination_settings import WebhookDestination
from shared.base.errors import Away
from shared.reports.message import Happening, build_body, sign

TIMESTAMP, SIGNATURE, ID = "X-Pneumoscreen-Timestamp", "X-Pneumoscreen-Signature", "X-Pneumoscreen-Id"


class WebhookClient:
    def __init__(self, settings: WebhookDestination) -> None:
        self._settings = settings
        try:
            context = ssl.create_default_context(cafile=settings.ca)
        except (OSError, ssl.SSLError) as error:
            raise Away(f"the certificates for {settings.url} cannot be read: {error}") from error
        self._client = httpx.Client(verify=context, timeout=settings.timeout, trust_env=False)

    def send(self, happening: Happening) -> str | None:
        body = build_body(happening, details=self._settings.details)
        now = int(time.time())
        headers = {
            "Content-Type": "application/json",
            TIMESTAMP: str(now),
            SIGNATURE: sign(self._settings.secret.get_secret_value(), now, body),
            ID: happening.id,
        }
        web.judge(self._settings.url, web.post(self._client, self._settings.url, body, headers))
        return None

    def close(self) -> None:
        self._client.close()
