"""Claims: verdicts on the printed tables, and on hand-written cells whose answer an eye can see."""

import json
import math
import subprocess
import sys

import pytest
from records import case_rows, cell, put_scores

from bench.core.errors import BenchError
from bench.experiments.ceilings import Ceiling, MaskScore
from bench.experiments.cells import load_cells
from bench.reporting.claims import check_claims, is_shared, load_claims
from bench.reporting.claims.commands import commands_for
from bench.reporting.claims.evidence import Entry, Need, Place
from bench.reporting.claims.listing import claims_listing, to_csv, to_markdown
from bench.reporting.claims.model import Claim, Variant
from bench.reporting.claims.printed import PrintedEvidence
from bench.reporting.claims.verdicts import outcome
from bench.reporting.printed_tables import printed_tables
from bench.reporting.published import load_edition

AAAI, V1 = load_edition("aaai2025"), load_edition("arxiv-v1")
REAL = {"request": {"profile": {"phantoms": False}}}


def on_print(edition, id):
    (claim,) = [claim for claim in load_claims(edition.name) if claim.id == id]
    return outcome(claim.test, PrintedEvidence(edition), edition)


# ---- the paper's own numbers


def test_what_the_printed_tables_say_of_the_aaai_claims():
    verdicts = {c.id: on_print(AAAI, c.id).verdict for c in load_claims("aaai2025")}
    assert {id for id, word in verdicts.items() if word == "fails"} == {"image-loss-on-kvasir"}
    assert {id for id, word in verdicts.items() if word == "undecided"} == {
        "size-and-score-uncorrelated"
    }
    assert sum(word == "holds" for word in verdicts.values()) == len(verdicts) - 2 == 24


def test_what_the_printed_tables_say_of_the_claims_of_v1():
    verdicts = {c.id: on_print(V1, c.id).verdict for c in load_claims("arxiv-v1")}
    assert {id for id, word in verdicts.items() if word == "fails"} == {"most-have-10-to-100-times"}
    assert verdicts["reconstruction"] == "not run"  # no table prints it
    assert sum(word == "holds" for word in verdicts.values()) == len(verdicts) - 2 == 10


def test_the_image_loss_is_not_better_on_kvasir_by_hd95():
    found = on_print(AAAI, "image-loss-on-kvasir")
    assert found.value == pytest.approx(-0.47)
    assert found.detail.endswith("kvasir-instrument HD95: 10.68 against 10.21")


@pytest.mark.parametrize("edition, count, of", [(AAAI, 6, 11), (V1, 4, 8)])
def test_how_many_models_have_10_to_100_times_the_parameters(edition, count, of):
    found = on_print(edition, "most-have-10-to-100-times")
    assert (found.low, found.value, found.high) == (count, count, count)  # whatever the digits hide
    assert found.unit == f"of {of} methods"


@pytest.mark.parametrize(
    "id, value",
    [
        ("lead-bus-dsc", 2.71),
        ("lead-busi-dsc", 1.87),
        ("lead-ultrasound-iou", 1.88),
        ("lead-ultrasound-hd95", 4.64),
        ("sd-vae-dsc", 2.2),
        ("sd-vae-hd95", 5.07),
        ("beats-nnunet-by-2", 1.92),  # and 2.47 the other way
    ],
)
def test_numbers_of_the_text_recomputed_from_the_tables(id, value):
    found = on_print(AAAI, id)
    assert (found.verdict, found.value) == ("holds", pytest.approx(value))


@pytest.mark.parametrize("value, verdict", [("2.71", "holds"), ("2.74", "fails"), ("2.2", "fails")])
def test_a_number_that_the_tables_do_not_give_fails(value, verdict):
    test = {"relation": "leads", "first": "gms", "on": ["bus"], "metric": "dsc", "value": value}
    assert outcome(_claim(test).test, PrintedEvidence(AAAI), AAAI).verdict == verdict


def test_the_pooled_row_is_no_part_of_the_correlation():
    detail = on_print(AAAI, "size-and-score-uncorrelated").detail
    assert "over 12 methods" in detail and "busi: rho -0.28 over 11 methods" in detail


# ---- stored cells


def _claim(test):
    return Claim.model_validate({"id": "one", "quote": "q", "place": "p", "test": test})


BEATS = {"relation": "beats", "first": ["gms"], "second": ["unet"], "on": ["busi"]}
BEATS |= {"metrics": ["dsc"]}


def store(
    folder, method, dsc, seeds=(0, 1, 2), train="busi", label="busi-test", inputs=None, **key
):
    """Cells of a method whose 24 cases score `dsc(case, seed)`."""
    inputs = {"code": "c"} | (inputs or {})
    for seed in seeds:
        scores = [dsc(i, seed) for i in range(24)]
        rows = [{"dsc": d, "iou": d / (2 - d), "hd95": 100 * (1 - d)} for d in scores]
        record = cell(
            folder, method, train, seed=seed, dsc={}, provenance=REAL, inputs=inputs, **key
        )
        put_scores(record, label, case_rows(rows))


