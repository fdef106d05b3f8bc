"""A worker process: imports torch once, then does one job after another.

Jobs come as JSON lines on standard input, events go as JSON lines to what was standard output.
Whatever a library prints goes to standard error instead, so it cannot disturb the channel.
"""

import gc
import json
import os
import sys
import traceback
from typing import Any, TextIO

from bench.core.errors import BenchError


def main() -> None:
    """Serve jobs until standard input closes."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for line in sys.stdin:
        _serve(json.loads(line), channel)


def _send(channel: TextIO, event: dict[str, Any]) -> None:
    channel.write(json.dumps(event) + "\n")
    channel.flush()


def _serve(job: dict[str, Any], channel: TextIO) -> None:
    # Imported here, so that a broken import is reported as the job's failure.
    from bench.experiments import jobs

    def progress(event: dict[str, Any]) -> None:
        _send(channel, {"event": "progress", **event})

    try:
        result = jobs.OPERATIONS[job["op"]](job, progress)
    except BenchError as error:
        in_use = isinstance(error, jobs.CellInUse)
        _send(
            channel,
            {"event": "error", "message": str(error), "traceback": None, "in_use": in_use},
        )
    except Exception as error:  # noqa: BLE001 - a cell's failure is recorded, the others go on
        message = f"{type(error).__name__}: {error}"
        _send(channel, {"event": "error", "message": message, "traceback": traceback.format_exc()})
    else:
        _send(channel, {"event": "result", "result": result})
    gc.collect()  # networks hold cycles: without this, the next cell starts beside the last one's


if __name__ == "__main__":
    main()
