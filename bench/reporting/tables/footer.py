"""The lines below a table: on what its numbers rest."""

from collections.abc import Mapping, Sequence

from bench.experiments.cells import CellRecord
from bench.protocols import get_profile, profile_names
from bench.recipes import SHARED
from bench.reporting.tables.commits import commit_of
from bench.reporting.tables.comparable import ComparisonKey
from bench.reporting.tables.data import UNKNOWN, facts_of, split_of, split_words
from bench.reporting.tables.table import Column, Grid, TableRow
from bench.reporting.tables.training import search_of

PHANTOM_WORDS = (
    "Procedural phantoms stand in for the datasets: these numbers say nothing about real images."
)


SHARED_WORDS = (
    " Recipe shared: GMS's published optimizer, schedule and augmentation for every method; the "
    "others were not tuned for it."
)


def key_lines(key: ComparisonKey, records: Sequence[CellRecord]) -> list[str]:
    """Phantom warning, then the names of profile, protocol and selection rule."""
    lines = [PHANTOM_WORDS] if on_phantoms(key, records) else []
    lines.append(
        f"Profile {key.profile}, protocol {key.protocol}, selection rule {key.selection}, "
        f"{key.image_size} x {key.image_size} px."
    )
    return lines


def split_line(
    records: Sequence[CellRecord], columns: Sequence[Column], titles: Mapping[str, str]
) -> str:
    """Per training dataset, and per foreign test subset, where its split comes from and how many
    cases each side has."""
    splits = {record.key.train: split_of(record) for record in records}
    named = [
        f"{titles.get(name, name)}: {split_words(found) if found else UNKNOWN}"
        for name, found in splits.items()
    ]
    known = facts_of(records)
    foreign = dict.fromkeys(c.test for c in columns if c.train != c.test and c.subset == "test")
    named += [
        f"test subset of {titles.get(name, name)}: {split_words(known[name].split.model_dump())}"
        for name in foreign
        if name in known and name not in splits
    ]
    return f"Split: {'; '.join(named)}." if named else "Split: no cell here is trained."


def selection_line(
    key: ComparisonKey,
    records: Sequence[CellRecord],
    columns: Sequence[Column],
    titles: Mapping[str, str],
) -> str:
    """On which cases each checkpoint was chosen, by column where they differ."""
    if key.selection == "last":
        return "Selection rule last: the weights after the last epoch are scored."
    trained = {record.key.train for record in records}
    shown = [column for column in columns if column.train in trained]
    own = ", ".join(titles.get(c.train, c.train) for c in shown if c.train == c.test)
    score, how = _score(records)
    parts = [f"{_CHOSEN[key.selection].format(score=score)} ({own})"] if own else []
    parts += [
        f"{column_title(c.train, c.test, titles)}: chosen on the {_SIDE[key.selection]} cases of "
        f"{titles.get(c.train, c.train)}"
        for c in shown
        if c.train != c.test
    ]
    words = "; ".join(parts) or "no cell here is trained"
    return f"Selection rule {key.selection}: {words}.{how}{_optimism(records)}"


_SIDE = {"best-val": "validation", "best-test": "test"}

_CHOSEN = {
    "best-val": "the epoch with the best {score} on validation cases held out of train is scored",
    "best-test": "each checkpoint was chosen on the very test cases it is scored on, by the {score}, "
    "so these scores are optimistic",
}


def _score(records: Sequence[CellRecord]) -> tuple[str, str]:
    """(name of the score that chose the epochs, a sentence on it where it is not the DSC)."""
    rules = [record.provenance.get("request", {}).get("protocol", {}) for record in records]
    if any(rule.get("selection_metric") == "soft-dice" for rule in rules):
        return "soft Dice", " Soft Dice: of probabilities, averaged over batches of 8 images."
    return "DSC", ""


def on_phantoms(key: ComparisonKey, records: Sequence[CellRecord]) -> bool:
    """Whether the cells were trained and scored on phantoms."""
    for record in records:
        if record.key.train in record.data:
            return record.data[record.key.train].phantoms
        recorded = record.provenance.get("request", {}).get("profile", {})
        if "phantoms" in recorded:
            return bool(recorded["phantoms"])
    return key.profile in profile_names() and get_profile(key.profile).phantoms


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
    shared = any(name.split(",")[0] == SHARED.name for name in lengths)
    return (
        f"Recipe: {', '.join(recipes)}.{SHARED_WORDS if shared else ''}{_budget(records)}"
        f"{_search(records)} "
        f"Tokenizer: {', '.join(tokenizers) or 'none'}."
    )


def _budget(records: Sequence[CellRecord]) -> str:
    """The budget of images that set the lengths, where there was one."""
    rules = [record.provenance.get("request", {}).get("protocol", {}) for record in records]
    budgets = sorted({int(rule["budget"]) for rule in rules if rule.get("budget")})
    if not budgets:
        return ""
    named = " or ".join(f"{budget:,}" for budget in budgets)
    return f" Budget: {named} training images, which set the epochs of every row."


def _search(records: Sequence[CellRecord]) -> str:
    """The budget of the searches that found the recipes, where there were any."""
    found = [one for record in records if (one := search_of(record))]
    budgets = sorted({(one.planned, one.budget) for one in found})
    named = " or ".join(
        f"{planned:,} training images in trials of {one:,}" for planned, one in budgets
    )
    words = f" Search of each tuned recipe: {named}, on training and validation cases only."
    return words if found else ""


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
    commits = {commit_of(record) for record in records}
    devices = {str(record.provenance.get("device", "unknown")) for record in records}
    return f"Commit {', '.join(sorted(commits))}; device {', '.join(sorted(devices))}."


def differences_line(rows: Sequence[TableRow]) -> list[str]:
    """What differs between the rows that a reader compares, besides the method."""
    by_column: dict[tuple[Column | None, str], set[str]] = {}
    for entry in (entry for row in rows for entry in row.entries):
        for name, value in (entry.training.facts() if entry.training else {}).items():
            by_column.setdefault((entry.column, name), set()).add(value)
    found: dict[str, set[str]] = {}
    for (_, name), values in by_column.items():
        if len(values) > 1 and name not in _OWN:
            found.setdefault(name, set()).update(values)
    named = [f"{name.replace('_', ' ')} ({_few(values)})" for name, values in found.items()]
    return (
        [f"Rows differ in {', '.join(named)}; each row's footnote says its own."] if named else []
    )


_OWN = ("images_seen", "training_code", "search_trials", "search_images")
"""What differs from row to row without a difference in the rules."""


def _few(values: set[str]) -> str:
    """Up to four values, numbers by size; the recipe's own length is empty where the run has it."""
    values = {value or "as run" for value in values}
    order = sorted(values, key=lambda text: (not text.isdigit(), int(text) if text.isdigit() else 0, text))  # fmt: skip
    return ", ".join(order[:4]) + (f" and {len(order) - 4} more" if len(order) > 4 else "")
