"""Functions of arrays: intervals, tests, effects, ranks; by hand, against scipy, and in simulation."""

import itertools

import numpy as np
import pytest
from scipy import stats

from bench.reporting.statistics import across, effects, permutation, ranking, resampling
from bench.reporting.statistics.resampling import bootstrap_means, draw, group_sums, interval

RNG = np.random.default_rng


def means_of(values, group=None, resamples=10_000):
    """Bootstrap means of values (R, S, C)."""
    group = np.arange(values.shape[-1]) if group is None else group
    draws = draw(int(group.max()) + 1, values.shape[1], resamples)
    return bootstrap_means(values, group, draws)


# ---- draws


def test_a_draw_takes_one_group_less_than_there_are_and_the_same_ones_each_time():
    draws = draw(16, 3, 200)
    assert set(draws.groups.sum(axis=1)) == {15}
    assert set(draws.seeds.sum(axis=1)) == {2}
    draw.cache_clear()
    again = draw(16, 3, 200)
    assert (draws.groups == again.groups).all() and (draws.seeds == again.seeds).all()


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_are_taken_each_once(seeds):
    assert (draw(8, seeds, 50).seeds == 1).all()


def test_a_group_is_drawn_with_all_its_cases():
    # Two groups: mean 0 (one case) and mean 1 (three cases). One is drawn, so only 0 and 1 come.
    drawn = means_of(np.array([[[0.0, 1.0, 1.0, 1.0]]]), np.array([0, 1, 1, 1]), 300)
    assert set(drawn.ravel()) == {0.0, 1.0}


def test_a_larger_group_weighs_more_as_in_the_printed_mean():
    # Three groups of 1, 1 and 8 cases; two are drawn. Groups 0 and 2 together: 8 of 9 cases are 1.
    drawn = means_of(np.array([[[0.0, 0.0, *[1.0] * 8]]]), np.array([0, 1, *[2] * 8]), 300)
    assert set(np.round(drawn.ravel(), 12)) == {0.0, round(8 / 9, 12), 1.0}


def test_seeds_are_averaged_inside_a_replicate():
    # Cases agree, seeds are 0, 3 and 6; two seeds are drawn: their mean is one of these.
    values = np.repeat([[[0.0], [3.0], [6.0]]], 5, axis=2)
    assert set(means_of(values, resamples=400).ravel()) == {0.0, 1.5, 3.0, 4.5, 6.0}


def test_the_variance_of_the_bootstrap_is_the_unbiased_one():
    # n - 1 drawn out of n (Rao and Wu): Var = s^2 / n with ddof 1, where n of n would give ddof 0.
    values = RNG(0).normal(size=(1, 1, 6))
    expected = values.var(ddof=1) / 6
    assert means_of(values, resamples=40_000).var() == pytest.approx(expected, rel=0.03)


def test_the_interval_agrees_with_scipy():
    values = RNG(1).normal(2, 1, 200)
    low, high = interval(means_of(values[None, None])[:, 0])
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=9999, method="percentile", random_state=RNG(2)
    )
    assert (low, high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.01)


def test_sums_of_groups_do_not_ask_for_sorted_cases():
    sums = group_sums(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.array([1, 0, 2, 0, 1]))
    assert sums.tolist() == [6.0, 6.0, 3.0]


# ---- coverage (../shared/trust.md, section 2): GlaS has 16 patients with 5 images each

CLUSTERS, CASES, SEEDS, STUDIES = 16, 5, 3, 600


def null_studies():
    """Differences (studies, seeds, cases) of true mean 0; clusters, cases and seeds each vary."""
    rng = RNG(3)
    cluster = np.repeat(rng.normal(0, 1.0, (STUDIES, 1, CLUSTERS)), CASES, axis=2)
    case = rng.normal(0, 0.8, (STUDIES, 1, CLUSTERS * CASES))
    seed = rng.normal(0, 0.25, (STUDIES, SEEDS, 1))
    return cluster + case + seed + rng.normal(0, 0.2, (STUDIES, SEEDS, CLUSTERS * CASES))


@pytest.fixture(scope="module")
def studies():
    return null_studies()


