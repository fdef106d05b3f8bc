"""The training loop: learning, repeating, resuming, averaging, stopping."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from training_doubles import CPU, STEADY, Walk, batches_of, run_of, squares

from bench.core.errors import BenchError
from bench.method import Method
from bench.recipes import Recipe
from bench.training.batches import TrainingBatches
from bench.training.checkpoints import load_state, save_state
from bench.training.engine import Engine
from bench.training.losses import LogitsMethod
from bench.training.predict import probabilities, validation_scores
from bench.training.trainer import TrainingFailure, train
from bench.training.weights import load_own_state, own_state

RECIPE = Recipe(name="t", lr=0.02, epochs=6, batch_size=4, augmentation="shared", warmup=0)


def network(seed=0):
    torch.manual_seed(seed)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2),
        nn.Conv2d(8, 1, 3, padding=1),
    )  # fmt: skip
    return LogitsMethod(layers, "bce+dice")


def setting(method, recipe=RECIPE, selection="last", resume=None, every=1):
    """(batches, run) on 8 squares, validated on 12 others: more than a batch of 8."""
    arrays = squares(20)
    batches = TrainingBatches(arrays, np.arange(8), recipe, 0, CPU.device, None)

    def score() -> dict[str, float]:
        return validation_scores(probabilities(method, arrays.images[8:], CPU, 0), arrays.masks[8:])

    checks = {"val": score, "test": score}
    return batches, run_of(
        recipe, selection, validate=checks, validate_every=every, resume_file=resume
    )


def weights(method):
    return torch.cat([t.flatten().double() for t in own_state(method).values()])


def scripted(scores):
    """A validation that gives the next of `scores` at every call."""
    given = iter(scores)
    return lambda: {"dsc": next(given)}


class Killed(Exception):
    """What ends a run from outside."""


def kill_in(epoch):
    """A progress callback that ends the run in the second step of `epoch` (0-based)."""

    def on_progress(event):
        if event["epoch"] == epoch and event.get("step") == 1:
            raise Killed

    return on_progress


@pytest.fixture
def every_epoch(monkeypatch):
    """Unfinished state is stored after every epoch."""
    monkeypatch.setattr("bench.training.trainer.SECONDS_BETWEEN_CHECKPOINTS", -1.0)


# ---- learning


def test_it_learns_bright_squares():
    method = network()
    trained = train(method, *setting(method, RECIPE.model_copy(update={"epochs": 30})))
    assert trained.history[-1]["val_dsc"] > 0.9
    assert trained.history[-1]["loss"] < 0.5 * trained.history[0]["loss"]


def test_same_seed_same_weights_and_another_seed_others():
    first, second = network(), network()
    train(first, *setting(first))
    train(second, *setting(second))
    assert torch.equal(weights(first), weights(second))
    third = network()
    batches, run = setting(third)
    batches.seed = run.seed = 1
    train(third, batches, run)
    assert not torch.equal(weights(first), weights(third))


def test_every_epoch_visits_every_case_once_in_an_order_of_its_own():
    recipe = STEADY.model_copy(update={"epochs": 3, "steps_per_epoch": None, "batch_size": 5})
    method = Walk()
    train(method, batches_of(recipe, cases=20), run_of(recipe))
    assert [len(images) for images in method.seen] == [5] * 12
    epochs = [torch.cat(method.seen[at : at + 4]).flatten(1) for at in (0, 4, 8)]
    orders = [tuple(images.sum(1).tolist()) for images in epochs]
    assert len(set(orders)) == 3
    assert len(set(orders[0])) == 20
    assert set(orders[0]) == set(orders[1]) == set(orders[2])


def test_random_layers_draw_anew_in_every_epoch_and_alike_in_every_run():
    class Drawing(Walk):
        def __init__(self):
            super().__init__()
            self.drawn = []

        def loss(self, batch):
            self.drawn.append(torch.rand(1).item())
            return super().loss(batch)

    recipe = STEADY.model_copy(update={"epochs": 2})
    first, second, other = Drawing(), Drawing(), Drawing()
    train(first, batches_of(recipe), run_of(recipe))
    train(second, batches_of(recipe), run_of(recipe))
    train(other, batches_of(recipe), run_of(recipe, seed=1))
    assert first.drawn == second.drawn
    assert len({*first.drawn, *other.drawn}) == 8


def test_a_step_takes_the_rate_of_its_own_place_in_the_schedule():
    """Warm-up over four steps: rates 0, 1/4, 1/2, 3/4, then 1 and 1."""
    recipe = STEADY.model_copy(update={"epochs": 3, "schedule_unit": "step", "warmup": 2})
    method = Walk()
    trained = train(method, batches_of(recipe), run_of(recipe))
    assert method.weight.item() == 0 + 0.25 + 0.5 + 0.75 + 1 + 1
    assert [row["lr"] for row in trained.history] == [0.25, 0.75, 1.0]


def test_the_history_holds_the_mean_of_every_loss_part():
    class Parts(Walk):
        def loss(self, batch):
            step = len(self.seen)  # 0, 1, 2, 3
            return super().loss(batch) | {"dice": torch.tensor(float(step))}

    recipe = STEADY.model_copy(update={"epochs": 2})
    history = train(Parts(), batches_of(recipe), run_of(recipe)).history
    assert [row["epoch"] for row in history] == [1, 2]
    assert [row["loss"] for row in history] == [-0.5, -2.5]  # weights 0, 1 and 2, 3
    assert [row["dice"] for row in history] == [0.5, 2.5]
    assert all(0 <= row["seconds"] < 60 for row in history)


def test_training_runs_in_train_mode_also_after_a_validation():
    modes = []

    class Watching(Walk):
        def loss(self, batch):
            modes.append(self.training)
            return super().loss(batch)

    method = Watching()
    recipe = STEADY.model_copy(update={"epochs": 2})
    run = run_of(recipe, validate={"val": lambda: {"dsc": float(method.eval() is None)}})
    train(method, batches_of(recipe), run)
    assert modes == [True] * 4


def test_the_engine_places_the_images_and_sets_the_precision():
    class Dark(Engine):
        def place(self, x):
            return super().place(x) * 0

    seen = []

    class Watching(Walk):
        def loss(self, batch):
            seen.append((float(batch.images.max()), (batch.images @ torch.eye(16)).dtype))
            return super().loss(batch)

    train(Watching(), batches_of(STEADY), run_of(engine=Dark(CPU.device, precision="bf16")))
    assert seen == [(0.0, torch.bfloat16)] * 2


def test_progress_is_reported_after_every_step_and_every_epoch():
    events = []
    recipe = STEADY.model_copy(update={"epochs": 2})
    train(Walk(), batches_of(recipe), run_of(recipe, on_progress=events.append))
    steps = [(e["epoch"], e["step"], e["steps"]) for e in events if "step" in e]
    assert steps == [(0, 0, 2), (0, 1, 2), (1, 0, 2), (1, 1, 2)]
    assert [(e["epoch"], e["epochs"]) for e in events if "loss" in e] == [(1, 2), (2, 2)]


def test_a_loss_that_is_not_finite_stops_with_epoch_and_advice():
    method = network()
    batches, run = setting(method)
    method.loss = lambda batch: {"loss": method.network(batch.images).mean() * float("nan")}
    with pytest.raises(TrainingFailure, match=r"loss is not finite in epoch 1.*recipe\.lr"):
        train(method, batches, run)


def test_a_part_of_the_loss_that_is_not_finite_is_named():
    class Bad(Walk):
        def loss(self, batch):
            bad = float("inf") if len(self.seen) == 3 else 0.0
            return super().loss(batch) | {"fine": torch.zeros(()), "kl": torch.tensor(bad)}

    recipe = STEADY.model_copy(update={"epochs": 3})
    with pytest.raises(TrainingFailure, match=r"^kl is not finite in epoch 2"):
        train(Bad(), batches_of(recipe), run_of(recipe))


# ---- averaged weights


def test_the_average_keeps_the_decay_of_itself_and_takes_the_rest_of_the_weights():
    """Weights 1, 2 from a start of 0, decay 3/4: 0.25 x 1, then 0.75 x 0.25 + 0.25 x 2."""
    recipe = STEADY.model_copy(update={"ema_decay": 0.75})
    method = Walk()
    train(method, batches_of(recipe), run_of(recipe))
    assert method.weight.item() == 0.6875


def test_validation_scores_the_averaged_weights_and_training_goes_on_from_the_raw_ones():
    """Weights 1, 2, then 3, 4; averages 0.25, 0.6875, then 1.265625, 1.94921875."""
    recipe = STEADY.model_copy(update={"ema_decay": 0.75, "epochs": 2})
    method, validated = Walk(), []
    check = {"val": lambda: validated.append(method.weight.item()) or {"dsc": 0.0}}
    history = train(method, batches_of(recipe), run_of(recipe, validate=check)).history
    assert validated == [0.6875, 1.94921875]
    assert history[1]["loss"] == -2.5  # of the raw weights 2 and 3
    assert method.weight.item() == 1.94921875


def test_a_recipe_without_averaging_validates_the_raw_weights():
    method, validated = Walk(), []
    check = {"val": lambda: validated.append(method.weight.item()) or {"dsc": 0.0}}
    train(method, batches_of(STEADY), run_of(validate=check))
    assert validated == [2.0] and method.weight.item() == 2.0


def test_buffers_and_frozen_weights_are_not_averaged():
    class More(Walk):
        def __init__(self):
            super().__init__()
            self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)
            self.register_buffer("count", torch.zeros(1))

        def loss(self, batch):
            self.count += 1
            return super().loss(batch)

    method = More()
    recipe = STEADY.model_copy(update={"ema_decay": 0.75})
    train(method, batches_of(recipe), run_of(recipe))
    values = (method.weight.item(), method.count.item(), method.frozen.item())
    assert values == (0.6875, 2.0, 1.0)


# ---- selection and patience


@pytest.mark.parametrize(
    "selection, val, expected",
    [
        ("best-val", [0.1, 0.8, 0.3, 0.2], 2),
        ("best-val", [0.1, 0.8, 0.8, 0.2], 2),  # a tie: the earlier epoch
        ("best-val", [0.0, 0.0, 0.0, 0.0], 1),  # nothing found is a score, too
        ("best-val", [math.nan, 0.1, math.nan, 0.05], 2),  # NaN is never best
        ("best-val", [0.3, math.nan, 0.2, 0.4], 4),  # and hides no later epoch
        ("last", [0.9, 0.8, 0.7, 0.1], 4),
    ],
)
def test_the_selection_rule_picks_an_epoch_and_its_weights(selection, val, expected):
    recipe = STEADY.model_copy(update={"epochs": 4})
    method = Walk()
    run = run_of(recipe, selection, validate={"val": scripted(val)})
    trained = train(method, batches_of(recipe), run)
    assert trained.epoch == expected
    assert method.weight.item() == 2 * expected  # two steps per epoch
    assert len(trained.history) == 4


def test_best_test_reads_the_test_score_and_best_val_the_validation_score():
    recipe = STEADY.model_copy(update={"epochs": 3})
    for selection, expected in (("best-val", 1), ("best-test", 2)):
        checks = {"val": scripted([0.9, 0.1, 0.2]), "test": scripted([0.3, 0.8, 0.4])}
        run = run_of(recipe, selection, validate=checks)
        trained = train(Walk(), batches_of(recipe), run)
        assert trained.epoch == expected
        assert [row["val_dsc"] for row in trained.history] == [0.9, 0.1, 0.2]
        assert [row["test_dsc"] for row in trained.history] == [0.3, 0.8, 0.4]


def test_the_metric_decides_and_the_dsc_is_kept_beside_it():
    recipe = STEADY.model_copy(update={"epochs": 3})
    given = iter([(0.9, 0.2), (0.1, 0.7), (0.2, 0.3)])
    check = {"test": lambda: dict(zip(("dsc", "soft_dice"), next(given), strict=True))}
    run = run_of(recipe, "best-test", validate=check, metric="soft-dice", validate_every=1)
    trained = train(Walk(), batches_of(recipe), run)
    assert trained.epoch == 2
    assert [row["test_dsc"] for row in trained.history] == [0.9, 0.1, 0.2]
    assert [row["test_soft_dice"] for row in trained.history] == [0.2, 0.7, 0.3]
    assert all(math.isnan(row["val_soft_dice"]) for row in trained.history)


def test_validation_runs_every_nth_epoch_and_at_the_end():
    recipe = STEADY.model_copy(update={"epochs": 5})
    checks = {"val": scripted([0.1, 0.2, 0.3])}
    run = run_of(recipe, "best-val", validate=checks, validate_every=2)
    history = train(Walk(), batches_of(recipe), run).history
    nan = math.nan
    assert [row["val_dsc"] for row in history] == pytest.approx(
        [nan, 0.1, nan, 0.2, 0.3], nan_ok=True
    )
    assert all(math.isnan(row["test_dsc"]) for row in history)


@pytest.mark.parametrize(
    "selection, val, best, epochs",
    [
        ("best-val", [0.5, 0.5, 0.5, 0.5], 1, 4),  # 3 epochs without a better one
        ("best-val", [0.1, 0.2, 0.3, 0.2, 0.2, 0.2], 3, 6),
        ("best-val", [0.1, 0.0, 0.0, 0.2, 0.0, 0.0, 0.0], 4, 7),  # waits anew after a better one
        ("last", [0.5] * 8, 8, 8),  # the last epoch is wanted, whatever validation says
    ],
)
def test_patience_stops_after_as_many_epochs_without_improvement(selection, val, best, epochs):
    recipe = STEADY.model_copy(update={"epochs": 8, "patience": 3})
    run = run_of(recipe, selection, validate={"val": scripted(val)})
    trained = train(Walk(), batches_of(recipe), run)
    assert (trained.epoch, len(trained.history)) == (best, epochs)


# ---- resuming


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ema_decay": 0.9},
        {"optimizer": "sgd", "momentum": 0.9},
        {"ema_decay": 0.5, "patience": 2, "schedule_unit": "step", "warmup": 3},
    ],
)
@pytest.mark.parametrize("selection", ["last", "best-val"])
def test_a_stopped_run_resumes_to_the_same_numbers(tmp_path, every_epoch, changes, selection):
    recipe = RECIPE.model_copy(update=changes)
    whole = network()
    expected = train(whole, *setting(whole, recipe, selection))
    stopped = network()
    batches, run = setting(stopped, recipe, selection, tmp_path / "state")
    run.on_progress = kill_in(3)
    with pytest.raises(Killed):
        train(stopped, batches, run)
    resumed = network(seed=5)  # whatever it starts with is overwritten
    result = train(resumed, *setting(resumed, recipe, selection, tmp_path / "state"))
    assert torch.equal(weights(whole), weights(resumed))
    assert result.epoch == expected.epoch
    for row, other in zip(result.history, expected.history, strict=True):
        assert row | {"seconds": 0} == pytest.approx(other | {"seconds": 0}, abs=0, nan_ok=True)


def test_a_resumed_run_keeps_best_epoch_average_patience_and_unmeasured_epochs(
    tmp_path, every_epoch
):
    """Validation every 2nd epoch; epoch 2 is best, so a patience of 4 ends the run after epoch 6.
    The average with decay 1/2 over weights 1..4 is 3.0625."""
    recipe = STEADY.model_copy(update={"epochs": 10, "ema_decay": 0.5, "patience": 4})
    facts = {"validate_every": 2, "resume_file": tmp_path / "state"}
    first = run_of(recipe, "best-val", validate={"val": scripted([0.8])}, **facts)
    first.on_progress = kill_in(3)
    with pytest.raises(Killed):
        train(Walk(), batches_of(recipe), first)
    method = Walk()
    second = run_of(recipe, "best-val", validate={"val": scripted([0.7, 0.8])}, **facts)
    trained = train(method, batches_of(recipe), second)
    assert (trained.epoch, method.weight.item()) == (2, 3.0625)
    nan = math.nan
    found = [row["val_dsc"] for row in trained.history]
    assert found == pytest.approx([nan, 0.8, nan, 0.7, nan, 0.8], nan_ok=True)
    assert [row["epoch"] for row in trained.history] == [1, 2, 3, 4, 5, 6]


def test_the_seconds_of_earlier_attempts_count(tmp_path, every_epoch):
    path = tmp_path / "state"
    recipe = STEADY.model_copy(update={"epochs": 4})
    run = run_of(recipe, resume_file=path, on_progress=kill_in(2))
    with pytest.raises(Killed):
        train(Walk(), batches_of(recipe), run)
    state = load_state(path)
    assert 0 <= state["seconds"] < 60
    save_state(path, state | {"seconds": 1000.0})
    run = run_of(recipe, resume_file=path, on_progress=kill_in(3))
    with pytest.raises(Killed):
        train(Walk(), batches_of(recipe), run)
    assert 1000 <= load_state(path)["seconds"] < 1060
    trained = train(Walk(), batches_of(recipe), run_of(recipe, resume_file=path))
    assert 1000 <= trained.seconds < 1060


def test_the_seconds_of_a_run_begin_at_zero(monkeypatch):
    monkeypatch.setattr("bench.training.trainer.time.monotonic", lambda: 5.0)
    assert train(Walk(), batches_of(STEADY), run_of(STEADY)).seconds == 0.0


def test_state_is_stored_only_after_the_seconds_between_two_states(tmp_path, monkeypatch):
    recipe = STEADY.model_copy(update={"epochs": 3})
    run = run_of(recipe, resume_file=tmp_path / "state")
    monkeypatch.setattr("bench.training.trainer.SECONDS_BETWEEN_CHECKPOINTS", 3600.0)
    train(Walk(), batches_of(recipe), run)
    assert not (tmp_path / "state").exists()
    monkeypatch.setattr("bench.training.trainer.SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    train(Walk(), batches_of(recipe), run)
    assert (tmp_path / "state").exists()


def test_weights_of_another_network_are_refused(tmp_path):
    method = network()
    batches, run = setting(method, resume=tmp_path / "state")
    save_state(tmp_path / "state", {"weights": {"other": torch.zeros(1)}})
    with pytest.raises(BenchError, match="another network"):
        train(method, batches, run)


# ---- the weights of a cell


def test_own_state_leaves_out_a_frozen_tokenizer_and_stores_shared_tensors_once():
    class Shared(Method):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(1, 1, bias=False)
            self.second = self.first
            self.tokenizer = nn.Linear(2, 2)

    method = Shared()
    assert list(own_state(method)) == ["first.weight"]
    load_own_state(method, {"first.weight": torch.full((1, 1), 7.0)})
    assert method.second.weight.item() == 7.0


def test_weights_that_lack_or_add_a_name_are_refused_by_that_name():
    method = Walk()
    for state in ({}, {"weight": torch.zeros(1), "zoo": torch.zeros(1)}):
        with pytest.raises(BenchError, match="weight" if not state else "zoo"):
            load_own_state(method, state)


def test_three_of_the_names_that_differ_are_given():
    state = {name: torch.zeros(1) for name in ("weight", "d", "c", "b", "a")}
    with pytest.raises(BenchError, match=r"\['a', 'b', 'c'\] differ"):
        load_own_state(Walk(), state)
