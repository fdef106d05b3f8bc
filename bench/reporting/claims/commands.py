"""The `bench run` commands that would give the scores a claim lacks."""

from collections.abc import Sequence

from bench.reporting.claims.evidence import Need
from bench.reporting.tables import ComparisonKey

SEEDS = "0,1,2"  # an interval needs three for its seed component


def commands_for(needs: Sequence[Need], key: ComparisonKey | None) -> tuple[str, ...]:
    """One command per matrix; cells that are finished already are skipped by it.

    key: the profile and protocol of the cells that stand beside; None where none is stored, which
    asks for the paper's profile: phantoms would test no claim.
    """
    by_matrix: dict[str, list[Need]] = {}
    for need in needs:
        by_matrix.setdefault(_matrix(need), []).append(need)
    return tuple(_command(matrix, own, key) for matrix, own in by_matrix.items())


def _matrix(need: Need) -> str:
    """The shipped matrix that has the cell."""
    if need.entry.variant.printed or need.entry.variant.settings:
        return "ablations"
    return "in-domain" if need.place.train == need.place.test else "cross-domain"


def _command(matrix: str, needs: Sequence[Need], key: ComparisonKey | None) -> str:
    methods = dict.fromkeys(need.entry.method for need in needs)
    datasets = dict.fromkeys(need.place.train for need in needs)
    words = [f"bench run --matrix {matrix}"]
    words.append(f"--methods {','.join(methods)} --datasets {','.join(datasets)}")
    if key is None:
        words.append("--profile paper")
    else:
        words.append(f"--profile {key.profile} --protocol {key.protocol}")
        words.append(f"--image-size {key.image_size}")
    words.append(f"--seeds {SEEDS}")
    return " ".join(words)