GROUP = np.repeat(np.arange(CLUSTERS), CASES)


def coverage(values, group):
    low, high = interval(means_of(values, group, 2_000))
    return ((low <= 0) & (high >= 0)).mean()


def test_the_interval_over_groups_and_seeds_covers_92_per_cent_or_more(studies):
    assert 0.92 <= coverage(studies, GROUP) <= 0.985


def test_the_naive_interval_over_cases_covers_far_too_little(studies):
    averaged = studies.mean(axis=1, keepdims=True)
    assert coverage(averaged, np.arange(CLUSTERS * CASES)) < 0.75


def test_groups_without_a_seed_component_cover_too_little(studies):
    averaged = studies.mean(axis=1, keepdims=True)
    assert coverage(averaged, GROUP) < coverage(studies, GROUP) - 0.01


def test_a_wilcoxon_test_per_image_finds_differences_that_are_not_there(studies):
    averaged = studies.mean(axis=1)
    naive = permutation.wilcoxon(averaged, np.arange(CLUSTERS * CASES))
    grouped = permutation.wilcoxon(averaged, GROUP)
    assert (naive < 0.05).mean() > 0.2
    assert (grouped < 0.05).mean() < 0.15


def test_sign_flips_of_groups_keep_their_level_where_seeds_do_not_vary():
    rng = RNG(4)
    cluster = np.repeat(rng.normal(0, 1, (400, CLUSTERS)), CASES, axis=1)
    values = cluster + rng.normal(0, 0.8, cluster.shape)
    p = permutation.sign_flip(values, GROUP)
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.025)
    assert (permutation.sign_flip(values, np.arange(80), 2_000) < 0.05).mean() > 0.2


# ---- sign flips


@pytest.mark.parametrize(
    "differences, p",
    [
        ([1.0, 2.0, 4.0], 2 / 8),  # only +++ and --- reach 7
        ([1.0, 2.0, -4.0], 8 / 8),  # |sum| 1 is the least of all patterns
        ([3.0, 2.0, -1.0], 4 / 8),  # 4: reached by ++-, --+, +++, ---
        ([1.0, 1.0, 1.0, -1.0], 10 / 16),  # 2: one or no sign differs, either way
        ([0.0, 0.0, 0.0], 1.0),
    ],
)
def test_sign_flips_of_few_groups_are_exact(differences, p):
    values = np.array([differences])
    assert permutation.sign_flip(values, np.arange(len(differences))) == pytest.approx(p)


def test_rounding_does_not_lose_the_observed_pattern():
    values = RNG(12).uniform(0.1, 1, (200, 12))  # all positive: two patterns of 4,096
    assert set(permutation.sign_flip(values, np.arange(12))) == {2 / 4096}


def test_flips_are_of_whole_groups():
    # 6 cases in 3 groups, all positive: 2 of 8 patterns, not 2 of 64.
    p = permutation.sign_flip(np.ones((1, 6)), np.array([0, 0, 1, 1, 2, 2]))
    assert p == pytest.approx(2 / 8)


def test_sign_flips_agree_with_scipy():
    values = RNG(5).normal(0.4, 1, 12)
    theirs = stats.permutation_test(
        (values, np.zeros(12)), lambda a, b, axis: (a - b).mean(axis=axis), vectorized=True,
        permutation_type="samples", n_resamples=np.inf,
    )  # fmt: skip
    ours = permutation.sign_flip(values[None], np.arange(12))
    assert ours == pytest.approx(theirs.pvalue)


def test_many_groups_take_random_flips_that_come_close_to_the_exact_p(monkeypatch):
    values = RNG(6).normal(0.4, 1, (1, 14))
    exact = permutation.sign_flip(values, np.arange(14))
    monkeypatch.setattr(permutation, "EXACT_GROUPS", 5)
    assert permutation.sign_flip(values, np.arange(14)) == pytest.approx(exact, abs=0.02)


def test_a_random_p_is_never_zero():
    values = np.ones((1, 40))
    assert permutation.sign_flip(values, np.arange(40), 999) == pytest.approx(1 / 1000)


# ---- Wilcoxon and Holm


