"""When a stored cell is what a request asks for, when it is not and why."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from requests_of_tests import request

from bench.core.errors import BenchError
from bench.core.files import file_digest
from bench.experiments import identity, store
from bench.experiments.cells import CellRecord, TestSet, load_cell, load_cells
from bench.experiments.identity import Resolution, cell_id, scoring_inputs, training_inputs
from bench.experiments.predictions import Predictions
from bench.experiments.resolve import resolve
from bench.experiments.scoring import score_predictions, write_scores
from bench.experiments.sources import Sources
from bench.experiments.store import CellStore, request_digest


@pytest.fixture(autouse=True)
def own_cache(cache, monkeypatch):
    monkeypatch.setenv("GMS_BENCH_CACHE", str(cache))


def sources(asked, **more) -> Sources:
    return Sources(asked.profile, None, [])


def stored(folder: Path, asked=None, shift: int = 0) -> CellRecord:
    """A cell as a run of the request leaves it, with made-up predictions: targets, moved aside."""
    asked = asked or request()
    spec, _, resolution = resolve(asked, 8)
    of = sources(asked)
    inputs = training_inputs(asked, resolution, of)
    place = folder / cell_id(resolution.key, inputs)
    place.mkdir(parents=True)
    tests = {}
    for test in asked.tests:
        ids = of.test_cases(test, asked.protocol)
        target = of.arrays(test.dataset, asked.profile.image_size)
        rows = target.rows(ids)
        network = tuple(np.roll(target.masks[row], 3 + shift, axis=0) for row in rows)
        native = tuple(np.roll(target.native_masks[row], 3 + shift, axis=0) for row in rows)
        predictions = Predictions(ids, network, native)
        cases, scoring = scoring_inputs(test, asked, of)
        checksum = predictions.write(place, test.label)
        rests_on = {"cases": cases, "scoring": scoring, "predictions": checksum}
        tests[test.label] = write_scores(
            place, test, score_predictions(predictions, target), rests_on
        )
    (place / "weights.safetensors").write_bytes(b"weights")
    record = CellRecord(
        id=place.name, status="done", key=resolution.key, request=request_digest(asked),
        inputs=inputs, recipe=resolution.recipe.model_dump(mode="json"),
        network_size=resolution.network_size, tests=tests, title=spec.title, family=spec.family,
        data=of.facts(asked),
        files={"weights.safetensors": file_digest(place / "weights.safetensors")},
    )  # fmt: skip
    record.write(place)
    return record


def lookup(folder: Path, asked) -> store.Lookup:
    return CellStore(folder).lookup(asked, sources(asked))


def test_the_same_request_finds_its_cell_done(tmp_path):
    record = stored(tmp_path)
    found = lookup(tmp_path, request())
    assert found.done and found.id == record.id


def test_a_value_that_is_the_default_is_the_same_cell(tmp_path):
    stored(tmp_path)
    assert lookup(tmp_path, request(settings={"base_channels": 64})).done
    assert not lookup(tmp_path, request(settings={"base_channels": 32})).trained


def test_a_changed_setting_is_not_found_under_the_default(tmp_path):
    stored(tmp_path, request(settings={"base_channels": 32}))
    assert lookup(tmp_path, request(settings={"base_channels": 32})).done
    assert not lookup(tmp_path, request()).trained


def recipe_of(asked) -> Resolution:
    return resolve(asked, 8)[2]


CHANGES = {
    "seed": {"seed": 1},
    "numerics": {"profile__precision": "bf16"},
    "selection rule": {"protocol__selection": "last"},
    "recipe": {"recipe": {"lr": 0.5}},
    "settings": {"settings": {"base_channels": 32}},
    "split": {"protocol__val_share": 0.4},
}


@pytest.mark.parametrize("component", CHANGES)
def test_each_component_alone_makes_another_cell_and_is_named(tmp_path, component):
    record = stored(tmp_path)
    asked = request(**CHANGES[component])
    inputs = training_inputs(asked, recipe_of(asked), sources(asked))
    assert cell_id(recipe_of(asked).key, inputs) != record.id
    assert identity.differences(record.inputs, inputs) == (component,)


def test_the_size_of_the_images_counts_as_size_and_data(tmp_path):
    record = stored(tmp_path)
    asked = request(profile__image_size=96)
    inputs = training_inputs(asked, recipe_of(asked), sources(asked))
    assert identity.differences(record.inputs, inputs) == ("data", "image size")


@pytest.mark.parametrize("change", [{"protocol__title": "said otherwise"}, {"profile__title": "x"}])
def test_titles_count_nowhere(tmp_path, change):
    stored(tmp_path)
    assert lookup(tmp_path, request(**change)).done


def test_the_recipes_name_does_not_count_but_each_of_its_fields_does():
    asked = request()
    resolution = recipe_of(asked)
    renamed = resolution.model_copy(
        update={"recipe": resolution.recipe.model_copy(update={"name": "other"})}
    )
    before = training_inputs(asked, resolution, sources(asked))
    assert training_inputs(asked, renamed, sources(asked)) == before
    longer = resolution.model_copy(
        update={"recipe": resolution.recipe.model_copy(update={"patience": 7})}
    )
    assert training_inputs(asked, longer, sources(asked))["recipe"] != before["recipe"]


def test_a_plan_says_which_component_the_nearest_cell_differs_in(tmp_path):
    stored(tmp_path)
    assert lookup(tmp_path, request(profile__precision="bf16")).why == ("numerics",)
    assert lookup(tmp_path, request(protocol__val_share=0.4)).why == ("split",)
    assert lookup(tmp_path, request(train="glas")).why == ()  # no cell of these coordinates


def test_changed_code_makes_every_cell_train_again_and_says_so(tmp_path, monkeypatch):
    stored(tmp_path)
    monkeypatch.setattr(identity, "training_code", lambda source: "other code")
    found = lookup(tmp_path, request())
    assert not found.trained and found.why == ("code",)


def test_test_cases_decide_weights_only_where_the_checkpoint_is_chosen_on_them():
    def split_of(**change) -> str:
        asked = request(**change)
        of = sources(asked)
        split = of.split("busi", asked.protocol)
        fewer = type(split)(*(getattr(split, f) for f in ("dataset", "scheme", "seed", "train", "val")), split.test[1:])  # fmt: skip
        whole = identity.requested_inputs(asked, of)["split"]
        of.split = lambda *rule: fewer  # type: ignore[method-assign]
        return "same" if identity.requested_inputs(asked, of)["split"] == whole else "other"

    assert split_of(protocol__selection="best-val") == "same"
    assert split_of(protocol__selection="best-test") == "other"


# ---- test sets


def test_a_test_set_that_was_never_scored_needs_predictions(tmp_path):
    stored(tmp_path)
    both = (TestSet(dataset="busi"), TestSet(dataset="bus"))
    found = lookup(tmp_path, request(tests=both))
    assert found.work == {"busi-test": "done", "bus-test": "predict"} and not found.done


def test_a_changed_metric_scores_the_stored_predictions_again(tmp_path, monkeypatch):
    stored(tmp_path)
    monkeypatch.setattr(identity, "scoring_code", lambda: "a new metric")
    assert lookup(tmp_path, request()).work == {"busi-test": "score"}


def test_without_its_predictions_a_changed_metric_needs_the_network(tmp_path, monkeypatch):
    record = stored(tmp_path)
    (tmp_path / record.id / "predictions" / "busi-test.npz").unlink()
    assert lookup(tmp_path, request()).done
    monkeypatch.setattr(identity, "scoring_code", lambda: "a new metric")
    assert lookup(tmp_path, request()).work == {"busi-test": "predict"}


def test_a_record_that_does_not_state_its_data_is_scored_again_and_keeps_its_id(tmp_path):
    record = stored(tmp_path).model_copy(update={"data": {}})
    record.write(tmp_path / record.id)
    found = lookup(tmp_path, request())
    assert (found.id, found.work) == (record.id, {"busi-test": "score"})
    (tmp_path / record.id / "predictions" / "busi-test.npz").unlink()
    assert lookup(tmp_path, request()).done


def test_measuring_the_optimism_makes_no_other_cell(tmp_path):
    record = stored(tmp_path)
    asked = request(protocol__optimism=True)
    assert lookup(tmp_path, asked).done and lookup(tmp_path, asked).id == record.id


def test_a_changed_test_set_is_predicted_again(tmp_path, monkeypatch):
    stored(tmp_path)
    monkeypatch.setattr(Sources, "test_digest", lambda self, test, protocol: "other cases")
    assert lookup(tmp_path, request()).work == {"busi-test": "predict"}


def test_a_damaged_score_file_is_scored_again(tmp_path):
    record = stored(tmp_path)
    file = tmp_path / record.id / "scores" / "busi-test.parquet"
    rows = pd.read_parquet(file)
    rows.assign(dsc=0.99).to_parquet(file, index=False)
    assert lookup(tmp_path, request()).work == {"busi-test": "score"}
    (read,) = load_cells(tmp_path)
    with pytest.raises(BenchError, match=r"busi-test\.parquet is missing or was changed"):
        read.scores("busi", "test")


RESCORE = """
import sys
from pathlib import Path
from bench.experiments import identity, jobs
from bench.experiments.messages import Job
identity.scoring_code = lambda: "a new metric"
job = Job.model_validate_json(sys.stdin.read())
print(jobs.run_job(job, lambda event: None).dsc["busi-test"])
assert "torch" not in sys.modules, "scoring stored predictions imports torch"
"""


def test_a_new_metric_scores_stored_predictions_without_torch(tmp_path):
    from bench.experiments.messages import Job

    record = stored(tmp_path)
    before = load_cell(tmp_path / record.id / "cell.json").scores("busi", "test")
    job = Job(
        op="test", request=request(), request_digest="r", train_cases=8, id=record.id,
        folder=tmp_path / record.id,
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", RESCORE], input=job.model_dump_json(), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    after = load_cell(tmp_path / record.id / "cell.json")
    assert after.tests["busi-test"].scoring == "a new metric"
    pd.testing.assert_frame_equal(after.scores("busi", "test"), before)
    network = before[before["grid"] == "network"]["dsc"]
    assert float(done.stdout) == network.mean()


def test_a_record_of_the_first_format_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "unet-busi-0").mkdir()
    (tmp_path / "unet-busi-0" / "cell.json").write_text(json.dumps({"format": 1, "id": "x"}))
    with pytest.raises(BenchError, match="format 1, which stored no predictions.*run the matrix"):
        load_cells(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "7", '{"format": 2}', "\x00"])
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "unet-busi-0").mkdir()
    (tmp_path / "unet-busi-0" / "cell.json").write_text(text)
    with pytest.raises(BenchError, match=r"cell\.json is no cell record of format 2"):
        load_cells(tmp_path)


# ---- the nearest stored cell, and cells that are not done


def test_of_several_stored_cells_the_nearest_is_named(tmp_path):
    stored(tmp_path, request(profile__precision="bf16", protocol__val_share=0.4))
    both = lookup(tmp_path, request()).why
    assert both == ("split", "numerics")
    stored(tmp_path, request(profile__precision="bf16"))
    assert lookup(tmp_path, request()).why == ("numerics",)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"train": "bus"},
        {"method": "ege_unet"},
        {"protocol__name": "other", "protocol__val_share": 0.4},
        {"profile__name": "other", "profile__precision": "bf16"},
        {"settings": {"base_channels": 32}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_only_cells_of_the_same_coordinates_are_compared(tmp_path, change):
    stored(tmp_path)
    found = lookup(tmp_path, request(**change))
    assert not found.trained and found.why == ()


def test_a_failed_cell_is_not_done_and_is_not_the_nearest(tmp_path):
    record = stored(tmp_path)
    record.model_copy(update={"status": "failed"}).write(tmp_path / record.id)
    found = lookup(tmp_path, request())
    assert not found.trained and not found.done and found.id == record.id
    assert lookup(tmp_path, request(profile__precision="bf16")).why == ()


def test_a_cell_is_reloaded_once_it_is_done(tmp_path):
    assert store.reload(tmp_path / "none") is None
    record = stored(tmp_path)
    assert store.reload(tmp_path / record.id).id == record.id
    record.model_copy(update={"status": "failed"}).write(tmp_path / record.id)
    assert store.reload(tmp_path / record.id) is None


def test_nothing_is_done_where_nothing_is_stored():
    found = store.Lookup()
    assert (found.trained, found.done, found.id, found.work) == (False, False, "", {})


def test_a_value_of_the_profiles_preset_is_the_same_cell_stated_or_not(tmp_path):
    """The profile `smoke` gives gms one supervised head; its own default is several."""
    stored(tmp_path, request(method="gms"))
    stated = request(method="gms", settings={"supervision": "out"})
    assert lookup(tmp_path, stated).done
    default = request(method="gms", settings={"supervision": "multi"})
    assert not lookup(tmp_path, default).trained
    stored(tmp_path, default)
    ids = [lookup(tmp_path, asked).id for asked in (request(method="gms"), stated, default)]
    assert lookup(tmp_path, default).done and ids[0] == ids[1] != ids[2]


def test_scores_of_a_removed_file_are_made_again(tmp_path):
    record = stored(tmp_path)
    (tmp_path / record.id / "scores" / "busi-test.parquet").unlink()
    assert lookup(tmp_path, request()).work == {"busi-test": "score"}
    (read,) = load_cells(tmp_path)
    assert not read.has_scores("busi", "test") and not read.has_scores("bus", "test")


def test_a_cell_without_test_sets_left_is_done(tmp_path):
    stored(tmp_path)
    found = lookup(tmp_path, request(tests=()))
    assert found.trained and found.done and found.work == {}


def test_a_cell_of_other_settings_is_not_the_nearest(tmp_path):
    stored(tmp_path, request(settings={"base_channels": 32}))
    for width, why in ((32, ("numerics",)), (16, ())):
        asked = request(settings={"base_channels": width}, profile__precision="bf16")
        assert lookup(tmp_path, asked).why == why
