"""The command `bench`: parses and prints; everything it does is a call into the package.

Each group of commands is a module; none imports torch unless a command needs it.
"""

import sys
import warnings

import typer

from bench.cli import data, inspect, run, tokenizer
from bench.core.disk import disk_reason
from bench.core.errors import BenchError

app = typer.Typer(
    help="Benchmark medical image segmentation methods under protocols that cannot be mixed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
run.add_to(app)
inspect.add_to(app)
app.add_typer(data.app, name="data")
app.add_typer(tokenizer.app, name="tokenizer")


def main() -> None:
    """Run the command line; a user's mistake or a full disk ends in one message and status 2."""
    # timm 1.0 defines an interface that torch deprecates; nobody who types a command can act on it.
    warnings.filterwarnings("ignore", "`torch.jit.interface`", FutureWarning)
    try:
        app()
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
    except KeyboardInterrupt:
        print("bench: stopped. What finished is stored; the same command goes on.", file=sys.stderr)
        sys.exit(130)
