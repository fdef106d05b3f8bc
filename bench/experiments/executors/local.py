"""Worker processes on this machine, each replaced after a crash."""

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

from bench.experiments.executors.faults import crowded, too_large
from bench.experiments.executors.interface import Report
from bench.experiments.executors.slots import slots
from bench.experiments.locks import LOST
from bench.experiments.messages import (
    End,
    Event,
    Failed,
    Finished,
    Job,
    Leaving,
    Retry,
    Started,
    read_event,
)
from bench.experiments.stopping import STATUS

PATIENCE = 45.0  # seconds for workers to store their state; one is stored every 30 s at least

SECONDS_BETWEEN_LOOKS = 0.2  # of a worker without a slot, at the memory of its device

logger = logging.getLogger("bench")


class Worker:
    """One worker process on one device, started at its first job, again after a crash, and again
    after a job that changed torch's global settings."""

    def __init__(
        self, device: str, threads: int, log: Path, environment: dict[str, str] | None = None
    ) -> None:
        self.device, self.threads, self.log = device, threads, log
        self.environment = environment or {}
        self.process: subprocess.Popen[str] | None = None
        self.stopped = False
        self.status: int | None = None  # of the last process that ended in the middle of a job

    def run(self, job: Job, on_event: Callable[[Event], None]) -> None:
        """Do one job; its last event is the job's result or `Failed`.

        After an error that leaves the process without its device, the job is done once more in a new
        process.
        """
        end = self._once(job, on_event)
        if isinstance(end, Failed) and end.fault == "device" and not self.stopped:
            on_event(Retry(why=f"{self.device} is lost to the worker process: {end.message}"))
            end = self._once(job, on_event)
        if end is not None:
            on_event(end)

    def _once(self, job: Job, on_event: Callable[[Event], None]) -> End | None:
        """The job's last event, the others passed on; None where the process was stopped by us."""
        process, ends = self._started(), False
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(job.model_copy(update={"device": self.device}).model_dump_json())
            process.stdin.write("\n")
            process.stdin.flush()
            for line in process.stdout:
                event = read_event(line)
                if event is None:
                    logger.warning("%s: stray output of a worker: %s", self.log.name, line.strip())
                elif isinstance(event, Leaving):
                    ends = True
                    logger.warning("a job changed torch's %s", ", ".join(event.changed))
                elif isinstance(event, End):
                    if ends or (isinstance(event, Failed) and event.fault == "device"):
                        process.wait()
                    return event
                else:
                    on_event(event)
        except BrokenPipeError:
            pass
        self.status = code = process.wait()
        self.process = None
        if self.stopped:  # how that job would have ended is not known
            return None
        in_use = code == LOST
        return Failed(message=_how_it_ended(code), traceback=self._log_tail(), in_use=in_use)

    def _started(self) -> subprocess.Popen[str]:
        if self.process is None or self.process.poll() is not None:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            env = os.environ | self.environment
            env |= {"OMP_NUM_THREADS": str(self.threads), "PYTHONUNBUFFERED": "1"}
            with self.log.open("w") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "bench.experiments.executors.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env=env,
                    start_new_session=True,  # Ctrl-C reaches the parent alone, which ends workers
                )
        return self.process

    def _log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    @property
    def ended_from_outside(self) -> bool:
        """Whether the last process was asked to end by another than this object, such as a cluster
        that takes its node away; it stored its training first."""
        return not self.stopped and self.status in (STATUS, -signal.SIGTERM)

    def ask_to_stop(self) -> None:
        """Let the process store the state of its training and end. Its job gets no last event."""
        self.stopped = True
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def rest(self) -> None:
        """End the process, which frees all that it holds of the device; the next job starts one."""
        stopped = self.stopped
        self.stop()
        self.stopped = stopped

    def stop(self, patience: float = 0.0) -> None:
        """End the process, now or after so many seconds; what it stored so far is whole. A running
        job gets no last event."""
        self.stopped = True
        if self.process is not None and self.process.poll() is None:
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self.process = None


