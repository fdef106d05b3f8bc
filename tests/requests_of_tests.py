"""A cell request for tests: `unet` on phantoms of BUSI under the protocol `clean`."""

from typing import Any

from bench.experiments.cells import CellRequest, TestSet
from bench.protocols import get_profile, get_protocol


def request(**changes: Any) -> CellRequest:
    """The request with some fields changed; `protocol__x` and `profile__x` reach inside."""
    inner: dict[str, dict[str, Any]] = {"protocol": {}, "profile": {}}
    own = {}
    for name, value in changes.items():
        outer, separator, field = name.partition("__")
        if separator:
            inner[outer][field] = value
        else:
            own[name] = value
    values = {
        "method": "unet",
        "train": "busi",
        "tests": (TestSet(dataset="busi"),),
        "seed": 0,
        "protocol": get_protocol("clean").model_copy(update=inner["protocol"]),
        "profile": get_profile("smoke").model_copy(update=inner["profile"]),
    }
    return CellRequest(**(values | own))
