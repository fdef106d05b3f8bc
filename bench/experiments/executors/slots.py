"""How many cells fit on a GPU side by side, from the peak memory of those that ended there."""

from collections.abc import Sequence

HEADROOM = 1.25
"""Of a cell's recorded peak: torch's allocator holds more than it has handed out. Chosen, not measured."""

CONTEXT_BYTES = 10**9
"""What a process holds of a GPU beside tensors: CUDA's context and the libraries' code. Chosen,
not measured."""

USABLE = 0.95
"""Share of a GPU's memory that cells may take."""


def slots(device_bytes: int, peaks: Sequence[int], most: int) -> int:
    """Cells at a time on one GPU, from 1 to `most`.

    device_bytes: all of its memory. peaks: the peak memory of cells that ended, in bytes; the
    largest decides. Before any ended there is one slot.
    """
    if not peaks or device_bytes <= 0:
        return 1
    each = max(peaks) * HEADROOM + CONTEXT_BYTES
    return max(1, min(most, int(device_bytes * USABLE // each)))