def _how_it_ended(code: int) -> str:
    if code == LOST:
        return "Another process took the cell: this one had been silent for too long."
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (often the system's answer to too little memory)" if name == "SIGKILL" else ""
        return f"The worker process was ended by {name}{hint}."
    return f"The worker process exited with status {code}."


class LocalExecutor:
    """Workers over devices, one job at a time each. Use as a context manager.

    packing: start with one worker on each device; the first cells' peak memory says how many of the
    others may join it.
    """

    def __init__(
        self, devices: list[str], threads: int, log_folder: Path, packing: bool = False
    ) -> None:
        self.workers = [
            Worker(device, threads, log_folder / f"worker-{number}.log")
            for number, device in enumerate(devices)
        ]
        self.packing = packing
        self._peaks: list[int] = []
        self._memory: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        # A signal, such as Ctrl-C, is no Exception. What is: a mistake or a full disk, which more
        # work would not mend.
        until = time.monotonic() + (PATIENCE if kind and not issubclass(kind, Exception) else 0.0)
        if until > time.monotonic():
            for worker in self.workers:
                worker.ask_to_stop()
        for worker in self.workers:
            worker.stop(max(0.0, until - time.monotonic()))

    def map(self, jobs: Iterable[tuple[Any, Job]], report: Report) -> None:
        """Do all (tag, job) pairs; report(tag, event) is called for every event of each.

        A job with too little memory on its device is done again after the others, alone there.
        """
        apart: list[tuple[Any, Job]] = []

        def first(worker: Worker, tag: Any, job: Job, event: Event) -> None:
            if isinstance(event, Failed) and event.fault == "memory":
                apart.append((tag, job))
                event = Retry(why=crowded(worker.device))
            report(tag, event)

        def alone(worker: Worker, tag: Any, job: Job, event: Event) -> None:
            if isinstance(event, Failed) and event.fault == "memory":
                words = too_large(event.message, worker.device)
                event = event.model_copy(update={"message": words})
            report(tag, event)

        self._serve(self.workers, jobs, first)
        if apart:
            for worker in self.workers:
                worker.rest()
            one_each = {worker.device: worker for worker in reversed(self.workers)}
            self._serve(list(one_each.values()), apart, alone)

    def _serve(
        self,
        workers: Sequence[Worker],
        jobs: Iterable[tuple[Any, Job]],
        follow: Callable[[Worker, Any, Job, Event], None],
    ) -> None:
        """Let these workers do the jobs; follow(worker, tag, job, event) hears of every event."""
        waiting: queue.SimpleQueue[tuple[Any, Job]] = queue.SimpleQueue()
        for pair in jobs:
            waiting.put(pair)
        failures: list[BaseException] = []

        def serve(worker: Worker) -> None:
            try:
                while not failures and not worker.stopped:
                    if not self._may_work(worker):
                        if waiting.empty():
                            return
                        time.sleep(SECONDS_BETWEEN_LOOKS)
                        continue
                    tag, job = waiting.get_nowait()
                    follow(worker, tag, job, Started(device=worker.device))
                    worker.run(job, partial(self._learn, follow, worker, tag, job))
            except queue.Empty:
                pass
            except BaseException as error:  # noqa: BLE001 - a full disk must not hang the pool
                failures.append(error)

        in_threads([partial(serve, worker) for worker in workers])
        if failures:
            raise failures[0]

    def _may_work(self, worker: Worker) -> bool:
        """Whether the device has a slot for this worker, by what is known of its memory."""
        if not self.packing:
            return True
        there = [one for one in self.workers if one.device == worker.device]
        fit = slots(self._memory.get(worker.device, 0), tuple(self._peaks), len(there))
        return there.index(worker) < fit

    def _learn(
        self,
        follow: Callable[[Worker, Any, Job, Event], None],
        worker: Worker,
        tag: Any,
        job: Job,
        event: Event,
    ) -> None:
        """Keep what an ended cell says of memory, and pass its event on."""
        if isinstance(event, Finished) and event.peak_bytes:
            self._peaks.append(event.peak_bytes)
            self._memory[worker.device] = event.device_bytes
        follow(worker, tag, job, event)


def in_threads(tasks: Iterable[Callable[[], None]]) -> None:
    """Run each in a thread of its own, until all have ended."""
    threads = [threading.Thread(target=task, daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():  # join() without a timeout would hold back Ctrl-C
            thread.join(0.2)
