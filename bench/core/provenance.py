"""What a result rests on: package versions, commit, machine."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bench.core.paths import PACKAGE

_PACKAGES = (
    "torch", "torchvision", "diffusers", "segmentation-models-pytorch", "timm", "numpy", "scipy",
    "pandas", "medpy", "pillow", "scikit-image", "dynamic-network-architectures",
)  # fmt: skip


@cache
def commit() -> tuple[str | None, bool]:
    """(commit, dirty) of the checkout that the package runs from; (None, False) outside of git."""
    try:
        top = _git("rev-parse", "--show-toplevel")
        if os.path.realpath(top) != os.path.realpath(PACKAGE.parent):
            return None, False  # installed inside some other project's repository
        return _git("rev-parse", "HEAD"), bool(_git("status", "--porcelain", "-uno"))
    except (OSError, subprocess.CalledProcessError):
        return None, False


def _git(*words: str) -> str:
    command = ["git", "-C", str(PACKAGE.parent), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def now() -> str:
    """The time in UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def environment() -> dict[str, Any]:
    """Versions, commit and platform of this process."""
    revision, dirty = commit()
    return {
        "bench": _version("gms-bench"),
        "commit": revision,
        "dirty": dirty,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": processor(),
        "cpu_count": os.cpu_count(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor()
