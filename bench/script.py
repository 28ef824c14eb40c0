"""Image by image with `model.predict`, as today's scripts do it: a sample of the files."""

import time
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from shared.imaging import Preprocessing
from shared.models import manifest, registry
from shared.models.engines import KERAS_FILE

SAMPLE = 150


def measure(files: Path, work: Path) -> dict[str, float]:
    import keras

    model = registry.bundled()
    preprocessing = manifest.read(model).preprocessing
    network = keras.saving.load_model(model / KERAS_FILE, compile=False)
    paths = sorted(files.iterdir())
    sample = paths[:: max(1, len(paths) // SAMPLE)][:SAMPLE]
    network.predict(np.zeros((1, *network.input_shape[1:]), np.float32), verbose=0)
    began = time.perf_counter()
    for path in sample:
        network.predict(pixels(path, preprocessing), verbose=0)
    return {"images_per_second": len(sample) / (time.perf_counter() - began), "images": len(sample)}


def pixels(path: Path, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """An image as a script reads it, of shape (1, height, width, 1): decoded whole, then made small."""
    image = Image.open(BytesIO(path.read_bytes())).convert("L").resize((preprocessing.width, preprocessing.height))
    if preprocessing.contrast == "equalize":
        image = ImageOps.equalize(image)
    return np.asarray(image, np.float32)[np.newaxis, :, :, np.newaxis]
