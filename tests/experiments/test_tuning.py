"""Searches under equal budgets: seeds, pruning, failures, interruptions, spaces and test cases."""

import time

import pytest
from data_doubles import glas, make_glas
from requests_of_tests import request
from tuning_doubles import SPACE, Scripted, content, options, plan, searched

from bench.core.errors import BenchError
from bench.data.prepare import prepare
from bench.data.prepared import read_records
from bench.experiments import locks
from bench.experiments.cells import TestSet
from bench.experiments.code_digest import training_code
from bench.experiments.jobs import run_job
from bench.experiments.messages import Job, TrialJob
from bench.experiments.resolve import resolve
from bench.experiments.sources import Sources
from bench.experiments.tuning import studies
from bench.experiments.tuning.plan import Plan, searching, study_name
from bench.experiments.tuning.space import (
    Parameter,
    changes,
    distributions,
    narrowed,
    own_params,
    read_space,
)
from bench.experiments.tuning.trial import SearchSources, images_after
from bench.experiments.tuning.winners import read_summaries, with_winners
from bench.protocols import get_protocol
from bench.recipes import Recipe
from bench.registry import get_method, plain_method_names, source_file, use_plugin_files


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch, cache, tiny):
    """Two methods of two convolutions, and a cache of the session's."""
    monkeypatch.setenv("GMS_BENCH_CACHE", str(cache))
    monkeypatch.setattr("bench.registry._plugin_files", [])
    use_plugin_files([tiny])
    other = tmp_path / "other_plugin.py"
    other.write_text(tiny.read_text().replace('name="tiny"', 'name="other"'))
    use_plugin_files([other])


# -- budgets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pruner", ["median", "hyperband", "none"])
@pytest.mark.parametrize("budget", [40, 37, 11])
def test_every_study_sees_the_same_images_within_one_batch(monkeypatch, tmp_path, pruner, budget):
    both = searched(
        monkeypatch, tmp_path, Scripted(), ("tiny", "other"), pruner=pruner, budget=budget, trials=9
    )
    for one in both:
        found = one.summary()
        assert found.ended and found.planned == 9 * budget
        assert 9 * budget <= found.images < 9 * budget + 5  # the largest batch
        images = [trial.user_attrs["images"] for trial in one.trials()]
        assert sum(images) == found.images


def test_what_pruning_saves_is_spent_on_further_trials(monkeypatch, tmp_path):
    (one,) = searched(monkeypatch, tmp_path, Scripted(), trials=9)
    outcomes = one.summary().trials
    assert outcomes["pruned"] >= 2 and sum(outcomes.values()) > 9
    (other,) = searched(monkeypatch, tmp_path / "none", Scripted(), trials=9, pruner="none")
    assert "pruned" not in other.summary().trials


def test_a_trial_that_stops_at_the_end_of_the_budget_is_no_winner(monkeypatch, tmp_path):
    """Seven trials of 32 to 36 images and one of the rest: 37 x 7 = 259."""
    (one,) = searched(monkeypatch, tmp_path, Scripted(), trials=7, budget=37, pruner="none")
    last = one.trials()[-1]
    assert last.user_attrs["outcome"] == "cut" and last.state.name != "COMPLETE"
    assert one.summary().winner.trial != last.number


@pytest.mark.parametrize(
    "drop_last, epochs, steps, images",
    [
        (True, 0, 1, 4),
        (True, 2, 1, 20),  # 11 cases in batches of 4: two steps, 8 images an epoch
        (False, 0, 2, 8),
        (False, 0, 3, 11),  # the third batch holds the rest
        (False, 1, 1, 15),
    ],
)
def test_images_after_some_steps(drop_last, epochs, steps, images):
    recipe = Recipe(name="x", batch_size=4, drop_last=drop_last)
    assert images_after(recipe, 11, epochs, steps) == images


def test_a_method_whose_trials_all_fail_is_given_up_and_the_others_go_on(monkeypatch, tmp_path):
    executor = Scripted(failing=("tiny",))
    bad, good = searched(monkeypatch, tmp_path, executor, ("tiny", "other"))
    failed, done = bad.summary(), good.summary()
    assert (failed.trials, failed.given_up, failed.ended) == ({"failed": 6}, True, False)
    assert failed.error == "NaN on request" and failed.winner is None
    assert done.ended and done.winner is not None
    asked = request(method="tiny", protocol=get_protocol("tuned"))
    with pytest.raises(BenchError, match="mine/tiny-busi is not at its end.*given up: NaN on"):
        with_winners([asked], tmp_path / "tuning" / "mine", Sources(plan().profile, None, []))


