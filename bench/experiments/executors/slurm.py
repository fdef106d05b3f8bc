"""Jobs of a Slurm cluster, sent with submitit: one array, an element per cell.

Each element runs one job in a worker process, as the local executor's, and appends its events to a
file on the shared file system, which the driver reads. A pre-empted, requeued or timed-out element
starts again and goes on from the stored state. A driver that starts while elements of an earlier one
still wait or run follows those and sends no others.
"""

import logging
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import submitit
from submitit.core.utils import FailedJobError
from submitit.helpers import DelayedSubmission

from bench.core.errors import BenchError
from bench.core.files import digest, write_json
from bench.core.reading import parse_json
from bench.experiments.executors.choice import Choice
from bench.experiments.executors.faults import too_large
from bench.experiments.executors.interface import Report
from bench.experiments.executors.local import PATIENCE, LocalExecutor, Worker
from bench.experiments.executors.shared_files import Places, missing, standing_tokens
from bench.experiments.messages import Epoch, Event, Failed, Job, Retry, Started, is_end, read_event

RETRIES = 3  # of a job that Slurm ended without a result

TIMEOUTS = 1000  # that an element may meet before it is not requeued any more

MINUTES = 24 * 60  # time limit of an element, unless --slurm time=MINUTES says another

SECONDS_BETWEEN_LOOKS = 1.0  # at the events
SECONDS_BETWEEN_QUEUES = 5.0  # at the queue, one call for all jobs
SECONDS_OF_KILLING = 5.0  # from the first to the last process of an element that Slurm kills
KEPT = 3600.0  # seconds that the notes and events of an element stay after its last event
GRACE = 15.0  # seconds that an element is out of the queue before its events are given up

logger = logging.getLogger("bench")


@dataclass
class NodeJob:
    """What an element of the array runs on its node. submitit pickles it."""

    line: str
    events: Path
    device: str
    threads: int
    log: Path
    tokens: dict[Path, str]
    data: Path | None
    worker: Worker | None = field(default=None, repr=False)

    def __call__(self) -> None:
        """Do the job; its events go to the file, its last one only where it was not stopped."""
        said = missing(self.tokens, self.data)
        if said:
            self._write(Failed(message=said, fault="files"))
            return
        job = submitit.JobEnvironment().job_id
        where = f"{self.device} of {socket.gethostname()} (Slurm job {job})"
        self._write(Started(device=where))
        self.worker = Worker(self.device, self.threads, self.log)
        self.worker.run(Job.model_validate_json(self.line), self._follow)

    def checkpoint(self) -> DelayedSubmission:
        """Called by submitit before Slurm takes the node away: store the training and go on later."""
        if self.worker is not None:
            self.worker.ask_to_stop()
            self.worker.stop(PATIENCE)
        why = "Slurm takes the node away; it goes on from its stored state, in the queue again."
        self._write(Retry(why=why))
        return DelayedSubmission(replace(self, worker=None))

    def _follow(self, event: Event) -> None:
        assert self.worker is not None
        if isinstance(event, Failed) and self.worker.ended_from_outside:
            return
        if isinstance(event, Failed) and self.worker.status == -signal.SIGKILL:
            time.sleep(SECONDS_OF_KILLING)  # where Slurm did it, this process does not wake up
        self._write(event)

    def _write(self, event: Event) -> None:
        with self.events.open("a") as file:
            file.write(event.model_dump_json() + "\n")
            file.flush()
            os.fsync(file.fileno())


@dataclass
class _Sent:
    """A job in Slurm's hands. id: of the array's element. note: the file by which another driver
    finds it. read: bytes of the events that were read. gone: when it was first seen to be out of
    the queue."""

    tag: Any
    job: Job
    name: str
    id: str
    events: Path
    note: Path
    lost: int = 0
    read: int = 0
    gone: float | None = None

    def new_events(self) -> list[Event]:
        """The events since the last call. The file is opened anew: another host writes it."""
        try:
            with self.events.open("rb") as file:
                file.seek(self.read)
                text = file.read()
        except FileNotFoundError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self.read += len(whole)
        found = (read_event(line) for line in whole.decode().splitlines())
        return [event for event in found if event is not None]

    def forget(self) -> None:
        """Remove what later drivers would find it by."""
        self.note.unlink(missing_ok=True)
        self.events.unlink(missing_ok=True)


