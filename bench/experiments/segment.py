"""Using a trained cell on images of one's own."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import load_file

from bench.core.errors import BenchError
from bench.core.files import file_digest, write_with
from bench.data.pixels import PixelError, load, resized_image, to_rgb
from bench.experiments.cells import RECORD, WEIGHTS, CellRequest, load_cell
from bench.experiments.context import built
from bench.experiments.resolve import resolve
from bench.training.engine import Engine
from bench.training.predict import THRESHOLD, probabilities, resize_probs
from bench.training.weights import load_own_state


def _read(file: Path) -> Image.Image:
    try:
        return Image.fromarray(to_rgb(load(file)))
    except PixelError as error:
        raise BenchError(f"{file} {error}. Give image files.") from error


def segment_files(folder: Path, images: Iterable[Path], out: Path, device: str) -> Iterator[Path]:
    """Write `<out>/<image name>.png` (0 and 255, the image's own size) for each image file.

    All images are read before any is segmented. Raises BenchError when the cell is not done, an
    image cannot be read, or two images would write the same mask.
    """
    record = load_cell(folder / RECORD)
    if record.status != "done":
        raise BenchError(f"Cell {record.id} {record.status}; run it again before predicting.")
    weights = folder / WEIGHTS
    if not weights.is_file() or file_digest(weights) != record.files.get(WEIGHTS):
        raise BenchError(
            f"{weights} is missing or was changed since cell {record.id} was stored. Run the cell's "
            "matrix again."
        )
    files = list(images)
    if len({file.stem for file in files}) < len(files):
        raise BenchError("Two images share a name, so their masks would. Segment them apart.")
    pictures = [_read(file) for file in files]
    try:
        request = CellRequest.model_validate(record.provenance["request"])
        train_cases, precision = record.provenance["split"]["train"], record.provenance["precision"]
    except (ValidationError, LookupError, TypeError) as error:
        raise BenchError(
            f"{folder / RECORD} does not say how cell {record.id} was trained. Run its matrix again."
        ) from error
    spec, settings, resolution = resolve(request, train_cases)
    engine = Engine(torch.device(device), precision)
    method, _ = built(request, spec, settings, resolution, engine, load_weights=False)
    load_own_state(method, load_file(weights))
    size = resolution.network_size
    for file, picture in zip(files, pictures, strict=True):
        small = resized_image(np.asarray(picture), size, request.protocol.resize)
        (probs,) = probabilities(method, small[None], engine, request.seed, case_ids=(file.stem,))
        mask = resize_probs(probs, picture.height, picture.width)[0, 0] > THRESHOLD
        target = out / f"{file.stem}.png"
        painted = Image.fromarray(mask.cpu().numpy().astype(np.uint8) * 255)
        write_with(target, partial(painted.save, format="PNG"))
        yield target
