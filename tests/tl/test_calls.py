"""Calls at a false discovery rate, against all sets one could call and effects of known truth."""

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import scvi_sams as sams
from tests.conftest import trained


def results_of(rates, layer="lfsr") -> ad.AnnData:
    """Results in which calling an entry is an error with probability ``rates``."""
    rates = np.asarray(rates, dtype=float)
    data = ad.AnnData(
        np.ones_like(rates),
        obs=pd.DataFrame(index=[f"pert_{t}" for t in range(rates.shape[0])]),
        var=pd.DataFrame(index=[f"gene_{g}" for g in range(rates.shape[1])]),
    )
    data.layers[layer] = rates if layer == "lfsr" else 1 - rates
    return data


def called_at(rates, fdr, **kwargs):
    data = results_of(rates)
    sams.tl.call_effects(data, fdr=fdr, **kwargs)
    return data.layers["called"]


@pytest.mark.parametrize("layer", ["lfsr", "inclusion_probability"])
def test_calls_by_hand(layer):
    # means of the surest: 0, 0.01, 0.04, 0.08, 0.164
    data = results_of([[0.02, 0.5, 0.0], [0.2, 0.1, 0.9]], layer)
    sams.tl.call_effects(data, fdr=0.1)
    np.testing.assert_array_equal(data.layers["called"], [[1, 0, 1], [1, 1, 0]])
    assert data.layers["called"].dtype == bool
    assert list(data.obs["n_called"]) == [2, 2]
    notes = data.uns["call_effects"]
    assert notes["fdr"] == 0.1
    assert notes["n_called"] == 4
    assert notes["threshold"] == pytest.approx(0.2)
    assert notes["expected_fdr"] == pytest.approx(0.08)


@pytest.mark.parametrize("fdr", [0.01, 0.05, 0.2, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_calls_are_the_largest_set_within_the_rate(seed, fdr):
    rates = np.random.default_rng(seed).beta(0.3, 1, size=(7, 9))
    called = called_at(rates, fdr, max_false_rate=1)
    # the least mean of any n entries is that of the n smallest
    n_largest = max(
        (n for n in range(1, rates.size + 1) if np.sort(rates, None)[:n].mean() <= fdr), default=0
    )
    assert called.sum() == n_largest
    assert rates[called].max(initial=0) < rates[~called].min(initial=1)


@pytest.mark.parametrize("fdr", [0.05, 0.2])
def test_share_of_false_calls_is_as_promised(fdr):
    """Effects that are drawn from what a model believes of them."""
    rng = np.random.default_rng(0)
    rates = rng.beta(0.2, 0.8, size=(500, 400))
    is_false = rng.random(rates.shape) < rates
    called = called_at(rates, fdr, max_false_rate=1)
    assert is_false[called].mean() == pytest.approx(fdr, abs=0.005)


def test_more_is_called_at_a_higher_rate():
    rates = np.random.default_rng(1).beta(0.5, 1, size=(20, 30))
    strict, lax = called_at(rates, 0.02), called_at(rates, 0.2)
    assert 0 < strict.sum() < lax.sum()
    assert not (strict & ~lax).any()


def test_equal_rates_are_called_alike():
    rates = [[0.0, 0.1, 0.1, 0.1]]
    # with one or two of the three the mean would be 0.05 and 0.067
    np.testing.assert_array_equal(called_at(rates, 0.07), [[1, 0, 0, 0]])
    np.testing.assert_array_equal(called_at(rates, 0.08), [[1, 1, 1, 1]])


@pytest.mark.parametrize("n", [1, 3, 7, 1000])
def test_mean_equal_to_the_rate_is_within_it(n):
    assert called_at(np.full((n, 3), 0.05), 0.05).all()
    assert called_at(np.full((n, 3), 0.1), 0.1).all()


def test_no_entry_above_the_largest_rate_is_called():
    rates = np.concatenate([np.zeros(97), [0.45, 0.6, 0.7]])[None]
    assert called_at(rates, 0.05, max_false_rate=1).sum() == 100
    assert called_at(rates, 0.05).sum() == 98
    assert called_at(rates, 0.05, max_false_rate=0).sum() == 97


def test_nothing_to_call():
    data = results_of([[0.5, 0.4], [0.3, 0.2]])
    sams.tl.call_effects(data)
    assert not data.layers["called"].any()
    assert list(data.obs["n_called"]) == [0, 0]
    notes = data.uns["call_effects"]
    assert np.isnan(notes["threshold"])
    assert notes["expected_fdr"] == notes["n_called"] == 0


def test_later_call_replaces_the_earlier_and_survives_writing(tmp_path):
    data = results_of(np.random.default_rng(2).beta(0.5, 1, size=(5, 6)))
    sams.tl.call_effects(data, fdr=0.5)
    sams.tl.call_effects(data, fdr=0.1)
    fresh = results_of(data.layers["lfsr"])
    sams.tl.call_effects(fresh, fdr=0.1)
    np.testing.assert_array_equal(data.layers["called"], fresh.layers["called"])
    assert data.uns["call_effects"] == fresh.uns["call_effects"]
    data.write_h5ad(tmp_path / "called.h5ad")
    back = ad.read_h5ad(tmp_path / "called.h5ad")
    np.testing.assert_array_equal(back.layers["called"], data.layers["called"])
    assert back.uns["call_effects"] == data.uns["call_effects"]


def test_effects_of_a_model_and_of_a_consensus(screen):
    effects = trained(screen).get_perturbation_effects()
    agreed = sams.tl.consensus([effects, effects])
    for data in (effects, agreed):
        sams.tl.call_effects(data, fdr=0.4)
        assert data.uns["call_effects"]["expected_fdr"] <= 0.4
    assert effects.uns["call_effects"]["n_called"] == agreed.uns["call_effects"]["n_called"]


@pytest.mark.parametrize(
    ("rates", "kwargs", "message"),
    [
        pytest.param([[0.1]], {"fdr": 0}, "above 0 and below 1; it is 0", id="zero"),
        pytest.param([[0.1]], {"fdr": 5}, "above 0 and below 1; it is 5", id="percent"),
        pytest.param([[0.1]], {"max_false_rate": 2}, "from 0 to 1; it is 2", id="rate"),
        pytest.param(
            [[0.1, 0.2], [0.1, np.nan]], {}, r"lfsr.*is nan for 'pert_1' and 'gene_1'", id="nan"
        ),
        pytest.param([[1.5]], {}, "holds probabilities, but is 1.5", id="above-one"),
    ],
)
def test_impossible_settings_and_values_raise_and_leave_data_alone(rates, kwargs, message):
    data = results_of(rates)
    with pytest.raises(ValueError, match=message):
        sams.tl.call_effects(data, **kwargs)
    assert "called" not in data.layers
    assert not data.uns
    assert not len(data.obs.columns)


def test_data_that_do_not_say_how_sure_they_are_raise():
    data = results_of([[0.1]])
    del data.layers["lfsr"]
    with pytest.raises(ValueError, match=r"neither layers\['lfsr'\].*get_average_treatment"):
        sams.tl.call_effects(data)


def on_genes(has_masks) -> ad.AnnData:
    data = results_of([[0.01, 0.2, 0.0], [0.3, 0.4, 0.4]])
    data.uns["ate"] = {"normalization": "log2_cp10k"}
    if has_masks is not None:
        data.uns["ate"]["has_masks"] = has_masks
    return data


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(
            results_of(np.zeros((2, 3)), "inclusion_probability"),
            "every inclusion probability is 1",
            id="dimensions",
        ),
        pytest.param(on_genes(False), "the rate of wrong signs alone", id="genes"),
        pytest.param(on_genes(np.False_), "the rate of wrong signs alone", id="as-read-from-file"),
    ],
)
def test_effects_of_a_model_without_masks_raise(data, why):
    message = rf"without masks.* {why}.* such as `SAMSVAE`, or .*`sams\.tl\.rank_genes`"
    with pytest.raises(ValueError, match=message):
        sams.tl.call_effects(data)
    assert "called" not in data.layers


