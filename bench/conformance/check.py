"""`bench check`: does a method, a tokenizer or a dataset keep the contract?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.conformance.checks import CheckReport, run_checks
from bench.core.errors import BenchError
from bench.registry import plain_method_names, source_file, use_plugin_files


def check_method(
    name_or_file: str,
    settings: dict[str, Any] | None = None,
    steps: int | None = None,
    **watch: Any,
) -> CheckReport:
    """Check a registered method, or the one that a Python file defines.

    settings: overrule the spec's `reduced` ones, under which a CPU checks a heavy network in
    seconds. steps: budget of the overfitting check, None for its default. watch: `on_check` and
    `give_up` of `run_checks`.
    Raises BenchError for an unknown name, a file that defines no or several methods, and settings
    that the method refuses.
    """
    from bench.conformance.method import OVERFIT_STEPS, method_steps

    name = _method_name(name_or_file)
    subject, checks = method_steps(name, settings or {}, steps or OVERFIT_STEPS)
    with subject:
        results = run_checks(checks, vital=frozenset({"builds"}), **watch)
    shown = subject.settings.model_dump(mode="json")
    return CheckReport(kind="method", name=name, settings=shown, checks=results)


def _method_name(name_or_file: str) -> str:
    if not name_or_file.endswith(".py"):
        return name_or_file
    file = Path(name_or_file)
    use_plugin_files([file])
    names = [name for name in plain_method_names() if source_file(name) == file.resolve()]
    if len(names) != 1:
        raise BenchError(
            f"{file} defines {len(names)} methods ({', '.join(names) or 'none'}), and a check takes "
            f"one. Name it: bench check method NAME --plugin {file}."
        )
    return names[0]


def check_tokenizer(name: str, **watch: Any) -> CheckReport:
    """Check a tokenizer, NAME or NAME@LOCATION, with its weights. watch: as of `check_method`.

    Raises BenchError for an unknown name.
    """
    from bench.conformance.tokenizer import tokenizer_steps

    checks = run_checks(tokenizer_steps(name), **watch)
    return CheckReport(kind="tokenizer", name=name, checks=checks)


def check_dataset(
    name_or_file: str, data: Path | None = None, cards: Sequence[Path] = (), **watch: Any
) -> CheckReport:
    """Check a dataset's card and, where `data` holds it prepared, its cases and splits.

    name_or_file: a card at hand, among them those of the files `cards`, or a TOML file. watch: as of
    `check_method`. Raises BenchError for an unknown name.
    """
    from bench.conformance.dataset import dataset_steps

    steps = dataset_steps(name_or_file, data, cards)
    checks = run_checks(steps, vital=frozenset({"card", "prepared"}), **watch)
    return CheckReport(kind="dataset", name=name_or_file, checks=checks)