def test_images_of_a_failed_trial_are_counted_and_the_rest_is_spent(monkeypatch, tmp_path):
    """A worker that dies in the second epoch has shown one."""
    (one,) = searched(monkeypatch, tmp_path, Scripted(crashing=("tiny",)))
    assert {trial.user_attrs["images"] for trial in one.trials()} <= {8, 9, 10}
    assert "ended by SIGKILL" in one.summary().error


# -- seeds and interruptions ------------------------------------------------------------------


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_same_seed_same_study_and_another_seed_another(monkeypatch, tmp_path, pruner):
    def study(folder, seed):
        (one,) = searched(monkeypatch, tmp_path / folder, Scripted(), seed=seed, pruner=pruner)
        return content(one)

    first = study("a", 0)
    assert study("b", 0) == first
    assert study("c", 1) != first


def test_a_study_does_not_depend_on_its_neighbours(monkeypatch, tmp_path):
    (alone,) = searched(monkeypatch, tmp_path / "a", Scripted())
    beside = searched(monkeypatch, tmp_path / "b", Scripted(), ("other", "tiny"))
    assert content(beside[1]) == content(alone)
    assert content(beside[0]) != content(alone)  # streams of their own


@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize("stop", [0, 1, 3, 4])
def test_a_search_that_is_stopped_anywhere_ends_as_one_that_was_not(
    monkeypatch, tmp_path, together, stop
):
    whole = searched(monkeypatch, tmp_path / "a", Scripted(), ("tiny", "other"), together=together)
    with pytest.raises(KeyboardInterrupt):
        searched(
            monkeypatch, tmp_path / "b", Scripted(stop=stop), ("tiny", "other"), together=together
        )
    resumed = searched(
        monkeypatch, tmp_path / "b", Scripted(), ("tiny", "other"), together=together
    )
    assert [content(one) for one in resumed] == [content(one) for one in whole]


def test_a_search_that_is_stopped_while_it_tells_goes_on_with_the_same_round(monkeypatch, tmp_path):
    (whole,) = searched(monkeypatch, tmp_path / "a", Scripted(), together=3)
    told = []
    end = studies.end

    def once(*arguments):
        if told:
            raise KeyboardInterrupt
        told.append(end(*arguments))

    with monkeypatch.context() as patched:
        patched.setattr(studies, "end", once)
        with pytest.raises(KeyboardInterrupt):
            searched(monkeypatch, tmp_path / "b", Scripted(), together=3)
    (resumed,) = searched(monkeypatch, tmp_path / "b", Scripted(), together=3)
    # The trial that was told is not trained again; of the two others the outcomes are the same.
    assert content(resumed) == content(whole)


def test_a_finished_search_trains_nothing(monkeypatch, tmp_path):
    searched(monkeypatch, tmp_path, Scripted())
    again = Scripted()
    searched(monkeypatch, tmp_path, again)
    assert again.done == []


def test_trials_run_together_up_to_the_budget(monkeypatch, tmp_path):
    executor = Scripted()
    (one,) = searched(monkeypatch, tmp_path, executor, together=4, pruner="none")
    rounds = [trial.user_attrs["round"] for trial in one.trials()]
    assert rounds[:4] == [0, 0, 0, 0] and max(rounds) <= 2
    assert 240 <= one.summary().images < 245


def test_another_plan_under_the_same_name_is_refused(monkeypatch, tmp_path):
    searched(monkeypatch, tmp_path, Scripted())
    with pytest.raises(
        BenchError, match="'mine' was begun with another trials, seed. Give another"
    ):
        searched(monkeypatch, tmp_path, Scripted(), seed=1, trials=7)


def test_a_search_on_other_code_is_refused(monkeypatch, tmp_path, tiny):
    with pytest.raises(KeyboardInterrupt):
        searched(monkeypatch, tmp_path, Scripted(stop=2))
    training_code.cache_clear()
    monkeypatch.setattr("bench.experiments.identity.training_code", lambda source: "another")
    with pytest.raises(BenchError, match="mine/tiny-busi was begun with another code than now"):
        searched(monkeypatch, tmp_path, Scripted())


def test_two_processes_do_not_work_on_one_search(monkeypatch, tmp_path):
    folder = tmp_path / "tuning" / "mine"
    with locks.held(folder), pytest.raises(BenchError, match="'mine' is in use by process"):
        searched(monkeypatch, tmp_path, Scripted())


def test_the_first_trial_is_the_methods_own_recipe(monkeypatch, tmp_path):
    (one,) = searched(monkeypatch, tmp_path, Scripted())
    assert one.trials()[0].params == {"recipe.lr": 2e-3, "recipe.batch_size": 4}
    assert one.summary().own == one.trials()[0].value


