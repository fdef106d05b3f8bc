"""Searches that cannot be: refused by name, before any training and before a folder is made."""

import pytest

TUNE = ("tune", "--methods", "unet", "--datasets", "busi", "--profile", "smoke")
BUDGET = (*TUNE, "--trials", "3", "--budget", "40")


@pytest.mark.parametrize(
    "words, says",
    [
        ((*TUNE, "--trials", "0", "--budget", "40"), ("--trials",)),
        ((*TUNE, "--trials", "-1", "--budget", "40"), ("--trials",)),
        ((*TUNE, "--trials", "20000", "--budget", "40"), ("--trials",)),
        ((*TUNE, "--trials", "some", "--budget", "40"), ("--trials",)),
        ((*TUNE, "--budget", "40"), ("--trials",)),
        ((*TUNE, "--trials", "3"), ("--budget",)),
        ((*TUNE, "--trials", "3", "--budget", "0"), ("--budget",)),
        ((*TUNE, "--trials", "3", "--budget", "7"), ("--budget 7", "8 training cases of busi")),
        ((*BUDGET, "--pruner", "medain"), ("'medain'", "Did you mean 'median'")),
        ((*BUDGET, "--seed", "-1"), ("--seed",)),
        ((*BUDGET, "--seed", "4294967296"), ("--seed",)),
        ((*BUDGET, "--together", "0"), ("--together",)),
        ((*BUDGET, "--jobs", "0"), ("--jobs",)),
        ((*BUDGET, "--device", "tpu"), ("'tpu'",)),
        ((*BUDGET, "--name", "../outside"), ("name", "'../outside'")),
        ((*BUDGET, "--name", ""), ("name",)),
        ((*BUDGET, "--space", "nowhere.toml"), ("nowhere.toml",)),
        ((*BUDGET, "--protocol", "paper"), ("'paper'", "validation cases only")),
        ((*BUDGET, "--protocol", "paper80"), ("'paper80'", "validation cases only")),
        ((*BUDGET, "--set", "recipe.epochs=3"), ("recipe.epochs",)),
        ((*BUDGET, "--set", "recipe.lr=fast"), ("lr", "fast")),
        ((*BUDGET, "--storage", "nonsense"), ("--storage", "'nonsense'", "sqlite:///FILE.db")),
        ((*BUDGET, "--storage", ""), ("--storage",)),
        ((*BUDGET, "--storage", "sqlite:////nowhere/x.db"), ("--storage", "/nowhere/x.db")),
        ((*BUDGET, "--storage", "mysql://ann:secret@host/db"), ("--storage", "mysql://ann@host")),
        ((*BUDGET, "--quiet", "--verbose"), ("--quiet", "--verbose")),
        ((*BUDGET, "--methods", "unett"), ("'unett'", "Did you mean 'unet'")),
        ((*BUDGET, "--methods", ","), ("--methods",)),
        ((*BUDGET, "--datasets", "bussi"), ("'bussi'", "Did you mean 'busi'")),
        ((*BUDGET, "--datasets", ""), ("--datasets",)),
        ((*BUDGET, "--datasets", "stu"), ("No phantom stands in for 'stu'",)),
        ((*BUDGET, "--profile", "paper"), ("GMS_BENCH_DATA",)),
    ],
    ids=lambda value: " ".join(value[-2:])[:40],
)
def test_a_search_that_cannot_be(refused, words, says):
    message = refused(*words, says=says)
    assert "secret" not in message


RUN = ("run", "--train", "busi", "--methods", "unet", "--profile", "smoke")


@pytest.mark.parametrize(
    "words, says",
    [
        ((*RUN, "--protocol", "tuned"), ("'tuned'", "bench tune", "--tuned results/tuning/SEARCH")),
        ((*RUN, "--tuned", "results/tuning/x"), ("--tuned results/tuning/x", "--protocol tuned")),
        ((*RUN, "--protocol", "tuned", "--tuned", "nowhere"), ("No search in nowhere",)),
        ((*RUN, "--protocol", "tuned", "--recipe", "native"), ("--recipe native", "'tuned'")),
    ],
    ids=lambda value: " ".join(value[-2:])[:40],
)
def test_a_tuned_run_without_its_search(refused, words, says):
    refused(*words, says=says)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 2}', "\x00"])
def test_a_damaged_plan_or_summary(refused, home, content):
    folder = home / "results" / "tuning" / "mine"
    (folder / "unet-busi").mkdir(parents=True)
    (folder / "search.json").write_text(content)
    refused(*RUN, "--protocol", "tuned", "--tuned", folder, says=("search.json", "search again"))
    (folder / "unet-busi" / "study.json").write_text(content)
    refused("list", "studies", says=("study.json", "written anew"))


def test_a_protocol_of_tuned_recipes_that_selects_on_test(refused, home):
    (home / "mine.toml").write_text(
        '[mine]\ntitle = "x"\nsplit = "default"\nval_share = 0.2\nselection = "best-test"\n'
        'recipe = "tuned"\n'
    )
    words = (*RUN, "--protocol", "mine.toml:mine", "--tuned", "x")
    refused(*words, says=("mine.toml", "searched on validation cases"))
