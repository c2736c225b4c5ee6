"""The sparse axes of a latent space."""

import numpy as np
import pytest
import torch
from scipy import optimize

from scvi_sams.module._rotation import sparse_rotation


def rotation_of(n, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]


def sparse_shifts(n_perturbations, n_latent, seed, noise=0.0):
    """Shifts on one to three dimensions each."""
    rng = np.random.default_rng(seed)
    shifts = np.zeros((n_perturbations, n_latent))
    for t in range(n_perturbations):
        where = rng.choice(n_latent, size=rng.integers(1, 4), replace=False)
        shifts[t, where] = rng.choice([-1, 1], len(where)) * rng.uniform(2, 5, len(where))
    return torch.tensor(shifts + noise * rng.normal(size=shifts.shape))


@pytest.mark.parametrize("shape", [(50, 8), (3, 8), (1, 4), (10, 1)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_rotation_is_orthogonal(shape, dtype):
    shifts = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    rotation = sparse_rotation(shifts)
    assert rotation.dtype == dtype
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(shape[1], dtype=dtype))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("noise", [0.0, 0.2], ids=["exact", "noisy"])
def test_planted_axes_are_found_up_to_order_and_sign(seed, noise):
    truth, turned = sparse_shifts(60, 8, seed, noise), rotation_of(8, seed)
    axes = turned @ sparse_rotation(truth @ turned)  # a signed permutation, if all went well
    row, column = optimize.linear_sum_assignment(-axes.abs())
    assert axes.abs()[row, column].min() > 0.99
    rest = axes.abs().clone()
    rest[row, column] = 0
    assert rest.max() < 0.1


def test_axes_do_not_depend_on_the_unit():
    shifts = sparse_shifts(40, 5, 0) @ rotation_of(5, 0)
    torch.testing.assert_close(
        sparse_rotation(1e-3 * shifts), sparse_rotation(1e3 * shifts), atol=1e-6, rtol=0
    )


def test_no_shifts_need_no_rotation():
    assert torch.equal(sparse_rotation(torch.zeros(5, 3)), torch.eye(3))


def test_a_rotation_is_the_same_at_every_call_and_leaves_the_global_state():
    shifts = sparse_shifts(30, 5, 2) @ rotation_of(5, 2)
    state = torch.get_rng_state()
    first = sparse_rotation(shifts)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(sparse_rotation(shifts), first)


def test_no_gradient_flows_through_a_rotation():
    shifts = sparse_shifts(10, 3, 0).requires_grad_()
    assert not sparse_rotation(shifts).requires_grad
