"""DICOMweb: takes images by STOW-RS (PS3.18 10.5), for senders that have no DIMSE."""

import asyncio
import logging
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from shared.base.errors import OutOfReach, ServiceUnavailable
from web.access import account_of, sends_to, settings_of, upload
from web.errors import respond
from web.inlets import Inlet
from web.middleware import UPLOADS
from web.network import client_address

log = logging.getLogger(__name__)
KIND = "application/dicom+json"
PAUSE_SECONDS = 60.0
"""For how long nothing may come of a request."""
RETRY_AFTER = "30"


async def store(request: Request) -> Response:
    """Store the DICOM files that the body holds: 200 if all were, 202 if some were, else 409, or 503 if for now."""
    from web.parts import Parts, boundary_of  # needs what reads DICOM

    source = sends_to(request)
    assert source is not None  # `upload` asks for it
    inlet: Inlet = request.app.state.inlets[source]
    boundary = boundary_of(request.headers.get("Content-Type", ""))
    study = request.path_params.get("study")
    with inlet.entered(client_address(request)) as reason:
        if reason == "address":
            raise HTTPException(403, "Nothing is taken from this address (allowed_addresses).")
        if reason is not None:
            return _later(request, "Too many are sending at this moment: try again.")
        parts = Parts(inlet, boundary, settings_of(request).max_bytes, study)
        try:
            await _read(request, parts)
            taken = parts.finish()
        except (ServiceUnavailable, OutOfReach, OSError) as error:
            log.warning("source %s takes nothing over the web for now: %s", source, type(error).__name__)
            return _later(request, "Out of resources: send it again later.")
        except ClientDisconnect:
            return Response(status_code=400)
        finally:
            parts.close()
    log.info("source %s: account %d sent %d objects", source, account_of(request).id, len(taken))
    return _answer(taken)


async def _read(request: Request, parts: Any) -> None:
    chunks = request.stream()
    while True:
        try:
            chunk = await asyncio.wait_for(anext(chunks), PAUSE_SECONDS)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise HTTPException(408, f"Nothing came for {PAUSE_SECONDS:.0f} s.") from None
        if chunk:
            await run_in_threadpool(parts.write, chunk)


def _later(request: Request, why: str) -> Response:
    return respond(request, 503, why, {"Retry-After": RETRY_AFTER})


def _answer(taken: list[Any]) -> Response:
    """The Store Instances Response (PS3.18 10.5.3) in DICOM JSON."""
    from node.statuses import Status
    from web.parts import is_refused_for_now

    stored = [_reference(part) for part in taken if part.status == Status.SUCCESS]
    failed = [part for part in taken if part.status != Status.SUCCESS]
    body: dict[str, Any] = {"00081190": {"vr": "UR"}}
    for tag, items in (
        ("00081199", stored),
        ("00081198", [_reference(part) | _reason(part) for part in failed if part.sop_instance]),
        ("0008119A", [_reason(part) for part in failed if not part.sop_instance]),
    ):
        if items:
            body[tag] = {"vr": "SQ", "Value": items}
    if is_refused_for_now(taken):
        return JSONResponse(body, 503, {"Retry-After": RETRY_AFTER}, media_type=KIND)
    return JSONResponse(body, 200 if not failed else 202 if stored else 409, media_type=KIND)


def _reference(part: Any) -> dict[str, Any]:
    return {
        "00081150": {"vr": "UI", "Value": [part.sop_class]},
        "00081155": {"vr": "UI", "Value": [part.sop_instance]},
    }


def _reason(part: Any) -> dict[str, Any]:
    return {"00081197": {"vr": "US", "Value": [int(part.status)]}}


ROUTES: list[BaseRoute] = [
    upload(f"{UPLOADS}/studies", store, name="stow"),
    upload(f"{UPLOADS}/studies/{{study}}", store, name="stow study"),
]