def noisy(mean, size=0.04):
    """Scores around a mean, another one for each case and seed."""
    return lambda case, seed: mean + size * math.sin(7 * case + 3 * seed)


def verdict(folder, test=BEATS, **options):
    (section,) = check_claims([_claim(test)], AAAI, load_cells(folder), **options)
    return section.results[0]


@pytest.mark.parametrize(
    "gms, word", [(0.85, "holds"), (0.70, "fails"), (0.7801, "undecided"), (0.777, "undecided")]
)
def test_the_interval_of_the_lead_decides(tmp_path, gms, word):
    store(tmp_path, "unet", lambda case, seed: 0.78 + 0.05 * math.cos(5 * case + seed))
    store(tmp_path, "gms", noisy(gms))
    ours = verdict(tmp_path).ours
    assert ours.verdict == word
    assert ours.low < ours.value < ours.high
    assert ours.value == pytest.approx(100 * (gms - 0.78), abs=0.6)


def test_smaller_distances_are_the_better_ones(tmp_path):
    store(tmp_path, "unet", noisy(0.7))
    store(tmp_path, "gms", noisy(0.8))
    ours = verdict(tmp_path, BEATS | {"metrics": ["hd95"]}).ours
    assert (ours.verdict, ours.unit, ours.value) == ("holds", "px", pytest.approx(10))


def test_cells_on_phantoms_test_no_claim(tmp_path):
    for method in ("unet", "gms"):
        cell(tmp_path, method)  # of profile demo
    (section,) = check_claims([_claim(BEATS)], AAAI, load_cells(tmp_path))
    assert (section.key, section.cells, section.phantoms) == (None, 0, 2)
    assert section.results[0].ours.verdict == "not run"


def test_what_is_missing_is_named_with_the_command_that_runs_it(tmp_path):
    store(tmp_path, "gms", noisy(0.8), profile="paper", image_size=224)
    result = verdict(tmp_path)
    assert result.ours.verdict == "not run"
    (command,) = result.commands
    assert command == (
        "bench run --matrix in-domain --methods unet --datasets busi --profile paper "
        "--protocol clean --image-size 224 --seeds 0,1,2"
    )


def test_a_claim_against_all_fails_by_one_rival_before_the_others_are_run(tmp_path):
    store(tmp_path, "gms", noisy(0.7))
    store(tmp_path, "unet", noisy(0.8))
    result = verdict(tmp_path, BEATS | {"second": ["*"]})
    assert result.ours.verdict == "fails"
    assert result.ours.detail.startswith("gms against unet, busi DSC: 70")
    assert "--methods multiresunet,acc_unet,nnunet" in result.commands[0]


def test_no_common_seed_is_no_comparison(tmp_path):
    store(tmp_path, "gms", noisy(0.8), seeds=(0,))
    store(tmp_path, "unet", noisy(0.7), seeds=(1,))
    result = verdict(tmp_path)
    assert result.ours.verdict == "not run"
    assert "--methods gms,unet" in result.commands[0]


@pytest.mark.parametrize("value, word", [("5", "holds"), ("15", "fails"), ("10", "undecided")])
def test_our_lead_must_reach_the_stated_one(tmp_path, value, word):
    store(tmp_path, "unet", lambda case, seed: 0.7 + 0.05 * math.cos(5 * case + seed))
    store(tmp_path, "gms", noisy(0.8))
    test = {"relation": "leads", "first": "gms", "second": ["unet"], "on": ["busi"]}
    assert verdict(tmp_path, test | {"metric": "dsc", "value": value}).ours.verdict == word


@pytest.mark.parametrize("gss, word", [(0.85, "holds"), (0.95, "fails"), (0.801, "undecided")])
def test_a_place_holds_only_where_every_comparison_is_decided(tmp_path, gss, word):
    edition = AAAI.model_copy(
        update={"numbers": tuple(n for n in AAAI.numbers if n.key.method in ("gms", "unet", "gss"))}
    )
    store(tmp_path, "gms", noisy(0.9))
    store(tmp_path, "unet", lambda case, seed: 0.8 + 0.05 * math.cos(5 * case + seed))
    store(tmp_path, "gss", noisy(gss))
    test = {"relation": "places", "first": "gss", "on": ["busi"], "metrics": ["dsc"]}
    (section,) = check_claims([_claim(test | {"place": 2})], edition, load_cells(tmp_path))
    assert section.results[0].ours.verdict == word


