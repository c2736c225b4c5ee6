"""The networks."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional as F

from scvi_sams.module._networks import (
    BasalEncoder,
    Decoder,
    DosageInput,
    Dropout,
    PerturbedStateEncoder,
    ResidualTrunk,
    rotate_head,
)


def rotation_of(n, seed=0):
    return torch.linalg.qr(torch.randn(n, n, generator=torch.Generator().manual_seed(seed)))[0]


def test_split_first_layer_equals_concatenation():
    torch.manual_seed(0)
    encoder = BasalEncoder(6, 2, 8, 1, sees_offset=True)
    x, offset = torch.rand(4, 6) * 9, torch.randn(3, 4, 2)
    joint = nn.Linear(8, 8)
    joint.weight.data = torch.cat([encoder.from_genes.weight, encoder.from_offset.weight], 1)
    joint.bias.data = encoder.from_genes.bias
    inputs = torch.cat([torch.log1p(x).expand(3, 4, 6), offset], dim=-1)
    expected = encoder.loc(F.gelu(joint(inputs))) + encoder.linear_loc(torch.log1p(x))
    torch.testing.assert_close(encoder(x, offset).loc, expected, rtol=1e-5, atol=1e-6)


def test_mean_field_encoder_does_not_see_the_offset():
    encoder = BasalEncoder(6, 2, 8, 2, sees_offset=False)
    x = torch.rand(4, 6)
    posterior = encoder(x, torch.randn(3, 4, 2))
    assert posterior.loc.shape == (3, 4, 2)
    torch.testing.assert_close(posterior.loc[0], posterior.loc[2])


def test_constant_gene_reads_as_zero():
    encoder = BasalEncoder(2, 1, 4, 1, sees_offset=False)
    encoder.set_standardisation(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 2.0]))
    assert encoder.inverse_sd.tolist() == [0.0, 0.5]


@pytest.mark.parametrize("counts", [True, False], ids=["counts", "real-values"])
def test_inputs_are_standardised_logarithms_of_counts_and_real_values_themselves(counts):
    encoder = BasalEncoder(3, 2, 4, 1, sees_offset=False, counts=counts)
    x = torch.rand(50, 3) * 9 - (0 if counts else 4)
    inputs = torch.log1p(x) if counts else x
    encoder.set_standardisation(inputs.mean(0), inputs.std(0, unbiased=False))
    seen = []
    encoder.dropout.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    encoder(x, torch.zeros(50, 2))
    np.testing.assert_allclose(seen[0].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(seen[0].std(0, unbiased=False), 1, rtol=1e-4)


def test_hidden_layers_are_added_to_what_they_read():
    torch.manual_seed(0)
    trunk, first = ResidualTrunk(5, 3), torch.randn(4, 5)
    expected = F.gelu(first)
    assert len(trunk.layers) == 2
    for layer in trunk.layers:
        expected = expected + F.gelu(expected @ layer.weight.T + layer.bias)
    torch.testing.assert_close(trunk(first), expected)


def test_state_of_a_guide_without_the_perturbation_is_the_same_whatever_the_offset():
    torch.manual_seed(0)
    encoder = PerturbedStateEncoder(6, 2, 8, 1, sees_offset=False)
    x, offset = torch.rand(4, 6), torch.randn(3, 4, 2)
    basal = encoder(x, offset)
    state = basal.loc + offset
    torch.testing.assert_close(state[0], state[2])
    torch.testing.assert_close(basal.scale[0], basal.scale[2])


def test_covariates_enter_the_decoder():
    decoder = Decoder(2, 3, 8, 2)
    hidden = decoder(torch.zeros(2, 2), torch.eye(3)[:2])
    assert not torch.allclose(hidden[0], hidden[1])


def test_dosages_are_a_linear_input():
    dosages = torch.tensor([[0.0, 1.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0]])
    index = torch.tensor([[1, 3], [0, 0], [0, 0]])
    dose = torch.tensor([[1.0, 0.5], [0.0, 0.0], [2.0, 0.0]])
    layer = DosageInput(4, 5)
    assert (layer(index, dose) == 0).all(), "at first no perturbation is as any other"
    layer.weight.data.normal_()
    torch.testing.assert_close(layer(index, dose), dosages @ layer.weight)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_condition_adds_to_the_first_layer(part):
    torch.manual_seed(0)
    condition, nothing = torch.randn(4, 8), torch.zeros(4, 0)
    if part == "decoder":
        network, inputs = Decoder(2, 0, 8, 1), (torch.randn(3, 4, 2), nothing)
        expected = F.gelu(network.from_state(inputs[0]) + condition)
        found = network(*inputs, condition)
    else:
        network = BasalEncoder(6, 2, 8, 1, sees_offset=False)
        inputs = torch.rand(4, 6), torch.zeros(3, 4, 2)
        first = network.from_genes(torch.log1p(inputs[0])) + condition
        expected = network.loc(F.gelu(first)) + network.linear_loc(torch.log1p(inputs[0]))
        expected = expected.expand(3, 4, 2)
        found = network(*inputs, condition).loc
    torch.testing.assert_close(found, expected)


def test_decoder_of_rotated_states_is_the_same():
    torch.manual_seed(0)
    decoder, z, rotation = Decoder(3, 0, 8, 2), torch.randn(5, 3), rotation_of(3)
    before = decoder(z, torch.zeros(5, 0))
    decoder.rotate(rotation)
    torch.testing.assert_close(decoder(z @ rotation, torch.zeros(5, 0)), before)


@pytest.mark.parametrize("cls", [BasalEncoder, PerturbedStateEncoder])
@pytest.mark.parametrize("sees_offset", [True, False])
def test_means_of_a_rotated_encoder_are_rotated(cls, sees_offset):
    torch.manual_seed(0)
    encoder = cls(6, 3, 8, 2, sees_offset=sees_offset)
    x, offset, rotation = torch.rand(4, 6), torch.randn(2, 4, 3), rotation_of(3)
    before = encoder(x, offset)
    encoder.rotate(rotation)
    after = encoder(x, offset @ rotation)
    torch.testing.assert_close(after.loc, before.loc @ rotation, rtol=1e-4, atol=1e-5)
    assert (after.scale > 0).all()


def test_scales_of_a_permuted_encoder_are_permuted():
    """A rotation that keeps the axes leaves nothing to approximate."""
    torch.manual_seed(0)
    encoder = BasalEncoder(6, 3, 8, 1, sees_offset=True)
    permutation = torch.eye(3)[[2, 0, 1]] * torch.tensor([1.0, -1.0, 1.0])
    x, offset = torch.rand(4, 6), torch.randn(4, 3)
    before = encoder(x, offset)
    encoder.rotate(permutation)
    after = encoder(x, offset @ permutation)
    torch.testing.assert_close(after.loc, before.loc @ permutation)
    torch.testing.assert_close(after.scale, before.scale @ permutation.abs())


def test_outputs_of_a_rotated_head_are_rotated():
    head, rotation, x = nn.Linear(4, 3), rotation_of(3), torch.randn(6, 4)
    before = head(x)
    rotate_head(head, rotation)
    torch.testing.assert_close(head(x), before @ rotation)


def test_dropout_is_of_training_alone():
    encoder = BasalEncoder(50, 3, 8, 1, sees_offset=False, dropout_rate=0.5)
    x, offset = torch.full((4, 50), 3.0), torch.zeros(4, 3)
    first, second = encoder(x, offset).loc, encoder(x, offset).loc
    assert not torch.equal(first, second)
    encoder.eval()
    torch.testing.assert_close(encoder(x, offset).loc, encoder(x, offset).loc, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(400, 501), (7,), (1, 1)], ids=str)
def test_dropout_keeps_its_share_and_scales_it_up(shape):
    torch.manual_seed(0)
    rate = 0.3
    dropout, x = Dropout(rate), torch.full(shape, 2.0)
    found = dropout(x)
    is_kept = found != 0
    torch.testing.assert_close(found[is_kept], x[is_kept] / (1 - rate), rtol=1e-4, atol=0)
    n = x.numel()
    dropped = n - int(is_kept.sum())
    assert stats.binomtest(dropped, n, rate).pvalue > 1e-6
    assert found.shape == x.shape


def test_dropout_of_neighbours_is_independent():
    """Four of them share a random number."""
    torch.manual_seed(0)
    is_kept = (Dropout(0.5)(torch.ones(50_000, 4)) != 0).long()
    patterns = (is_kept * torch.tensor([1, 2, 4, 8])).sum(1)
    assert stats.chisquare(torch.bincount(patterns, minlength=16)).pvalue > 1e-6


@pytest.mark.parametrize("rate", [0.0, 1e-9])
def test_dropout_of_nothing_draws_no_number(rate):
    x = torch.rand(5)
    state = torch.get_rng_state()
    assert torch.equal(Dropout(rate)(x), x)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_highest_dropout_rate_leaves_finite_numbers():
    assert torch.isfinite(Dropout(1 - 1e-9)(torch.ones(10_000))).all()