# -- winners ----------------------------------------------------------------------------------


def test_the_winner_becomes_a_recipe_that_names_its_search(monkeypatch, tmp_path):
    (one,) = searched(monkeypatch, tmp_path, Scripted())
    best = max((t for t in one.trials() if t.state.name == "COMPLETE"), key=lambda t: t.value)
    profile = plan().profile
    asked = request(method="tiny", protocol=get_protocol("tuned"), profile=profile)
    sources = Sources(profile, None, [])
    (found,) = with_winners([asked], tmp_path / "tuning" / "mine", sources)
    recipe = resolve(found, 11)[2].recipe
    assert (recipe.lr, recipe.batch_size) == tuple(best.params.values())
    assert recipe.name == f"tuned: mine/tiny-busi, trial {best.number}"
    assert found.tuned.images == one.summary().images and found.tuned.planned == 240
    assert found.tuned.trials == len(one.trials())

    contradicting = asked.model_copy(update={"recipe": {"lr": 1.0}})
    with pytest.raises(BenchError, match="recipe.lr=1.0 contradicts study mine/tiny-busi"):
        with_winners([contradicting], tmp_path / "tuning" / "mine", sources)
    with pytest.raises(BenchError, match="no study of other on busi; it has tiny on busi"):
        other = asked.model_copy(update={"method": "other"})
        with_winners([other], tmp_path / "tuning" / "mine", sources)


def test_the_search_counts_in_a_cells_identity(monkeypatch, tmp_path):
    from bench.experiments.identity import training_inputs

    searched(monkeypatch, tmp_path, Scripted())
    profile = plan().profile
    sources = Sources(profile, None, [])
    asked = request(method="tiny", protocol=get_protocol("tuned"), profile=profile)
    (found,) = with_winners([asked], tmp_path / "tuning" / "mine", sources)
    other = found.model_copy(
        update={"tuned": found.tuned.model_copy(update={"study": "yours/tiny-busi"})}
    )
    one, two = (training_inputs(r, resolve(r, 11)[2], sources) for r in (found, other))
    assert [name for name in one if one[name] != two[name]] == ["recipe"]


def test_a_winner_of_another_split_is_refused(monkeypatch, tmp_path):
    """Its validation cases may be test cases here."""
    searched(monkeypatch, tmp_path, Scripted())
    profile = plan().profile
    other = get_protocol("tuned").model_copy(update={"split": "random80"})
    with pytest.raises(BenchError, match="mine/tiny-busi was searched on another split of busi"):
        with_winners(
            [request(method="tiny", protocol=other, profile=profile)],
            tmp_path / "tuning" / "mine",
            Sources(profile, None, []),
        )