@pytest.mark.parametrize(
    "lead, word", [(0.02, "holds"), (0.04, "fails"), (0.0249, "undecided"), (0.0151, "undecided")]
)
def test_about_2_points_are_1_5_to_2_5(tmp_path, lead, word):
    store(tmp_path, "unet", lambda case, seed: 0.7 + 0.01 * math.cos(5 * case + seed))
    store(tmp_path, "gms", noisy(0.7 + lead, 0.005))
    test = {"relation": "leads", "first": "gms", "second": ["unet"], "on": ["busi"]}
    test |= {"metric": "dsc", "value": "2", "about": True}
    assert verdict(tmp_path, test).ours.verdict == word


def test_cells_with_other_settings_do_not_stand_for_the_method(tmp_path):
    store(tmp_path, "unet", noisy(0.7))
    store(tmp_path, "gms", noisy(0.8))
    store(tmp_path, "gms", noisy(0.6), changed={"width": 64})
    assert verdict(tmp_path).ours.value == pytest.approx(10)


def test_a_variant_is_another_entry_than_the_method(tmp_path):
    store(tmp_path, "gms", noisy(0.8))
    store(tmp_path, "gms", noisy(0.7), changed={"loss": "lm"})
    both = {"first_as": {"settings": {"loss": "lm+seg"}}, "second_as": {"settings": {"loss": "lm"}}}
    ours = verdict(tmp_path, BEATS | {"second": ["gms"]} | both).ours
    assert (ours.verdict, ours.value) == ("holds", pytest.approx(10))


def test_two_recipes_of_one_entry_are_not_averaged(tmp_path):
    store(tmp_path, "unet", noisy(0.7))
    store(tmp_path, "gms", noisy(0.8), seeds=(0,))
    store(tmp_path, "gms", noisy(0.8), seeds=(1,), recipe="native")
    with pytest.raises(BenchError, match="gms on busi are no repetitions.*recipe.name=native"):
        verdict(tmp_path)
    kept = [one for one in load_cells(tmp_path) if is_shared(one)]
    assert {one.key.recipe for one in kept} == {"shared"}


def test_cells_of_two_splits_are_not_compared(tmp_path):
    store(tmp_path, "unet", noisy(0.7))
    store(tmp_path, "gms", noisy(0.8), inputs={"split": "another"})
    with pytest.raises(BenchError, match="the digest of its split differs"):
        verdict(tmp_path)


def test_scores_of_two_versions_of_the_test_cases_are_not_compared(tmp_path):
    store(tmp_path, "unet", noisy(0.7))
    store(tmp_path, "gms", noisy(0.8))
    for record in load_cells(tmp_path):
        if record.key.method == "gms":
            changed = record.tests["busi-test"].model_copy(update={"cases": "others"})
            record.model_copy(update={"tests": {"busi-test": changed}}).write(record.folder)
    with pytest.raises(BenchError, match="gms and unet are scored on different versions"):
        verdict(tmp_path)


def test_a_seed_that_is_stored_twice_is_refused(tmp_path):
    for _ in range(2):
        store(tmp_path, "gms", noisy(0.8), seeds=(0,))
    with pytest.raises(BenchError, match="A seed of gms on busi is stored twice"):
        verdict(tmp_path)


def test_foreign_test_sets_are_of_the_subset_that_is_asked_for(tmp_path):
    for method, mean in (("gms", 0.8), ("unet", 0.7)):
        store(tmp_path, method, noisy(mean), label="bus-all")
    test = BEATS | {"on": ["busi to bus"]}
    assert verdict(tmp_path, test).ours.verdict == "not run"
    assert verdict(tmp_path, test, subset="all").ours.verdict == "holds"


@pytest.mark.parametrize(
    "dice, word", [((0.997, 0.999), "holds"), ((0.98, 0.99), "fails"), ((0.99, 1.0), "undecided")]
)
def test_what_a_tokenizer_gives_back_of_the_cells_masks(tmp_path, dice, word):
    store(tmp_path, "unet", noisy(0.7))
    cases = tuple(MaskScore(case=f"{i}", group=f"{i}", dsc=dice[i % 2]) for i in range(40))
    sizes = {"image_size": 96, "network_size": 96, "weights_hash": "w", "tokenizer": "sd-vae"}
    ours, foreign = (
        Ceiling(test="busi-test", digest=digest, cases=cases, **sizes) for digest in ("c", "other")
    )
    test = {"relation": "reconstruction", "tokenizer": "sd-vae", "value": 99.5}
    assert verdict(tmp_path, test, ceilings=[ours]).ours.verdict == word
    absent = verdict(tmp_path, test, ceilings=[foreign])  # of cases that no cell was scored on
    assert (absent.ours.verdict, absent.commands) == ("not run", ("bench tokenizer ceiling",))


