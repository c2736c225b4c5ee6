"""The bound of each model of the family against a direct computation."""

import numpy as np
import pytest

from tests.module.helpers import VARIANTS, subset
from tests.module.toys import Family, LinearGaussian


def average_over_mini_batches(toy, n_particles):
    """Bound per cell, from the mini-batches of an epoch."""
    tensors, order = toy.tensors(), np.random.default_rng(0).permutation(16)
    total = 0.0
    for batch in np.split(order, 4):
        _, _, losses = toy.module(
            subset(tensors, batch), inference_kwargs={"n_samples": n_particles}
        )
        total += -losses.loss.item() * len(batch)
    return total / 16


def test_mini_batches_of_an_epoch_average_to_the_bound_of_all_cells():
    toy = LinearGaussian()
    found, expected = average_over_mini_batches(toy, 400_000), toy.direct() / 16
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        *(pytest.param(settings, id=name) for name, settings in VARIANTS.items()),
        pytest.param({"mean_field_encoder": True}, id="mean-field-encoder"),
        pytest.param({"effect_guide": "mean_field", "mask_prior": 0.9}, id="dense-prior"),
    ],
)
def test_bound_of_each_variant_equals_a_direct_computation(settings):
    toy = Family(settings)
    found, expected = average_over_mini_batches(toy, 300_000), toy.direct() / 16
    assert found == pytest.approx(expected, rel=1e-3)
    # the test would not see global terms that are too small
    if settings.get("effect_guide") != "none":
        assert abs(toy.kl_mask() + toy.kl_effects()) > 16 * 3e-3 * abs(expected)
