"""What requests over HTTP have in common: which answers and errors mean that the other side is away."""

from collections.abc import Mapping

import httpx

from shared.base.errors import Away, BrokeOff, Deferred, Rejected

FOR_NOW = (408, 409, 423, 425, 429)
OURS = (401, 403, 404, 407)
"""A token that ran out, an address that moved: nothing of the object. It waits until somebody has mended that."""
NOT_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


def post(client: httpx.Client, url: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
    """Raises Away if nobody is there, BrokeOff if there is no answer."""
    try:
        return client.post(url, content=body, headers=dict(headers))
    except NOT_CONNECTED as error:
        raise Away(f"{url} is out of reach: {' '.join(str(error).split()) or type(error).__name__}") from error
    except httpx.HTTPError as error:
        raise BrokeOff(f"{url} did not answer: {' '.join(str(error).split()) or type(error).__name__}") from error


def judge(url: str, answer: httpx.Response) -> None:
    """Raises what an answer without success means; its body is not repeated, since it may repeat ours."""
    if answer.is_success:
        return
    text = f"{url} answered {answer.status_code}"
    if answer.status_code >= 500:
        raise BrokeOff(text)
    if answer.status_code in OURS or answer.is_redirect:
        raise Away(text)
    if answer.status_code in FOR_NOW:
        raise Deferred(text)
    raise Rejected(text)