def test_wilcoxon_is_that_of_the_group_means():
    values = np.array([[1.0, 3.0, -1.0, 0.5, 4.0]])
    p = permutation.wilcoxon(values, np.array([0, 0, 1, 2, 3]))
    assert p[0] == stats.wilcoxon([2.0, -1.0, 0.5, 4.0]).pvalue
    assert permutation.wilcoxon(np.zeros((1, 3)), np.arange(3))[0] == 1.0


@pytest.mark.parametrize(
    "p, adjusted",
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),  # 3 x .01; 1 x .04 raised to 2 x .03
        ([0.5, 0.4, 0.9], [1.0, 1.0, 1.0]),  # never above 1
        ([0.02], [0.02]),
        ([], []),
    ],
)
def test_holm_by_hand(p, adjusted):
    assert permutation.holm(np.array(p)).tolist() == pytest.approx(adjusted)


# ---- effects


def test_ties_are_half_a_win_and_rounding_makes_none_of_them_a_win():
    gap = (0.1 + 0.2 + 0.3) / 3 - (0.3 + 0.2 + 0.1) / 3
    assert effects.wins(np.array([2.0, 0.0, -1.0, gap])).tolist() == [1.0, 0.5, 0.0, 0.5]
    assert effects.share_of_ties(np.array([2.0, 0.0, -1.0, gap])) == 0.5


def test_bootstrap_medians_are_those_of_the_repeated_cases():
    values = RNG(7).normal(size=(2, 9))
    group = np.array([0, 0, 1, 1, 1, 2, 3, 4, 4])
    draws = draw(5, 3, 60)
    medians = effects.bootstrap_medians(values, group, draws)
    for counts, found in zip(draws.groups, medians, strict=True):
        repeated = np.repeat(values, counts[group], axis=1)
        assert found == pytest.approx(np.median(repeated, axis=1))


# ---- ranks


def ranked(values):
    """The ranking of values (R, C) by a bootstrap over cases."""
    drawn = means_of(values[:, None], resamples=2_000)
    return ranking.ranking(values, drawn, best_of(values, drawn))


def best_of(values, drawn):
    return ranking.best_set(*ranking.leads_of_means(values.mean(axis=1), drawn))


def test_a_clear_cut_order_has_ranks_without_doubt():
    noise = RNG(8).normal(0, 0.5, (3, 60))
    found = ranked(noise + np.array([[50.0], [90.0], [70.0]]))
    assert found.ranks.tolist() == found.low.tolist() == found.high.tolist() == [3, 1, 2]
    assert found.first.tolist() == [0, 1, 0]
    assert found.shares[:, 1].tolist() == [1, 0, 0]
    assert (found.tau, found.tau_low, found.tau_of_orders) == (1, 1, 1)
    assert found.best.tolist() == [False, True, False]


def test_two_that_cannot_be_told_apart_share_the_first_ranks():
    rng = RNG(9)
    found = ranked(np.stack([rng.normal(80, 5, 60), rng.normal(80, 5, 60), rng.normal(40, 5, 60)]))
    assert found.low.tolist() == [1, 1, 3] and found.high.tolist() == [2, 2, 3]
    assert found.best.tolist() == [True, True, False]
    assert found.first.sum() == pytest.approx(1) and 0.05 < found.first[0] < 0.95


def test_equal_scores_share_their_place_and_the_first_rank():
    same = RNG(10).normal(80, 5, 30)
    found = ranked(np.stack([same, same, same - 1]))
    assert found.ranks.tolist() == [1.5, 1.5, 3]
    assert found.first.tolist() == [0.5, 0.5, 0]
    assert found.best.tolist() == [True, True, False]  # 1 point worse in every single case


def test_the_best_set_of_two_is_the_interval_of_their_difference():
    for seed in range(40):
        values = RNG(seed).normal(0, 1, (2, 30)) + [[0.0], [0.5]]
        drawn = means_of(values[:, None], resamples=2_000)
        low, high = interval(drawn[:, 1] - drawn[:, 0])
        assert best_of(values, drawn).all() == (low <= 0 <= high)


