"""The command `bench`: parses and prints; everything it does is a call into the package.

This module and `stopped` import the standard library only, so that a signal during the imports of the commands
ends in one line as well.
"""

import os
import signal
import sys
import warnings
from collections.abc import Callable
from types import FrameType

from bench.cli.stopped import STOPPED, Stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _quit(number: int, frame: FrameType | None) -> None:
    """End at once: an exception in the middle of an import may be swallowed there."""
    os.write(2, f"{STOPPED}\n".encode())
    os._exit(128 + number)


def _stop(number: int, frame: FrameType | None) -> None:
    """End in order at the first signal; a second one ends the process at once."""
    _on_signals(_quit)
    raise Stopped(number)


def _on_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in SIGNALS:
        signal.signal(number, handler)


def main() -> None:
    """Run the command line.

    Exit status: 2 with one message for a user's mistake or a full disk; 130, 143 or 129 after
    SIGINT, SIGTERM or SIGHUP.
    """
    _on_signals(_quit)
    # timm 1.0 defines an interface that torch deprecates; a user can do nothing about it.
    warnings.filterwarnings("ignore", "`torch.jit.interface`", FutureWarning)
    try:
        _run()
    except Stopped as stopped:
        print(stopped.said, file=sys.stderr)
        sys.exit(128 + stopped.number)


def _run() -> None:
    from bench.cli.app import app
    from bench.core.disk import disk_reason
    from bench.core.errors import BenchError

    _on_signals(_stop)
    try:
        app(prog_name="bench")  # also by `python -m bench.cli`
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        reason = disk_reason(error)
        if reason is None:
            raise
        place = f" {error.filename}" if error.filename else ""
        print(
            f"bench: cannot write{place}: {reason}. What finished is stored; the same command goes "
            "on.",
            file=sys.stderr,
        )
        sys.exit(2)
