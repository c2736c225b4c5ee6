"""Effects without a posterior."""

import torch

from scvi_sams.module._point_effects import NoEffects, PointEffects

ROWS = torch.tensor([2, 0])
MASK = torch.ones(4, 2, 3)


def points():
    guide = PointEffects(3, 3, prior_scale=2.0)
    guide.relative_loc.data.normal_()
    return guide


def test_every_sample_is_the_point_whatever_the_mask_and_without_chance():
    guide, state = points(), torch.get_rng_state()
    for mask in (MASK, 0 * MASK):
        sample = guide.rsample(mask, ROWS)
        assert torch.equal(sample, (2 * guide.relative_loc[ROWS]).expand(4, 2, 3))
    assert torch.equal(torch.get_rng_state(), state)


def test_points_have_no_spread_and_cost_nothing():
    guide = points()
    mean, sd = guide.mean_and_sd(MASK, ROWS)
    assert torch.equal(mean, 2 * guide.relative_loc[ROWS])
    assert (sd == 0).all()
    assert torch.equal(guide.kl(MASK, MASK[0], ROWS), torch.zeros(2, 3))
    assert torch.equal(guide.log_ratio(MASK, MASK, ROWS), torch.zeros(4, 2, 3))


def test_points_start_at_zero_and_go_back_there():
    guide = points()
    guide.reset_to_prior(torch.tensor([0]))
    assert (guide.relative_loc[0] == 0).all()
    assert (guide.relative_loc[1:] != 0).all()
    assert (PointEffects(3, 3, prior_scale=1.0).relative_loc == 0).all()


def test_points_are_rotated():
    guide = points()
    before = guide.relative_loc.clone()
    rotation = torch.linalg.qr(torch.randn(3, 3))[0]
    guide.rotate(rotation)
    torch.testing.assert_close(guide.relative_loc, before @ rotation)


def test_no_effects_stay_zero_and_are_not_trained():
    guide = NoEffects(3, 3, prior_scale=1.0)
    assert not any(parameter.requires_grad for parameter in guide.parameters())
    guide.reset_to_prior(torch.tensor([0]))
    guide.rotate(torch.eye(3))
    assert (guide.rsample(MASK, ROWS) == 0).all()
