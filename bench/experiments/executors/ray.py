"""Actors on a Ray cluster, or on a Ray started on this machine; each keeps one worker process.

An actor holds its resources (CPUs, a share of a GPU) and a worker process as the local executor's,
which keeps torch loaded. Events come back as the actor's stream of results. An actor that is lost
with its node or process is replaced, and its job goes on from the stored state.
"""

import contextlib
import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bench.core.errors import BenchError
from bench.experiments.executors.choice import Choice
from bench.experiments.executors.faults import crowded, too_large
from bench.experiments.executors.interface import Report
from bench.experiments.executors.local import PATIENCE, Worker, in_threads
from bench.experiments.executors.shared_files import Places, environment, missing, tokens
from bench.experiments.messages import Event, Failed, Job, Retry, Started, is_end, read_event

RETRIES = 3  # of a job whose actor is lost

SECONDS_BETWEEN_LOOKS = 0.5  # of a worker that waits for its actor or for a job

logger = logging.getLogger("bench")


class CellActor:
    """Runs on a node: one worker process, one job at a time."""

    def __init__(self, device: str, threads: int, log: str, environment: dict[str, str]) -> None:
        self.worker = Worker(device, threads, Path(log), environment)

    def where(self) -> str:
        """The device and the node."""
        return f"{self.worker.device} of {socket.gethostname()}"

    def run(self, line: str) -> Iterator[str]:
        """Do the job in a line; its events, a line each."""
        events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()

        def follow(event: Event) -> None:
            if isinstance(event, Failed) and self.worker.ended_from_outside:
                os._exit(1)  # the node is taken away: the job goes on elsewhere
            events.put(event)

        def work() -> None:
            try:
                self.worker.run(Job.model_validate_json(line), follow)
            finally:
                events.put(None)

        threading.Thread(target=work, daemon=True).start()
        while (event := events.get()) is not None:
            yield event.model_dump_json()

    def stop(self, patience: float) -> None:
        """Let the training store its state, for so many seconds at most, and end it."""
        self.worker.ask_to_stop()
        self.worker.stop(patience)


@dataclass
class _Waiting:
    """A job that waits for an actor. lost: how many actors it lost."""

    tag: Any
    job: Job
    lost: int = 0


