"""`bench run --detach`: the same command in the background, in a session of its own."""

import shlex
import subprocess
import sys
import time
from pathlib import Path

from bench.cli.options import console


def detach(results: Path) -> None:
    """Start this command anew without --detach, and say how to watch and to stop it.

    It goes on when the terminal closes. What it prints goes to a file.
    """
    words = [word for word in sys.argv[1:] if word != "--detach"]
    log = results / "logs" / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-detached.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    console.print(
        f"Process {process.pid} runs it in the background.\n"
        f"Watch it: `bench watch --results {shlex.quote(str(results))}`\n"
        f"What it prints: {log}\n"
        f"Stop it, its trainings stored: kill -INT {process.pid}",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
