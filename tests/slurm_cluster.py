"""A Slurm of one node on this machine, with its configuration in a folder of its own."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")

CONFIGURATION = """
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=1,sched_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=20
ReturnToService=2
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=2
PartitionName=low Nodes={host} Default=YES PriorityTier=1 MaxTime=INFINITE
PartitionName=high Nodes={host} PriorityTier=2 PreemptMode=OFF MaxTime=INFINITE
"""


def lacking() -> str:
    """Why no Slurm can run here; "" where it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "slurmd starts jobs as root, on Linux"
    gone = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"{', '.join(gone)}: not installed (Debian: slurm-wlm, munge)" if gone else ""


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Run the cluster; gives the environment for its commands. Its processes end with the block."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    host = socket.gethostname().partition(".")[0]
    text = CONFIGURATION.format(folder=folder, host=host, ports=_free_ports(2))
    (folder / "slurm.conf").write_text(text)
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    munge = [f"--{name}={folder}/munge.{end}" for name, end in (
        ("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"), ("log-file", "log"),
        ("seed-file", "seed"),
    )]  # fmt: skip
    commands = [["munged", "-F", "--force", *munge], ["slurmctld", "-D"], ["slurmd", "-D"]]
    started = []
    try:
        for command in commands:
            with (folder / f"{command[0]}.out").open("w") as out:
                started.append(
                    subprocess.Popen(
                        command, env=environment, stdout=out, stderr=out, start_new_session=True
                    )
                )
            time.sleep(1.0)
        _until_idle(environment, folder)
        yield environment
    finally:
        subprocess.run(["scancel", "--user=root"], env=environment, check=False)
        deadline = time.monotonic() + 30
        while said("squeue", "--noheader", **environment) and time.monotonic() < deadline:
            time.sleep(0.5)
        for process in reversed(started):
            _end(process)


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _until_idle(environment: dict[str, str], folder: Path) -> None:
    deadline = time.monotonic() + 60
    while "idle" not in said("sinfo", "--noheader", "--format=%T", **environment):
        logs = [file.read_text()[-2000:] for file in folder.glob("*.out")]
        assert time.monotonic() < deadline, "\n".join(logs)
        time.sleep(0.5)


def said(*words: str, **environment: str) -> str:
    """What a command of Slurm prints."""
    answer = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    return answer.stdout + answer.stderr