class RayExecutor:
    """Jobs over actors. Use as a context manager."""

    def __init__(
        self, choice: Choice, device: str, threads: int, logs: Path, places: Places
    ) -> None:
        self.choice, self.device, self.threads = choice, device, threads
        self.logs, self.places = logs.absolute(), places
        self.actors: dict[int, Any] = {}
        self.stopped = False
        self._numbers = iter(range(10**9))

    def __enter__(self) -> Self:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to Ray's authors
        try:
            ray.init(
                address=self.choice.address, log_to_driver=False, logging_level=logging.ERROR,
                include_dashboard=False if self.choice.address is None else None,
            )  # fmt: skip
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise BenchError(
                f"--address {self.choice.address}: no Ray cluster answers there ({error}). Start one with "
                "`ray start --head`, or leave --address out to use this machine."
            ) from error
        try:
            self._require_shared()
            self.count = self._actors_granted()
        except BaseException:
            ray.shutdown()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        self.stopped = True
        interrupted = kind is not None and not issubclass(kind, Exception)
        patience = PATIENCE if interrupted else 0.0
        stops = [actor.stop.remote(patience) for actor in self.actors.values()]
        with contextlib.suppress(RayError):
            ray.wait(stops, num_returns=len(stops), timeout=patience + 5.0) if stops else None
        for actor in self.actors.values():
            ray.kill(actor)
        ray.shutdown()

    def map(self, jobs: Iterable[tuple[Any, Job]], report: Report) -> None:
        """Do all (tag, job) pairs; report(tag, event) is called for every event of each."""
        apart: list[tuple[Any, Job]] = []

        def first(tag: Any, job: Job, event: Event) -> None:
            if isinstance(event, Failed) and event.fault == "memory":
                apart.append((tag, job))
                event = Retry(why=crowded(self.device))
            report(tag, event)

        def alone(tag: Any, job: Job, event: Event) -> None:
            if isinstance(event, Failed) and event.fault == "memory":
                words = too_large(event.message, self.device)
                event = event.model_copy(update={"message": words})
            report(tag, event)

        pairs = list(jobs)
        self._serve(pairs, first, min(self.count, len(pairs)), self.choice.ray_gpus)
        if apart:
            self._let_go()  # an actor that waits keeps its share of the GPU
            whole = 1.0 if self.choice.ray_gpus else 0.0
            self._serve(apart, alone, 1, whole)
            self._let_go()

    def _serve(
        self,
        jobs: list[tuple[Any, Job]],
        follow: Callable[[Any, Job, Event], None],
        count: int,
        gpus: float,
    ) -> None:
        waiting: queue.SimpleQueue[_Waiting] = queue.SimpleQueue()
        for tag, job in jobs:
            waiting.put(_Waiting(tag, job))
        left = [len(jobs)]
        failures: list[BaseException] = []

        def serve(place: int) -> None:
            try:
                while left[0] and not failures and not self.stopped:
                    actor = self._ready(place, gpus)
                    if actor is None:
                        continue
                    try:
                        one = waiting.get(timeout=SECONDS_BETWEEN_LOOKS)
                    except queue.Empty:
                        continue
                    if self._done(place, one, follow):
                        left[0] -= 1
                    elif not self.stopped:
                        waiting.put(one)
            except BaseException as error:  # noqa: BLE001 - a full disk must not hang the pool
                failures.append(error)

        in_threads([partial(serve, place) for place in range(count)])
        if failures:
            raise failures[0]

    def _done(self, place: int, one: _Waiting, follow: Callable[[Any, Job, Event], None]) -> bool:
        """Do one job; False where its actor was lost and another one is to go on with it."""
        actor = self.actors[place]
        try:
            follow(one.tag, one.job, Started(device=ray.get(actor.where.remote())))
            for line in actor.run.remote(one.job.model_dump_json()):
                event = read_event(ray.get(line))
                if event is not None:
                    follow(one.tag, one.job, event)
                    if is_end(event):
                        return True
        except RayActorError as error:
            self.actors.pop(place, None)
            if self.stopped:
                return False
            one.lost += 1
            why = f"Its Ray actor was lost ({_first_line(error)})."
            if one.lost > RETRIES:
                words = f"{why} That was so {one.lost} times; the node's logs may say why."
                follow(one.tag, one.job, Failed(message=words))
                return True
            again = f"{why} It goes on from its stored state, retry {one.lost} of {RETRIES}."
            follow(one.tag, one.job, Retry(why=again))
        return False

    def _ready(self, place: int, gpus: float) -> Any:
        """The actor of a place, made if need be; None while the cluster has no room for it."""
        actor = self.actors.get(place)
        if actor is None:
            log = self.logs / f"worker-{next(self._numbers)}.log"
            made: Any = ray.remote(CellActor)
            actor = made.options(num_cpus=self.threads, num_gpus=gpus, max_concurrency=4).remote(
                self.device, self.threads, str(log), environment(self.places)
            )
            self.actors[place] = actor
        try:
            ray.get(actor.where.remote(), timeout=SECONDS_BETWEEN_LOOKS)
        except GetTimeoutError:
            return None
        except RayActorError:
            self.actors.pop(place, None)
            time.sleep(SECONDS_BETWEEN_LOOKS)
            return None
        return actor

    def _let_go(self) -> None:
        for actor in self.actors.values():
            ray.kill(actor)
        self.actors.clear()

    def _actors_granted(self) -> int:
        """Actors at a time; BenchError where no node has room for one."""
        asked = {"CPU": float(self.threads), "GPU": self.choice.ray_gpus}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        fit = [_fit(node, asked) for node in nodes]
        if not any(fit):
            most = max((node.get("CPU", 0.0) for node in nodes), default=0.0)
            gpus = max((node.get("GPU", 0.0) for node in nodes), default=0.0)
            raise BenchError(
                f"No node of the Ray cluster has room for a cell: it needs {self.threads} CPUs and "
                f"{self.choice.ray_gpus:g} GPUs, the largest has {most:g} and {gpus:g}. Lower --threads "
                "or --ray-gpus."
            )
        return min(sum(fit), self.choice.jobs or sum(fit))

    def _require_shared(self) -> None:
        """BenchError with the first node that does not see the run's folders."""
        look: Any = ray.remote(missing)
        with tokens(self.places) as made:
            said = [
                look.options(
                    num_cpus=0,
                    scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
                ).remote(made, self.places.data)
                for node in ray.nodes()
                if node["Alive"]
            ]
            for words in ray.get(said):
                if words:
                    raise BenchError(words)


def _fit(there: dict[str, float], asked: dict[str, float]) -> int:
    """How many times a node has the resources that are asked for."""
    return min(
        int(there.get(name, 0.0) / amount + 1e-9) for name, amount in asked.items() if amount
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")
