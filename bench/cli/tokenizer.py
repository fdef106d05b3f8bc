"""`bench tokenizer`: train and eval."""

import json
from pathlib import Path
from typing import Annotated

import typer

from bench.cli import options as opt
from bench.cli.options import console
from bench.cli.inspect import print_rows
from bench.registry import use_plugin_files

app = typer.Typer(help="Train and judge image tokenizers.", no_args_is_help=True)
