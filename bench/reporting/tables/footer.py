"""The lines below a table: on what its numbers rest."""

from collections.abc import Mapping, Sequence

from bench.experiments.cells import CellRecord
from bench.protocols import get_profile, get_protocol, profile_names, protocol_names
from bench.reporting.tables.comparable import ComparisonKey
from bench.reporting.tables.table import Grid, TableRow

SELECTION_WORDS = {
    "last": "the weights after the last epoch are scored",
    "best-val": "the epoch with the best DSC on validation cases held out of train is scored",
    "best-test": "each checkpoint was chosen on the very test cases it is scored on, so these "
    "scores are optimistic",
}

PHANTOM_WORDS = (
    "Procedural phantoms stand in for the datasets: these numbers say nothing about real images."
)


def key_lines(key: ComparisonKey, records: Sequence[CellRecord]) -> list[str]:
    """Phantom warning, profile, protocol, selection rule."""
    lines = [PHANTOM_WORDS] if on_phantoms(key, records) else []
    profile, protocol = (
        _title("profile", key.profile, records),
        _title("protocol", key.protocol, records),
    )
    lines.append(f"Profile {key.profile}{profile}. Protocol {key.protocol}{protocol}.")
    words = SELECTION_WORDS[key.selection]
    lines.append(f"Selection rule {key.selection}: {words}.{_optimism(records)}")
    return lines


def on_phantoms(key: ComparisonKey, records: Sequence[CellRecord]) -> bool:
    """Whether the cells were trained and scored on phantoms."""
    for record in records:
        recorded = record.provenance.get("request", {}).get("profile", {})
        if "phantoms" in recorded:
            return bool(recorded["phantoms"])
    return key.profile in profile_names() and get_profile(key.profile).phantoms


def _title(kind: str, name: str, records: Sequence[CellRecord]) -> str:
    """ ": title" of the profile or protocol, as recorded or as shipped; "" when neither says."""
    for record in records:
        recorded = record.provenance.get("request", {}).get(kind, {})
        if recorded.get("title"):
            return f": {recorded['title']}"
    if kind == "profile" and name in profile_names():
        return f": {get_profile(name).title}"
    if kind == "protocol" and name in protocol_names():
        return f": {get_protocol(name).title}"
    return ""


def _optimism(records: Sequence[CellRecord]) -> str:
    """The measured gain of choosing on test, where the cells recorded it."""
    gains = [r.provenance.get("optimism") for r in records]
    known = [100 * float(gain) for gain in gains if gain is not None]
    if not known:
        return ""
    return (
        f" Measured optimism (best test DSC minus that of the epoch validation picks): mean "
        f"{sum(known) / len(known):.2f} points over {len(known)} cells."
    )


def measure_line(key: ComparisonKey, grid: Grid, seeds: Sequence[int]) -> str:
    """What the numbers are: mean, unit, grid."""
    size = f"{key.image_size} x {key.image_size}"
    where = f"the {size} grid" if grid == "network" else "each image's own (native) grid"
    names = ", ".join(map(str, seeds))
    spread = f"mean ± SD (ddof 1) over seeds {names}" if len(seeds) > 1 else f"one seed ({names})"
    return (
        f"DSC and IoU: per-image means in %; HD95: medpy's definition in px on {where}, per-image "
        f"mean; {spread}."
    )


def training_line(records: Sequence[CellRecord]) -> str:
    """Recipes with their lengths, and tokenizers with the start of their weights' hash."""
    lengths: dict[str, set[int]] = {}
    for record in records:
        lengths.setdefault(record.key.recipe, set()).add(record.key.epochs)
    recipes = [
        f"{name} ({', '.join(map(str, sorted(epochs)))} epoch{'s' * (epochs != {1})})"
        for name, epochs in sorted(lengths.items())
    ]
    tokenizers = sorted(
        {
            f"{t.name} ({t.role}, weights {t.weights_hash[:8]})"
            for record in records
            if (t := record.key.tokenizer)
        }
    )
    return f"Recipe: {', '.join(recipes)}. Tokenizer: {', '.join(tokenizers) or 'none'}."


def cases_line(rows: Sequence[TableRow], titles: Mapping[str, str]) -> str:
    """Test cases per column, and who had how many empty masks among them."""
    cases: dict[str, int] = {}
    empty: dict[str, list[str]] = {}
    for row in rows:
        for entry in row.entries:
            if entry.metric == "dsc" and entry.column and entry.cases is not None:
                name = column_title(entry.column.train, entry.column.test, titles)
                if entry.column.subset == "all":
                    name += " (all cases)"
                cases[name] = entry.cases
                if entry.empty:
                    empty.setdefault(name, []).append(f"{row.label} {entry.empty}")
    if not cases:
        return "Test cases: no cell here is scored."
    counted = ", ".join(f"{name} {count}" for name, count in cases.items())
    blank = "; ".join(f"{name}: {', '.join(who)}" for name, who in empty.items())
    rule = "scored 1/1/0 if both masks are, else 0/0/diagonal; summed over seeds"
    return f"Test cases: {counted}. Cases with an empty mask ({rule}): {blank or 'none'}."


def column_title(train: str, test: str, titles: Mapping[str, str]) -> str:
    """ "BUSI", or "BUSI to BUS" where training and test set differ."""
    first, second = titles.get(train, train), titles.get(test, test)
    return second if train == test else f"{first} to {second}"


def origin_line(records: Sequence[CellRecord]) -> str:
    """Commits and devices."""
    commits, devices = set(), set()
    for record in records:
        commit = record.provenance.get("commit")
        dirty = "+dirty" if record.provenance.get("dirty") else ""
        commits.add(f"{commit[:10]}{dirty}" if commit else "unknown")
        devices.add(str(record.provenance.get("device", "unknown")))
    return f"Commit {', '.join(sorted(commits))}; device {', '.join(sorted(devices))}."
