"""What tells the cells of one method apart."""

from records import cell

from bench.reporting.variants import Variant, variant_of


def test_a_cell_at_its_defaults_without_a_tokenizer_is_the_plain_variant(tmp_path):
    assert variant_of(cell(tmp_path, "unet")) == Variant("unet")
    assert Variant("unet").text == "" and Variant("unet").settings == {}


def test_the_order_of_settings_makes_no_other_variant(tmp_path):
    one, other = (
        variant_of(cell(tmp_path, "unet", seed=seed, changed=changed))
        for seed, changed in enumerate(({"b": 1, "a": 2}, {"a": 2, "b": 1}))
    )
    assert one == other and one.text == "a=2, b=1" and one.settings == {"a": 2, "b": 1}


def test_a_tokenizer_of_another_role_than_the_methods_own_is_foreign(tmp_path):
    own, foreign = (cell(tmp_path, "gms", role=role) for role in ("continuous", "discrete"))
    assert variant_of(own).own_role and not variant_of(foreign).own_role
    assert variant_of(foreign).tokenizer == "tiny-vq" and variant_of(foreign).role == "discrete"


def test_a_setting_of_the_profiles_preset_is_no_change_and_its_default_is_one(tmp_path):
    at_preset = cell(tmp_path, "unet", changed={"width": 8}, preset={"width": 8})
    assert variant_of(at_preset) == Variant("unet")
    put_back = cell(tmp_path, "unet", seed=1, settings={"width": 64}, preset={"width": 8})
    assert variant_of(put_back).settings == {"width": 64}
