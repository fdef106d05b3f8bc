"""Why a number of ours may not be held against a printed one."""

from collections.abc import Sequence

from bench.experiments.cells import CellRecord
from bench.reporting.published import Edition
from bench.reporting.tables.data import facts_of, shortcomings
from bench.reporting.tables.table import Column, Grid


def incomparable(
    records: Sequence[CellRecord], column: Column, grid: Grid, cases: int | None, edition: Edition
) -> list[str]:
    """Every reason against a difference to a printed number; empty for a fair comparison.

    records: the cells behind our number. cases: test cases of each. A difference means something for
    real and complete data at the published size, scored on the network grid at the edition's image
    size, over as many test cases as the edition's.
    """
    found = ["scored on the native grid"] if grid == "native" else []
    sizes = sorted({record.key.image_size for record in records})
    if edition.image_size is None:
        found.append("the edition states no image size")
    elif sizes != [edition.image_size]:
        found.append(f"{' and '.join(map(str, sizes))} px, printed at {edition.image_size} px")
    known = facts_of(records)
    for name in dict.fromkeys((column.train, column.test)):
        if name not in known:
            found.append(f"the cell does not record its data of {name}")
        else:
            found += [f"{name}: {words}" for words in shortcomings(known[name])]
    own = column.train == column.test
    printed = (edition.test_cases if own else edition.cross_domain_cases).get(column.test)
    if printed is None:
        found.append("the edition does not state its test cases")
    elif cases != printed:
        found.append(f"{cases} test cases, printed over {printed}")
    return found
