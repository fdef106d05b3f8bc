"""All commands as one application. None imports torch unless a command needs it."""

import typer

from bench.cli import (
    audit,
    cells,
    claims,
    compare,
    data,
    inspect,
    report,
    run,
    tokenizer,
    tune,
    verify,
    watch,
)

app = typer.Typer(
    help="Benchmark medical image segmentation methods under protocols that cannot be mixed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
run.add_to(app)
tune.add_to(app)
report.add_to(app)
compare.add_to(app)
inspect.add_to(app)
verify.add_to(app)
audit.add_to(app)
claims.add_to(app)
cells.add_to(app)
watch.add_to(app)
app.add_typer(data.app, name="data")
app.add_typer(tokenizer.app, name="tokenizer")
