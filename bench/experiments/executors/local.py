"""Worker processes on this machine, each replaced after a crash."""

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Self

from bench.experiments.messages import Event, Failed, Job, Leaving, Started, is_end, read_event

Report = Callable[[Any, Event], None]
"""Called as report(tag, event) from the executor's threads."""

PATIENCE = 45.0  # seconds for workers to store their state; one is stored every 30 s at least

logger = logging.getLogger("bench")


class Worker:
    """One worker process on one device, started at its first job, again after a crash, and again
    after a job that changed torch's global settings."""

    def __init__(self, device: str, threads: int, log: Path) -> None:
        self.device, self.threads, self.log = device, threads, log
        self.process: subprocess.Popen[str] | None = None
        self.stopped = False

    def run(self, job: Job, on_event: Callable[[Event], None]) -> None:
        """Do one job; its last event is the job's result or `Failed`."""
        process, leaving = self._started(), False
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(job.model_copy(update={"device": self.device}).model_dump_json())
            process.stdin.write("\n")
            process.stdin.flush()
            for line in process.stdout:
                event = read_event(line)
                if event is None:
                    logger.warning("%s: stray output of a worker: %s", self.log.name, line.strip())
                    continue
                if isinstance(event, Leaving):
                    leaving = True
                    logger.warning("a job changed torch's %s", ", ".join(event.changed))
                    continue
                if is_end(event):
                    if leaving:
                        process.wait()
                    on_event(event)
                    return
                on_event(event)
        except BrokenPipeError:
            pass
        code = process.wait()
        self.process = None
        if self.stopped:  # by us: how that job would have ended is not known
            return
        on_event(Failed(message=_how_it_ended(code), traceback=self._log_tail()))

    def _started(self) -> subprocess.Popen[str]:
        if self.process is None or self.process.poll() is not None:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            env = os.environ | {"OMP_NUM_THREADS": str(self.threads), "PYTHONUNBUFFERED": "1"}
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

    def ask_to_stop(self) -> None:
        """Let the process store the state of its training and end. Its job gets no last event."""
        self.stopped = True
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

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
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (often the system's answer to too little memory)" if name == "SIGKILL" else ""
        return f"The worker process was ended by {name}{hint}."
    return f"The worker process exited with status {code}."


class LocalExecutor:
    """Workers over devices, one job at a time each. Use as a context manager."""

    def __init__(self, devices: list[str], threads: int, log_folder: Path) -> None:
        self.workers = [
            Worker(device, threads, log_folder / f"worker-{number}.log")
            for number, device in enumerate(devices)
        ]

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
        """Do all (tag, job) pairs; report(tag, event) is called for every event of each."""
        waiting: queue.SimpleQueue[tuple[Any, Job]] = queue.SimpleQueue()
        for pair in jobs:
            waiting.put(pair)
        failures: list[BaseException] = []

        def serve(worker: Worker) -> None:
            try:
                while not failures and not worker.stopped:
                    tag, job = waiting.get_nowait()
                    report(tag, Started(device=worker.device))
                    worker.run(job, partial(report, tag))
            except queue.Empty:
                pass
            except BaseException as error:  # noqa: BLE001 - a full disk must not hang the pool
                failures.append(error)

        threads = [
            threading.Thread(target=serve, args=(worker,), daemon=True) for worker in self.workers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():  # join() without a timeout would hold back Ctrl-C
                thread.join(0.2)
        if failures:
            raise failures[0]