def test_the_best_set_holds_the_true_best_also_among_many_equals():
    # 10 equal methods, 200 studies: pairwise intervals against the best would lose the first one
    # more often than 1 time in 20; the set at once keeps it.
    kept = pairwise = 0
    for seed in range(200):
        values = RNG(seed).normal(0, 1, (10, 40))
        drawn = means_of(values[:, None], resamples=500)
        kept += best_of(values, drawn)[0]
        top = values.mean(axis=1).argmax()
        pairwise += np.quantile(drawn[:, top] - drawn[:, 0], 0.025) <= 0
    assert kept >= 0.95 * 200 > pairwise


def test_a_few_far_cases_do_not_hide_that_a_method_is_worse_in_all_others():
    # Distances: the first is 17 px worse in 57 of 60 cases and better in 3 by 300 px.
    rng = RNG(11)
    good = rng.normal(5, 1, (2, 60))
    worse = rng.normal(22, 1, 60)
    good[:, :3] = 322
    values = -np.stack([worse, *good])
    drawn = means_of(values[:, None], resamples=2_000)
    assert best_of(values, drawn).tolist() == [True, True, True]  # by the mean
    leads = ranking.leads_of_wins(values, np.arange(60), draw(60, 1, 2_000))
    assert ranking.best_set(*leads).tolist() == [False, True, True]
    assert leads[0][0, 1] == pytest.approx(57 / 60 - 0.5) == -leads[0][1, 0]


@pytest.mark.parametrize("a", list(itertools.permutations([1.0, 2.0, 3.5, 3.5])))
def test_kendalls_tau_agrees_with_scipy(a):
    b = np.array([1.0, 2.0, 2.0, 4.0])
    assert ranking.kendall_tau(np.array(a), b) == pytest.approx(stats.kendalltau(a, b).statistic)


def test_mean_then_rank_and_rank_then_mean_can_differ():
    # A is better in three cases of four and fails in one: second by mean, first by rank per case.
    found = ranked(np.array([[90.0, 90.0, 90.0, 0.0], [80.0, 80.0, 80.0, 80.0]]))
    assert found.ranks.tolist() == [2, 1]
    assert found.case_ranks.tolist() == [1.25, 1.75]
    assert found.tau_of_orders == -1


# ---- over datasets


@pytest.mark.parametrize(
    "methods, datasets, difference",
    [
        (12, 5, 7.45),  # ../shared/trust.md
        (5, 30, 1.11),  # q = 2.728 of Demsar's table 5: 2.728 sqrt(30 / 180)
        (2, 10, 0.62),  # q = 1.960: 1.960 sqrt(6 / 60)
    ],
)
def test_the_critical_difference_is_nemenyis(methods, datasets, difference):
    assert round(across.critical_difference(methods, datasets), 2) == difference


def test_friedman_is_scipys_and_ranks_are_means_over_datasets():
    means = np.array([[90.0, 80.0, 70.0], [60.0, 65.0, 50.0], [88.0, 80.0, 70.0]])
    found = across.across_datasets(means)
    assert found.ranks.tolist() == pytest.approx([4 / 3, 5 / 3, 3])
    assert found.p == stats.friedmanchisquare(*means.T).pvalue
    assert (found.datasets, found.wilcoxon_floor) == (3, 0.25)


def test_the_floor_of_five_datasets_is_above_five_per_cent():
    floor = across.across_datasets(RNG(0).normal(size=(5, 3))).wilcoxon_floor
    assert floor == 0.0625 == stats.wilcoxon([1.0, 2.0, 3.0, 4.0, 5.0]).pvalue


def test_bars_join_the_longest_runs_within_the_critical_difference():
    ranks = np.array([4.0, 1.0, 2.0, 5.5])
    found = across.AcrossDatasets(9, ranks, 0.01, 2.2, 0.01)
    assert found.bars == [(0, 1), (1, 2), (2, 3)]  # 1-2, 2-4, 4-5.5; 1-4 is too far
    wide = across.AcrossDatasets(9, ranks, 0.01, 9.0, 0.01)
    assert wide.bars == [(0, 3)]


def test_resamples_and_flips_are_ten_thousand():
    assert resampling.RESAMPLES == permutation.FLIPS == 10_000