def test_every_need_goes_to_the_matrix_that_has_its_cell():
    loss = Variant(printed={"loss": "lm"}, settings={"loss": "lm"})
    needs = [
        Need(Entry("unet"), Place.of("busi")),
        Need(Entry("unet"), Place.of("busi to bus")),
        Need(Entry("gms", loss), Place.of("ham10000")),
    ]
    assert [command.split()[3] for command in commands_for(needs, None)] == [
        "in-domain",
        "cross-domain",
        "ablations",
    ]


# ---- the files of claims


@pytest.mark.parametrize("edition", [AAAI, V1])
def test_claims_name_only_what_their_edition_prints(edition):
    printed = {n.key.method for n in edition.numbers}
    places = {(n.key.train, n.key.test) for n in edition.numbers}
    for claim in load_claims(edition.name):
        test = claim.test.model_dump()
        named = [test.get("first", ()), test.get("second", ())]
        methods = {m for part in named for m in ((part,) if isinstance(part, str) else part)}
        assert methods - {"*"} <= printed, claim.id
        assert {Place.of(text) for text in test.get("on", ())} <= places, claim.id


def test_an_unknown_field_of_a_claim_is_refused(tmp_path):
    (tmp_path / "claims").mkdir()
    file = tmp_path / "claims" / "mine.toml"
    claim = '[[claims]]\nid = "a"\nquote = "q"\nplace = "p"\n[claims.test]\nrelation = "places"\n'
    file.write_text(claim + 'first = "gms"\nplaces = 2\non = ["bus"]\nmetrics = ["dsc"]\n')
    with pytest.raises(BenchError, match="places.places"):
        load_claims(str(tmp_path / "mine.toml"))
    assert load_claims(str(tmp_path / "other.toml")) == ()


# ---- what is printed


def test_the_listing_says_verdict_value_interval_and_command(tmp_path):
    store(tmp_path, "gms", noisy(0.8))
    store(tmp_path, "unet", noisy(0.7))
    all_claims = load_claims("aaai2025")
    (section,) = check_claims(all_claims, AAAI, load_cells(tmp_path))
    listing = claims_listing("aaai2025", section)
    assert len(listing.rows) == len(all_claims)
    markdown = to_markdown(listing)
    assert (
        "Unlike the edition: scores at 96 px, the edition's are at 224 px; 24 test cases of busi, the "
        "edition has 130." in markdown
    )
    assert "holds: 2.71 \\[2.70, 2.72\\] points" in markdown
    assert "To run \\[1\\]: bench run --matrix in-domain" in markdown
    lines = to_csv(listing).splitlines()
    assert len(lines) == 1 + len(all_claims) and lines[0].startswith("edition,profile,protocol")
    facts = json.loads(json.dumps(listing.facts))
    assert {"id", "verdict", "low", "high", "printed_verdict", "commands"} <= facts[0].keys()


def test_the_printed_tables_of_v1_show_five_underlines_and_22_foreign_ious():
    entries = [e for table in printed_tables(V1) for row in table.rows for e in row.entries]
    underlined = {e.text for e in entries if e.mark == "second"}
    assert underlined == {"93.95", "89.73", "93.90", "88.73", "79.56"}
    foreign = [e for e in entries if e.column and e.column.train != e.column.test]
    assert sum(e.metric == "iou" and e.value is not None for e in foreign) == 22
    assert len([e for e in entries if e.value is not None]) == len(V1.numbers)


def test_the_underlined_numbers_of_v1_are_second_best_in_their_columns():
    for number in V1.numbers:
        if number.mark == "second":
            column = [
                n.value
                for n in V1.numbers
                if n.table == number.table
                and (n.key.test, n.key.metric) == (number.key.test, number.key.metric)
            ]
            assert sorted(column)[-2] == number.value


@pytest.mark.parametrize("format", ["table", "markdown", "csv", "json"])
@pytest.mark.parametrize("part", ["claims", "forensics", "tables"])
def test_the_command_prints_every_part_in_every_format(tmp_path, capsys, part, format):
    from bench.cli.claims import claims

    store(tmp_path / "cells", "gms", noisy(0.8), seeds=(0,))
    nothing = [None] * 6
    claims("arxiv-v1", tmp_path, *nothing, "test", None, part, format)
    words = capsys.readouterr().out
    expected = {"claims": "highest-everywhere", "forensics": "93.91 in aaai2025", "tables": "57.23"}
    assert expected[part] in " ".join(words.split())
    if format == "json":
        json.loads(words)


def test_claims_import_no_torch():
    code = (
        "import sys, bench.reporting.claims.listing, bench.reporting.printed_tables; "
        "from bench.reporting.claims import check_claims, load_claims; "
        "from bench.reporting.published import load_edition; "
        "check_claims(load_claims('aaai2025'), load_edition('aaai2025'), []); "
        "print([m for m in ('torch', 'matplotlib') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
