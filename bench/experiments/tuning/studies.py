"""Optuna's side of a search: where trials are kept, which is tried next, and when one is given up."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError
from bench.experiments.tuning.plan import JOURNAL, Pruner
from bench.training.seeds import seed_for

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.storages import BaseStorage

logger = logging.getLogger("bench")

ALLOWED, ROUND = "images_allowed", "round"
"""User attributes of a trial from its start: its share of the budget; the round that asked for it."""
IMAGES, OUTCOME, ERROR, SECONDS = "images", "outcome", "error", "seconds"
"""User attributes of a trial that ended."""


def storage_url(folder: Path, given: str | None) -> str:
    """The URL of a search's storage: the one given, else `journal:FILE` in the search's folder."""
    return given if given is not None else f"journal:{folder / JOURNAL}"


def open_storage(url: str) -> "BaseStorage":
    """Optuna's storage of `journal:FILE` or of a database URL; BenchError where none can be opened.

    The journal's lock is a file that is created exclusively, which holds on NFS from version 3 on; a
    lock whose holder was killed is taken over after 30 seconds.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    kind, _, path = url.partition(":")
    if kind == "journal":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return optuna.storages.JournalStorage(
            JournalFileBackend(path, lock_obj=JournalFileOpenLock(path))
        )
    try:
        return optuna.storages.RDBStorage(url)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise BenchError(
            f"--storage {hidden(url)!r} cannot be opened: {reason}. Write sqlite:///FILE.db, "
            "postgresql://USER@HOST/NAME or another URL of a database that is there, or leave "
            "--storage out for a journal file in the search's folder."
        ) from error


def hidden(url: str) -> str:
    """The URL without a password."""
    scheme, there, rest = url.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}{there}{user.partition(':')[0]}{at}{host}" if at else url


def open_study(storage: "BaseStorage", name: str) -> "Study":
    """The study called `name`, made where there is none; its values are to be large."""
    import optuna

    return optuna.create_study(
        study_name=name, storage=storage, direction="maximize", load_if_exists=True
    )


def make_pruner(kind: Pruner, trials: int, epochs: int) -> "BasePruner":
    """Optuna's pruner over epochs 1 to `epochs`, the length of a whole trial of the own recipe.

    Median: after a third of the planned trials (at most 5), and after a fifth of the epochs.
    Hyperband: from a ninth of the epochs on, by factors of 3.
    """
    from optuna import pruners

    match kind:
        case "median":
            return pruners.MedianPruner(
                n_startup_trials=max(1, min(5, trials // 3)), n_warmup_steps=max(1, epochs // 5)
            )
        case "hyperband":
            return pruners.HyperbandPruner(
                min_resource=max(1, epochs // 9), max_resource=max(2, epochs), reduction_factor=3
            )
    return pruners.NopPruner()


def proposed(
    study: "Study",
    over: "Mapping[str, BaseDistribution]",
    pruner: "BasePruner",
    trials: int,
    seed: int,
) -> dict[str, Any]:
    """What TPE tries next: a function of the seed and of the study's trials, whichever process asks.

    The study is not changed. trials: planned ones; a quarter of them, 10 at most, are drawn at
    random before TPE has something to go by.
    """
    import optuna

    known = study.get_trials(deepcopy=False)
    sampler = optuna.samplers.TPESampler(
        n_startup_trials=max(2, min(10, trials // 4)),
        seed=seed_for(seed, "trial", study.study_name, len(known)) % 2**32,
    )
    copy = optuna.create_study(
        study_name=study.study_name, direction="maximize", sampler=sampler, pruner=pruner
    )
    copy.add_trials(known)
    return copy.ask(dict(over)).params


def start(
    study: "Study",
    over: "Mapping[str, BaseDistribution]",
    params: Mapping[str, Any],
    attributes: Mapping[str, Any],
) -> None:
    """Add a running trial in one record, so that a killed search leaves a whole trial or none."""
    from optuna.trial import TrialState, create_trial

    study.add_trial(
        create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions=dict(over),
            user_attrs=dict(attributes),
        )
    )


def end(
    study: "Study", number: int, outcome: str, value: float | None, facts: Mapping[str, Any]
) -> None:
    """Tell optuna how a trial ended. outcome: "complete", "pruned", "cut" or "failed"."""
    from optuna.trial import TrialState

    trial = handle(study, number)
    for name, fact in ({OUTCOME: outcome} | dict(facts)).items():
        trial.set_user_attr(name, fact)
    if outcome == "complete" and value is not None:
        study.tell(number, value)
    else:
        failed = outcome == "failed" or value is None
        study.tell(number, state=TrialState.FAIL if failed else TrialState.PRUNED)


def handle(study: "Study", number: int) -> Any:
    """Optuna's handle on a trial that some process started; optuna gives it by its own id only."""
    from optuna.trial import Trial

    frozen = study.get_trials(deepcopy=False)[number]
    return Trial(study, frozen._trial_id)
