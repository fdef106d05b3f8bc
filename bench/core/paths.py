"""Where things lie: what the package ships, the user's data, the cache and the results."""

import os
from pathlib import Path

import pooch

from bench.core.reading import require_folder

PACKAGE = Path(__file__).resolve().parents[1]


def shipped(name: str) -> Path:
    """The folder `datasets` or `published` that ships with the package.

    A wheel carries them inside `bench/`; a checkout keeps them at the top level, where people
    edit them.
    """
    inside = PACKAGE / "_shipped" / name
    if inside.is_dir():
        return inside
    return PACKAGE.parent / ("results/published" if name == "published" else name)


def data_root(option: Path | None = None) -> Path | None:
    """The folder of prepared datasets: the `--data` option, else $GMS_BENCH_DATA, else None.

    Raises BenchError where it names a file.
    """
    named = os.environ.get("GMS_BENCH_DATA")
    if option is None and not named:
        return None
    return require_folder(option or Path(named or ""), "data folder")


def cache_root() -> Path:
    """The folder for what can be made again (arrays, latents): $GMS_BENCH_CACHE or the OS's own."""
    named = os.environ.get("GMS_BENCH_CACHE")
    return Path(named) if named else Path(pooch.os_cache("gms-bench"))
