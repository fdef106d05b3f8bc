"""A worker process: imports torch once, then does one job after another.

Jobs come as JSON lines on standard input, events go as JSON lines to what was standard output.
Whatever a library prints goes to standard error instead, so it cannot disturb the channel.

A method's code may change torch's global settings. They are checked after each job; where one is
not as a fresh process has it, the process ends and the executor starts another for the next job.
"""

import gc
import logging
import os
import signal
import sys
import threading
import time
import traceback
from typing import Any, TextIO

from pydantic import ValidationError

from bench.core.errors import BenchError
from bench.experiments import stopping
from bench.experiments.executors.faults import fault_of
from bench.experiments.messages import Event, Failed, Job, Leaving, Progress

SECONDS_BETWEEN_LOOKS = 1.0  # at the parent process


def main() -> None:
    """Serve jobs until standard input closes, a job leaves the process changed, or SIGTERM comes."""
    signal.signal(signal.SIGTERM, stopping.on_signal)
    for number in (signal.SIGUSR1, signal.SIGUSR2):  # Slurm's warnings are for the parent
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for line in sys.stdin:
        try:
            end = _served(line, channel)
        except stopping.StopAsked:
            os._exit(stopping.STATUS)
        gc.collect()  # networks hold cycles: without this, the next cell starts beside the last one's
        _empty_cache()
        changed = changed_settings()
        if changed:
            _send(channel, Leaving(changed=changed))
        _send(channel, end)
        if changed or (isinstance(end, Failed) and end.fault == "device"):
            return


def _empty_cache() -> None:
    """Give the GPU memory that torch keeps for later back, for the cells of other processes."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return
    try:
        torch.cuda.empty_cache()
    except RuntimeError:  # the device is lost, which the job's last event says
        pass


def _end_with_parent(parent: int) -> None:
    """End this process when its parent is gone, however that ended.

    A closed standard input is seen between jobs only; a job may take hours and holds the cell's
    lock.
    """
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)


def changed_settings() -> tuple[str, ...]:
    """Names of torch's process-wide settings that are not as a fresh process has them.

    Random generators are not among them: every use seeds them first.
    """
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return ()
    threads = os.environ.get("OMP_NUM_THREADS")
    fresh = {
        "default dtype": torch.get_default_dtype() == torch.float32,
        "default device": torch.get_default_device() == torch.device("cpu"),
        "grad mode": torch.is_grad_enabled(),
        "threads": threads is None or torch.get_num_threads() == int(threads),
        "deterministic algorithms": not torch.are_deterministic_algorithms_enabled(),
        "matmul precision": torch.get_float32_matmul_precision() == "highest",
        "autocast": not (torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")),
        "anomaly detection": not torch.is_anomaly_enabled(),
    }
    return tuple(name for name, unchanged in fresh.items() if not unchanged)


def _send(channel: TextIO, event: Event) -> None:
    channel.write(event.model_dump_json() + "\n")
    channel.flush()


def _served(line: str, channel: TextIO) -> Event:
    """Do the job in a line; its last event."""
    # Imported here, so that a broken import is reported as the job's failure.
    from bench.experiments import jobs, locks

    def report(event: Progress) -> None:
        _send(channel, event)

    try:
        return jobs.run_job(Job.model_validate_json(line), report)
    except locks.CellInUse as error:
        return Failed(message=str(error), in_use=True)
    except BenchError as error:
        return Failed(message=str(error))
    except ValidationError as error:
        return Failed(message=f"The job is of another version of this package: {error}")
    except Exception as error:  # noqa: BLE001 - a cell's failure is recorded, the others go on
        return Failed(
            message=f"{type(error).__name__}: {error}",
            traceback=traceback.format_exc(),
            fault=fault_of(error),
        )


if __name__ == "__main__":
    main()