@pytest.mark.parametrize("cls", [sams.CPAVAE, sams.ConditionalVAE])
@pytest.mark.parametrize("kind", ["average_treatment", "combined"])
def test_models_without_masks_say_so(screen, cls, kind):
    found = getattr(trained(screen, cls=cls), f"get_{kind}_effects")(n_samples=20)
    with pytest.raises(ValueError, match="without masks"):
        sams.tl.call_effects(found)
    assert sams.tl.perturbation_similarity(found).notna().all(axis=None)


@pytest.mark.parametrize("has_masks", [True, np.True_, None], ids=["masks", "numpy", "unsaid"])
def test_effects_on_genes_of_other_models_are_called(has_masks):
    data = on_genes(has_masks)
    sams.tl.call_effects(data)
    np.testing.assert_array_equal(data.layers["called"], [[1, 0, 1], [0, 0, 0]])


def test_effects_of_a_model_without_masks_are_ranked_drawn_and_compared(tmp_path):
    data = on_genes(False)
    data.layers["lower"], data.layers["upper"] = data.X - 1, data.X + 1
    data.write_h5ad(tmp_path / "ate.h5ad")
    data = ad.read_h5ad(tmp_path / "ate.h5ad")
    assert list(sams.tl.rank_genes(data, "pert_0").index) == ["gene_2", "gene_0", "gene_1"]
    ax = sams.pl.volcano(data, "pert_0")
    assert "2 of 3 genes with a rate of at most 0.05" in ax.get_title()
    plt.close("all")
    assert sams.tl.perturbation_similarity(data).notna().all(axis=None)
    data.X[1] = 0
    assert list(sams.tl.perturbation_similarity(data).notna().any()) == [True, False]
    sams.tl.cluster_perturbations(data)
    assert list(data.obs["cluster"]) == ["0", "no sure effect"]


def test_other_things_than_results_raise():
    with pytest.raises(TypeError, match=r"`data` is what .* it is of type ndarray"):
        sams.tl.call_effects(np.ones((2, 3)))