class SlurmExecutor:
    """Jobs over the elements of Slurm arrays. Use as a context manager.

    Settings are resolved here, on the machine of the driver: that takes seconds and no queue.
    """

    def __init__(
        self, choice: Choice, device: str, threads: int, logs: Path, places: Places
    ) -> None:
        self.choice, self.device, self.threads = choice, device, threads
        self.logs, self.places = logs.absolute(), places
        self.folder = places.results / "logs" / "slurm"
        self.here = LocalExecutor(["cpu"], threads, self.logs)
        self.sent: list[_Sent] = []

    def __enter__(self) -> Self:
        queue = _queue()
        if queue is None:
            raise BenchError(
                "--executor slurm: squeue gives no answer here. Start the run on a machine from which "
                "jobs of the cluster are sent."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        _sweep(self.folder, queue)
        self.tokens = standing_tokens(self.places)
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        self.here.__exit__(kind, *exc)
        if not self.sent:
            return
        ids = [one.id for one in self.sent]
        _scancel("--state=PENDING", *ids)
        _scancel("--signal=TERM", *ids)  # as a worker gets it: it stores its training first
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and (_queue() or {}).keys() & set(ids):
            time.sleep(SECONDS_BETWEEN_LOOKS)
        _scancel(*ids)
        for one in self.sent:
            one.forget()

    def map(self, jobs: Iterable[tuple[Any, Job]], report: Report) -> None:
        """Do all (tag, job) pairs; report(tag, event) is called for every event of each."""
        pairs = list(jobs)
        here = [(tag, job) for tag, job in pairs if job.op == "resolve"]
        if here:
            self.here.map(here, report)
        away = [(tag, job) for tag, job in pairs if job.op != "resolve"]
        self._attach_or_send(away, report)
        looked, queue = 0.0, _queue()
        while self.sent:
            for one in list(self.sent):
                self._follow(one, report)
            if time.monotonic() - looked > SECONDS_BETWEEN_QUEUES:
                looked, queue = time.monotonic(), _queue()
                self._mend({} if queue is None else queue, queue is not None, report)
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _follow(self, one: _Sent, report: Report) -> None:
        """Report a job's new events; let go of it after the last."""
        for event in one.new_events():
            if isinstance(event, Failed) and event.fault == "files":
                raise BenchError(event.message)
            if isinstance(event, Failed) and event.fault == "memory":
                words = too_large(event.message, self.device)
                event = event.model_copy(update={"message": words})
            report(one.tag, event)
            if is_end(event):
                self.sent.remove(one)
                one.forget()
                return

    def _mend(self, queue: dict[str, str], answered: bool, report: Report) -> None:
        """Send the jobs again that left the queue without a result."""
        lost = []
        for one in self.sent:
            if one.id in queue or not answered:
                one.gone = None
            elif one.gone is None:
                one.gone = time.monotonic()
            elif time.monotonic() - one.gone > GRACE:
                lost.append(one)
        again = []
        for one in lost:
            self.sent.remove(one)
            one.forget()
            why = f"Slurm job {one.id} ended without a result."
            if one.read and one.lost < RETRIES:
                words = f"{why} It is sent again, retry {one.lost + 1} of {RETRIES}."
                report(one.tag, Retry(why=words))
                again.append(one)
            else:
                report(one.tag, Failed(message=why + self._hint(one)))
        self._send([(one.tag, one.job) for one in again], [one.lost + 1 for one in again])

    def _hint(self, one: _Sent) -> str:
        nothing = (
            "" if one.read else f" Its node wrote nothing to {one.events}: does it see that file?"
        )
        return f"{nothing} Slurm's own words are in {self.folder}/{one.id}_0_log.out."

    def _attach_or_send(self, pairs: Sequence[tuple[Any, Job]], report: Report) -> None:
        """Follow the jobs that an earlier driver sent and that still wait or run; send the others."""
        queue, new = _queue() or {}, []
        for tag, job in pairs:
            name = _name(job)
            note = self.folder / f"{name}.json"
            found = _noted(note)
            if found is None or found["id"] not in queue:
                if found is not None:
                    Path(found["events"]).unlink(missing_ok=True)
                new.append((tag, job))
                continue
            one = _Sent(tag, job, name, found["id"], Path(found["events"]), note)
            self.sent.append(one)
            self._catch_up(one, report)
        self._send(new, [0] * len(new))

    def _catch_up(self, one: _Sent, report: Report) -> None:
        """Report of a job that was sent earlier that it runs, and its last epoch or end."""
        report(one.tag, Started(device=f"Slurm, as job {one.id} of an earlier command"))
        events = one.new_events()
        last = [event for event in events if isinstance(event, Epoch)][-1:]
        ends = [event for event in events if is_end(event)]
        for event in last + ends:
            report(one.tag, event)
        if ends:
            self.sent.remove(one)
            one.forget()

    def _send(self, pairs: Sequence[tuple[Any, Job]], lost: Sequence[int]) -> None:
        """Send jobs as one array and note each, for a driver that comes later."""
        if not pairs:
            return
        work, sent = [], []
        for (tag, job), times in zip(pairs, lost, strict=True):
            name = _name(job)
            events = self.folder / f"{name}-{uuid.uuid4().hex[:8]}.jsonl"
            log = self.logs / f"{name}.log"
            line = job.model_dump_json()
            work.append(
                NodeJob(line, events, self.device, self.threads, log, self.tokens, self.places.data)
            )
            note = self.folder / f"{name}.json"
            sent.append(_Sent(tag, job, name, "", events, note, times))
        try:
            made = self._submitit().submit_array(work)
        except (FailedJobError, subprocess.CalledProcessError, ValueError, TypeError) as error:
            raise BenchError(f"--executor slurm: sbatch refuses the jobs: {error}") from error
        for one, element in zip(sent, made, strict=True):
            one.id = element.job_id
            write_json(one.note, {"id": one.id, "events": str(one.events)})
            self.sent.append(one)

    def _submitit(self) -> "_Arrays":
        """submitit's executor with the options of the run; those that it does not name go to sbatch."""
        options = {"time": MINUTES, "job_name": "bench", "stderr_to_stdout": True}
        options |= {"cpus_per_task": self.threads} | self.choice.slurm
        if not isinstance(options["time"], int):
            raise BenchError(f"--slurm time={options['time']}: write minutes, such as time=600.")
        if self.choice.jobs is not None:
            options["array_parallelism"] = self.choice.jobs
        named = submitit.SlurmExecutor._valid_parameters()
        further = {
            name.replace("_", "-"): value for name, value in options.items() if name not in named
        }
        known = {name: value for name, value in options.items() if name in named}
        made = _Arrays(self.folder, max_num_timeout=TIMEOUTS)
        made.update_parameters(**known, additional_parameters=further)
        return made


class _Arrays(submitit.SlurmExecutor):
    """submitit's executor for callables that need no arguments and have a `checkpoint` each."""

    def submit_array(self, work: Sequence[NodeJob]) -> list[Any]:
        """One job of Slurm for each."""
        return list(self._internal_process_submissions([DelayedSubmission(one) for one in work]))


def _name(job: Job) -> str:
    """A name for a job and what it is asked to do; the same in every driver."""
    return f"{job.id}-{digest(job.model_dump(mode='json'))[:12]}"


def _noted(note: Path) -> dict[str, str] | None:
    try:
        found = parse_json(note.read_text())
    except (OSError, ValueError):
        return None
    whole = isinstance(found, dict) and {"id", "events"} <= found.keys()
    return found if whole else None


def _sweep(folder: Path, queue: dict[str, str]) -> None:
    """Remove notes of elements that ended an hour ago or more while no command followed them."""
    for note in folder.glob("*.json"):
        found = _noted(note)
        if found is None or found["id"] in queue:
            continue
        events = Path(found["events"])
        last = events.stat() if events.exists() else note.stat()
        if time.time() - last.st_mtime > KEPT:
            note.unlink(missing_ok=True)
            events.unlink(missing_ok=True)


def _queue() -> dict[str, str] | None:
    """Id -> state of this user's jobs that wait or run; None where Slurm gives no answer."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i %T"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode:
        logger.warning("squeue: %s", answer.stderr.strip())
        return None
    rows = [line.split() for line in answer.stdout.splitlines()]
    return {row[0]: row[1] for row in rows if len(row) == 2}


def _scancel(*words: str) -> None:
    """Cancel or signal jobs; those that ended meanwhile are no fault."""
    subprocess.run(["scancel", *words], capture_output=True, check=False, timeout=60)
