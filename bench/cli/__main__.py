"""`python -m bench.cli`: the command where its script is not on the path."""

from bench.cli import main

main()
