"""The posterior of an effect against samples of the mixture."""

import numpy as np
import pytest

from scvi_sams.model._posterior import SpikeSlab

N = 400_000
POSTERIORS = {
    "slab-alone": (0.0, 0.3, 1.0, 0.5),
    "spike-alone": (1.0, 0.3, 1.0, 0.5),
    "both-wide": (0.4, 0.3, 1.0, 0.5),
    "point-spike": (0.4, 0.0, 1.0, 0.5),
    "point-spike-inside-the-slab": (0.4, 0.0, -0.1, 0.5),
    "two-points": (0.3, 0.0, -1.0, 0.0),
    "point-slab": (0.3, 0.2, 2.0, 0.0),
    "apart": (0.5, 0.01, -8.0, 0.1),
}
ALL = SpikeSlab(*np.array(list(POSTERIORS.values())).T)


def one(name):
    return SpikeSlab(*(np.array([value]) for value in POSTERIORS[name]))


def sample(name):
    p_spike, spike_scale, loc, scale = POSTERIORS[name]
    rng = np.random.default_rng(0)
    z = rng.normal(size=N)
    return np.where(rng.random(N) < p_spike, spike_scale * z, loc + scale * z)


@pytest.mark.parametrize("name", POSTERIORS)
def test_mean_and_sd_are_those_of_samples(name):
    samples = sample(name)
    assert one(name).mean[0] == pytest.approx(samples.mean(), abs=5 * samples.std() / N**0.5)
    assert one(name).sd[0] == pytest.approx(samples.std(), rel=0.01)


@pytest.mark.parametrize("value", [-8.0, -1.0, -0.1, 0.0, 0.1, 1.0, 2.0])
@pytest.mark.parametrize("name", POSTERIORS)
def test_probabilities_are_shares_of_samples(name, value):
    assert one(name).at_most(value)[0] == pytest.approx((sample(name) <= value).mean(), abs=0.004)


@pytest.mark.parametrize("probability", [0.025, 0.2, 0.65, 0.975])
@pytest.mark.parametrize("name", POSTERIORS)
def test_quantiles_leave_their_share_of_samples_below(name, probability):
    samples = sample(name)
    quantile = one(name).quantile(probability)[0]
    assert (samples <= quantile + 1e-9).mean() >= probability - 0.004
    assert (samples < quantile - 1e-9).mean() <= probability + 0.004


@pytest.mark.parametrize("name", POSTERIORS)
def test_quantiles_rise_with_their_probability(name):
    quantiles = [one(name).quantile(p)[0] for p in np.linspace(0.001, 0.999, 60)]
    assert (np.diff(quantiles) >= -1e-12).all()


@pytest.mark.parametrize("loc", [2.0, -2.0], ids=["above", "below"])
def test_interval_ends_exactly_at_the_point_of_a_spike(loc):
    """So that one that holds zero is not read as one that leaves it out."""
    posterior = SpikeSlab(*(np.array([value]) for value in (0.5, 0.0, loc, 0.1)))
    lower, upper = posterior.quantile(0.025)[0], posterior.quantile(0.975)[0]
    assert (lower if loc > 0 else upper) == 0
    assert (upper if loc > 0 else lower) == pytest.approx(loc * (1 + 1.645 * 0.05), abs=1e-3)


def test_mirrored_effects_have_mirrored_posteriors():
    mirrored = ALL._replace(loc=-ALL.loc)
    np.testing.assert_allclose(mirrored.mean, -ALL.mean)
    np.testing.assert_allclose(mirrored.sd, ALL.sd)
    np.testing.assert_allclose(mirrored.local_false_sign_rate, ALL.local_false_sign_rate)
    np.testing.assert_allclose(mirrored.quantile(0.9), -ALL.quantile(0.1), atol=1e-9)


@pytest.mark.parametrize(
    "name", ["slab-alone", "both-wide", "point-spike", "point-spike-inside-the-slab", "apart"]
)
def test_local_false_sign_rate_is_the_share_of_spikes_and_of_slabs_of_the_other_sign(name):
    p_spike, _, loc, scale = POSTERIORS[name]
    rng = np.random.default_rng(1)
    wrong = np.sign(loc + scale * rng.normal(size=N)) != np.sign(loc)
    expected = np.where(rng.random(N) < p_spike, True, wrong).mean()
    assert one(name).local_false_sign_rate[0] == pytest.approx(expected, abs=0.004)


def test_false_sign_rate_of_what_is_nothing_for_sure_is_one():
    nothing = SpikeSlab(*(np.zeros(1) for _ in range(4)))
    for posterior in (nothing, nothing._replace(p_spike=np.ones(1)), one("spike-alone")):
        assert posterior.local_false_sign_rate[0] == 1


def test_each_entry_of_an_array_is_its_own_posterior():
    for position, name in enumerate(POSTERIORS):
        for of_all, alone in [
            (ALL.mean, one(name).mean),
            (ALL.sd, one(name).sd),
            (ALL.at_most(0.3), one(name).at_most(0.3)),
            (ALL.quantile(0.3), one(name).quantile(0.3)),
            (ALL.local_false_sign_rate, one(name).local_false_sign_rate),
        ]:
            assert of_all[position] == alone[0]
