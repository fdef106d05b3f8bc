"""A pool of worker processes, each replaced after a crash."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Self

Report = Callable[[Any, dict[str, Any]], None]
"""Called as report(tag, event) from the pool's threads."""


class Worker:
    """One worker process on one device, started at its first job and again after a crash."""

    def __init__(self, device: str, threads: int, log: Path) -> None:
        self.device, self.threads, self.log = device, threads, log
        self.process: subprocess.Popen[str] | None = None

    def run(self, job: dict[str, Any], on_event: Callable[[dict[str, Any]], None]) -> None:
        """Do one job; its last event is "result", "error" or "crash"."""
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(job | {"device": self.device}) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                event = json.loads(line)
                on_event(event)
                if event["event"] != "progress":
                    return
        except BrokenPipeError:
            pass
        code = process.wait()
        self.process = None
        on_event({"event": "crash", "message": _how_it_ended(code), "traceback": self._log_tail()})

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

    def stop(self) -> None:
        """End the process now; what it stored so far is whole."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None


def _how_it_ended(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (often the system's answer to too little memory)" if name == "SIGKILL" else ""
        return f"The worker process was ended by {name}{hint}."
    return f"The worker process exited with status {code}."


class Pool:
    """Workers over devices, one job at a time each. Use as a context manager."""

    def __init__(self, devices: list[str], threads: int, log_folder: Path) -> None:
        self.workers = [
            Worker(device, threads, log_folder / f"worker-{number}.log")
            for number, device in enumerate(devices)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for worker in self.workers:
            worker.stop()

    def map(self, jobs: Iterable[tuple[Any, dict[str, Any]]], report: Report) -> None:
        """Do all (tag, job) pairs; report(tag, event) is called for every event of each."""
        waiting: queue.SimpleQueue[tuple[Any, dict[str, Any]]] = queue.SimpleQueue()
        for pair in jobs:
            waiting.put(pair)
        failures: list[BaseException] = []

        def serve(worker: Worker) -> None:
            try:
                while not failures:
                    tag, job = waiting.get_nowait()
                    report(tag, {"event": "start", "device": worker.device})
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