def test_an_unfinished_search_has_no_winner(monkeypatch, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        searched(monkeypatch, tmp_path, Scripted(stop=3))
    (summary,) = read_summaries(tmp_path / "tuning" / "mine")
    assert not summary.ended
    asked = request(method="tiny", protocol=get_protocol("tuned"), profile=plan().profile)
    with pytest.raises(BenchError, match="is not at its end: .* of 240 images are spent"):
        with_winners([asked], tmp_path / "tuning" / "mine", Sources(plan().profile, None, []))


def test_a_tuned_protocol_without_a_search_is_refused():
    with pytest.raises(BenchError, match="takes recipes that a search found, and none is named"):
        resolve(request(method="tiny", protocol=get_protocol("tuned")), 8)


@pytest.mark.parametrize("name", ["paper", "paper80"])
def test_a_protocol_that_selects_on_test_is_refused(name):
    with pytest.raises(BenchError, match=f"'{name}' selects the epoch by 'best-test'"):
        searching(get_protocol(name), 40)


# -- test cases -------------------------------------------------------------------------------


@pytest.fixture
def without_test_images(tmp_path):
    """GlaS as its publisher lays it out, prepared, with every test image and mask deleted."""
    prepare(glas(), make_glas(tmp_path, train=10), tmp_path / "data")
    folder = tmp_path / "data" / "glas"
    for case in read_records(folder).cases:
        if case.published_split != "train":
            (folder / "images" / case.image).unlink()
            (folder / "masks" / f"{case.id}.png").unlink()
    return tmp_path / "data"


def real(budget: int) -> Plan:
    """A search on prepared data at 32 px."""
    profile = plan().profile.model_copy(update={"phantoms": False, "image_size": 32})
    return plan(trials=1, budget=budget).model_copy(update={"profile": profile})


def trial_job(tmp_path, data, budget=16, images=16, **fields) -> Job:
    """The first trial of a study on GlaS."""
    asked = real(budget).request("tiny", "glas").model_copy(update=fields)
    url = studies.storage_url(tmp_path, None)
    study = studies.open_study(studies.open_storage(url), "mine/tiny-glas")
    studies.start(study, {}, {}, {"images_allowed": images, "round": 0})
    trial = TrialJob(
        storage=url, study="mine/tiny-glas", number=len(study.get_trials()) - 1, pruner="none",
        trials=1, epochs=2, images=images,
    )  # fmt: skip
    return Job(
        op="trial", request=asked, request_digest="", train_cases=8, id="t", data=data, trial=trial,
        folder=tmp_path / "trials" / str(trial.number),
    )  # fmt: skip


def test_a_trial_reads_no_test_case(tmp_path, without_test_images):
    tried = run_job(trial_job(tmp_path, without_test_images), lambda event: None)
    assert (tried.outcome, tried.images, tried.error) == ("complete", 16, "")
    assert 0 <= tried.value <= 1
    with pytest.raises(BenchError, match="test[AB]_"):  # which a cell would read
        Sources(real(16).profile, without_test_images, []).arrays("glas", 32)


def test_the_sources_of_a_search_have_no_test_cases(without_test_images):
    protocol = real(16).protocol
    sources = SearchSources(real(16).profile, without_test_images, [], protocol)
    split = sources.split("glas", protocol)
    assert (len(split.train), len(split.val), split.test) == (8, 2, ())
    assert sources.arrays("glas", 32).case_ids == tuple(sorted((*split.train, *split.val)))
    with pytest.raises(BenchError, match="A search has no test set, and glas-test was asked for"):
        sources.test_cases(TestSet(dataset="glas"), protocol)


def test_a_trial_stops_after_the_batch_that_reaches_its_images(tmp_path, without_test_images):
    job = trial_job(tmp_path, without_test_images, budget=80, images=18)
    tried = run_job(job, lambda event: None)
    assert (tried.outcome, tried.images) == ("cut", 20)  # batches of 4
    assert tried.epoch in (1, 2)
    again = run_job(job, lambda event: None)
    assert again == tried  # it ended: nothing is trained again
    assert sorted(path.name for path in job.folder.iterdir()) == ["trial.json"]


def test_a_trial_that_fails_is_an_outcome(tmp_path, without_test_images):
    job = trial_job(tmp_path, without_test_images, settings={"fault": "nan"})
    tried = run_job(job, lambda event: None)
    assert (tried.outcome, tried.value) == ("failed", None)
    assert "loss is not finite in epoch 1" in tried.error and tried.images == 8


def test_a_trial_that_the_pruner_ends_says_so(tmp_path, without_test_images, monkeypatch):
    monkeypatch.setattr(
        "bench.experiments.tuning.trial.Verdict.__call__", lambda self, epoch, score: epoch == 2
    )
    tried = run_job(trial_job(tmp_path, without_test_images, budget=80, images=80), lambda e: None)
    assert (tried.outcome, tried.images) == ("pruned", 16)


# -- spaces -----------------------------------------------------------------------------------


def test_the_common_space_and_what_it_means_for_a_recipe():
    space = read_space()
    assert set(space) == {
        "recipe.lr", "recipe.weight_decay", "recipe.augmentation", "recipe.batch_size", "recipe.loss",
        "recipe.ema_decay",
    }  # fmt: skip
    own = Recipe(name="own", lr=1e-2, batch_size=6, weight_decay=0, augmentation="gms")
    over = distributions(space, own, {}, cases=9)
    assert (over["recipe.lr"].low, over["recipe.lr"].high) == pytest.approx((1e-3, 1e-1))
    assert over["recipe.batch_size"].choices == (6, 4, 8)  # 16 is more than there are cases
    assert over["recipe.augmentation"].choices[0] == "gms"
    assert over["recipe.ema_decay"].choices == (None, 0.99, 0.999)
    start = own_params(space, over, own, {})
    assert (start["recipe.lr"], start["recipe.weight_decay"]) == (
        1e-2,
        1e-6,
    )  # moved into the range
    averaged = changes(space, start | {"recipe.ema_decay": 0.99})[1]
    assert (averaged["ema_decay"], averaged["ema_horizon"]) == (0.99, 0.2)
    assert "ema_horizon" not in changes(space, start)[1]


def test_a_method_narrows_and_widens_the_space():
    declared = get_method("gms").search
    space = narrowed(read_space(), declared, set(), "gms")
    assert "recipe.loss" not in space and space["supervision"].choices == ("multi", "out")
    less = narrowed(read_space(), {"recipe.lr": {"low": 1e-4, "high": 1e-3}}, {"recipe.loss"}, "x")
    assert less["recipe.lr"].high == 1e-3 and "recipe.loss" not in less


@pytest.mark.parametrize("name", plain_method_names())
def test_the_space_of_every_method_fits_its_recipe_and_settings(name):
    spec = get_method(name)
    space = narrowed(read_space(), spec.search, set(), name)
    settings = spec.settings().model_dump(mode="json")
    over = distributions(space, spec.recipe, settings, cases=1000)
    wanted, recipe = changes(space, own_params(space, over, spec.recipe, settings))
    spec.settings(**wanted)
    Recipe.model_validate(spec.recipe.model_dump() | recipe)


@pytest.mark.parametrize("name", plain_method_names())
def test_only_methods_without_an_objective_of_their_own_search_the_loss(name):
    """A class that overrides `loss` reads no recipe.loss: searching it would waste trials."""
    text = source_file(name).read_text()
    own = "(Method)" in text
    assert ("recipe.loss" in get_method(name).search) == own


@pytest.mark.parametrize(
    "text, says",
    [
        ("", "names nothing to search"),
        ("[recipe.lrr]\nlow = 1\nhigh = 2\n", "No recipe field to search named 'lrr'.*'lr'"),
        ("[recipe.epochs]\nlow = 1\nhigh = 2\n", "No recipe field to search named 'epochs'"),
        ("[recipe.lr]\nlow = 2\nhigh = 1\n", r"line 1.*low 2.0 is not below high 1.0"),
        ("[recipe.lr]\nlow = 0\nhigh = 1\nlog = true\n", "log needs low above 0"),
        ("[recipe.lr]\nlow = 1\n", "give low and high, or choices"),
        ("[recipe.lr]\nchoices = [1]\nlow = 1\n", "not both"),
        ("[recipe.lr]\nlow = 1\nhigh = 2\nstep = 1\n", "line 4.*step"),
        ("[recipe.loss]\nchoices = [[1]]\n", "choices"),
        ("[recipes.lr]\nlow = 1\nhigh = 2\n", "Did you mean 'recipe'"),
    ],
)
def test_a_space_that_is_none_is_refused(tmp_path, text, says):
    file = tmp_path / "space.toml"
    file.write_text(text)
    with pytest.raises(BenchError, match=says):
        read_space(file)


def test_a_declaration_that_is_no_parameter_is_refused():
    with pytest.raises(BenchError, match="'x' declares search 'width': .*give low and high"):
        narrowed(SPACE, {"width": {"low": 1}}, set(), "x")
    with pytest.raises(BenchError, match="Nothing is left to search for method 'x'"):
        narrowed(SPACE, {}, set(SPACE), "x")
    with pytest.raises(BenchError, match="No setting to search named 'wdth'.*'width'"):
        distributions({"wdth": Parameter(choices=(1, 2))}, Recipe(name="x"), {"width": 4}, 8)


def test_the_journal_survives_a_lock_that_a_killed_process_left(tmp_path, monkeypatch):
    """Optuna takes a stale lock over after its grace period; here of three seconds."""
    from optuna.storages.journal import JournalFileOpenLock

    made = []

    def short(path):
        made.append(path)
        return JournalFileOpenLock(path, grace_period=3)

    monkeypatch.setattr("optuna.storages.journal.JournalFileOpenLock", short)
    url = studies.storage_url(tmp_path, None)
    (tmp_path / "journal.log.lock").touch()
    started = time.monotonic()
    assert studies.open_study(studies.open_storage(url), "mine/tiny-busi").get_trials() == []
    assert made and time.monotonic() - started < 30
    assert not (tmp_path / "journal.log.lock").exists()


def test_sqlite_keeps_the_same_study(monkeypatch, tmp_path):
    (journal,) = searched(monkeypatch, tmp_path / "a", Scripted(), trials=3)
    from bench.experiments.tuning.search import search

    (database,) = search(
        plan(trials=3), ("tiny",), ("busi",), options(tmp_path / "b"), f"sqlite:///{tmp_path}/x.db",
        lambda one, number, event: None,
    )  # fmt: skip
    assert content(database) == content(journal)


def test_passwords_are_not_stored():
    assert studies.hidden("postgresql://ann:secret@host/db") == "postgresql://ann@host/db"
    assert studies.hidden("sqlite:///x.db") == "sqlite:///x.db"


def test_names_of_studies_are_names_of_folders():
    assert study_name("smp:unet/resnet34", "glas") == "smp-unet-resnet34-glas"
