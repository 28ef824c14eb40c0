"""Sends data sets by STOW-RS (PS3.18 10.5), one in a request."""

import ssl
import uuid
from io import BytesIO

import httpx
from pydicom.dataset import Dataset

from courier import web
from shared.base.destination_settings import StowDestination
from shared.base.errors import Away, Deferred, Rejected


class StowClient:
    def __init__(self, settings: StowDestination) -> None:
        self._url = f"{settings.url}/studies"
        auth = None
        headers = {"Accept": "application/dicom+json"}
        if settings.token is not None:
            headers["Authorization"] = f"Bearer {settings.token.get_secret_value()}"
        elif settings.user is not None and settings.password is not None:
            auth = httpx.BasicAuth(settings.user, settings.password.get_secret_value())
        try:
            context = ssl.create_default_context(cafile=settings.ca)
            if settings.certificate is not None and settings.key is not None:
                context.load_cert_chain(settings.certificate, settings.key)
        except (OSError, ssl.SSLError) as error:
            raise Away(f"the certificates for {settings.url} cannot be read: {error}") from error
        self._client = httpx.Client(
            auth=auth,
            headers=headers,
            verify=context,
            timeout=settings.timeout,
            trust_env=False,
            follow_redirects=False,
        )

    def send(self, dataset: Dataset) -> str | None:
        """Returns a remark if it was stored with a warning. Raises Away, Deferred or Rejected."""
        file = BytesIO()
        dataset.save_as(file, enforce_file_format=True)
        boundary = uuid.uuid4().hex
        body = b"".join(
            (
                f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode(),
                file.getvalue(),
                f"\r\n--{boundary}--\r\n".encode(),
            )
        )
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        answer = web.post(self._client, self._url, body, {"Content-Type": kind})
        return judge(self._url, answer)

    def close(self) -> None:
        self._client.close()


def judge(url: str, answer: httpx.Response) -> str | None:
    """What a STOW-RS response means: 200 and 202 may still name the object as failed, 409 does."""
    text = f"{url} answered {answer.status_code}"
    reason = failure(answer)
    if answer.status_code == httpx.codes.CONFLICT or (answer.is_success and reason is not None):
        if reason == 0x0111:
            return "the destination had it already"
        detail = text if reason is None else f"{text} with failure reason 0x{reason:04X}"
        if reason is not None and 0xA700 <= reason < 0xA800:
            raise Deferred(detail)
        raise Rejected(detail)
    web.judge(url, answer)
    return "stored with a warning" if answer.status_code == httpx.codes.ACCEPTED else None


def failure(answer: httpx.Response) -> int | None:
    """The Failure Reason of the object in the answer's Failed SOP Sequence; None if there is none."""
    try:
        value = answer.json()["00081198"]["Value"][0]
        return int(value.get("00081197", {}).get("Value", [0x0110])[0])
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
