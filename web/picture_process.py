"""The process that reads and decodes pictures for the web service: what a hostile file breaks here costs one request.

It is started by `web.pictures`, with none of our passwords in its environment. It takes one request a line, as JSON,
and answers with a line of JSON and the bytes whose length that line states.
"""

import hashlib
import json
import math
import os
import resource
import sys
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from shared.base import settings as settings_module
from shared.base import surroundings
from shared.base.errors import ImageError, OutOfReach, PneumoscreenError, Unreadable
from shared.base.host_failures import describe_host_failure
from shared.base.settings import Settings
from shared.imaging import Limits, arrange, decode
from shared.imaging.notes import Notes
from shared.imaging.viewing import view
from shared.sources import Source, build

if TYPE_CHECKING:  # what runs networks, and the database with it, is not imported for a picture
    from shared.models.published import Published
    from shared.models.registry import Loaded

THUMBNAIL = 160
"""Pixels of the longer side."""
Answer = tuple[dict[str, Any], bytes]


class Decoder:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits = Limits.of(settings)
        self._sources: dict[str, Source] = build(settings)
        self._loaded: Loaded | None = None

    def answer(self, request: dict[str, Any]) -> Answer:
        """Raises PneumoscreenError, and whatever else a decoder raises."""
        data = self._read(request)
        match request["what"]:
            case "pixels":
                return self._pixels(data, request["max_side"])
            case "thumbnail":
                return self._thumbnail(data)
            case "model-view":
                return self._model_view(data, request)
            case "evidence":
                return self._evidence(data, request)
        raise ValueError(request["what"])

    def _read(self, request: dict[str, Any]) -> bytes:
        source = self._sources.get(request["source"])
        if source is None:
            raise OutOfReach("the image's source is not configured on this host, so its file cannot be read here")
        data = source.read(request["path"], request["revision"], self._limits)
        if request["sha256"] and hashlib.sha256(data).hexdigest() != request["sha256"]:
            raise Unreadable("the file is no longer the one that was screened: wait for its new result")
        return data

    def _pixels(self, data: bytes, max_side: int | None) -> Answer:
        notes = Notes()
        viewed = view(data, self._limits, max_side, notes)
        height, width = viewed.pixels.shape
        about = {
            "width": width,
            "height": height,
            "full_width": viewed.full[0],
            "full_height": viewed.full[1],
            "bits": viewed.bits,
            "windows": [asdict(window) for window in viewed.windows],
            "spacing": viewed.spacing,
            "is_at_detector": viewed.is_at_detector,
            "age_years": viewed.age_years,
            "view": viewed.view,
            "notes": list(notes.texts),
        }
        return about, viewed.pixels.astype("<u2").tobytes()

    def _thumbnail(self, data: bytes) -> Answer:
        grey = decode(data, (THUMBNAIL, THUMBNAIL), self._limits)
        grey.thumbnail((THUMBNAIL, THUMBNAIL))
        return {"width": grey.width, "height": grey.height}, _png(grey)

    def _model_view(self, data: bytes, request: dict[str, Any]) -> Answer:
        from PIL import Image

        from shared.models import manifest

        version = _version(request)
        described = manifest.read(
            self._settings.models / version.version, version.manifest_sha256, self._settings.signing_key
        )
        wanted = described.preprocessing
        pixels = arrange(decode(data, (wanted.width, wanted.height), self._limits), wanted)
        return {"width": wanted.width, "height": wanted.height}, _png(Image.fromarray(pixels[:, :, 0]))

    def _evidence(self, data: bytes, request: dict[str, Any]) -> Answer:
        """The logit's parts, by cell; a network that cannot tell them says so."""
        import numpy as np

        from shared.models import registry

        version = _version(request)
        if self._loaded is None or self._loaded.manifest.version != version.version:
            key, engine = self._settings.signing_key, self._settings.engine
            self._loaded = registry.load(self._settings.models, version, key, engine)
        network, wanted = self._loaded.network, self._loaded.manifest.preprocessing
        if not network.has_evidence:
            return {"has_evidence": False}, b""
        pixels = arrange(decode(data, (wanted.width, wanted.height), self._limits), wanted)
        _, maps = network.answers(pixels[np.newaxis])
        values = np.asarray(maps)[0]
        about = {"has_evidence": True, "rows": values.shape[0], "columns": values.shape[1]}
        return about, values.astype("<f4").tobytes()


def _version(request: dict[str, Any]) -> "Published":
    from shared.models.published import Published

    if request["version"] is None:
        raise OutOfReach("no model version has screened this image")
    return Published(request["version"], request["manifest_sha256"])


def _png(image: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def answer(decoder: Decoder, request: dict[str, Any]) -> Answer:
    """Whatever is wrong becomes an answer, in words that name no file and repeat nothing of a header."""
    try:
        return decoder.answer(request)
    except PneumoscreenError as error:
        kind = type(error).__name__ if isinstance(error, ImageError) else "OutOfReach"
        return {"error": kind, "reason": str(error)}, b""
    except MemoryError:
        return {"error": "Unsuitable", "reason": "it takes more memory to decode than one picture may have here"}, b""
    except Exception as error:  # noqa: BLE001 - a decoder may raise anything on a damaged file
        if problem := describe_host_failure(error):
            return {"error": "OutOfReach", "reason": problem}, b""
        return {"error": "Unreadable", "reason": f"the decoder failed: {type(error).__name__}"}, b""


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Until the end of the requests; the first line holds the settings, and what a picture may cost."""
    chosen = json.loads(requests.readline())
    memory, cpu_seconds = chosen.pop("memory"), chosen.pop("cpu_seconds")
    _limit(resource.RLIMIT_DATA, memory)
    decoder = Decoder(settings_module.load(Path(chosen.pop("home")), **chosen))
    for line in requests:
        used = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + cpu_seconds)
        about, data = answer(decoder, json.loads(line))
        answers.write(json.dumps({**about, "length": len(data)}).encode() + b"\n" + data)
        answers.flush()


def _limit(what: int, most: int) -> None:
    """Of this process and those that it starts. Beyond it, memory is refused, and for time the process is ended."""
    if sys.platform == "linux":  # elsewhere the system does not hold it
        resource.setrlimit(what, (most, resource.getrlimit(what)[1]))


def main() -> None:
    surroundings.prepare()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold a patient's picture
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints is no answer
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
