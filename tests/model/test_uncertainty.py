"""Uncertainty of the decoder's output layer against regression, and of the misfit."""

import numpy as np
import pytest

from scvi_sams.model._uncertainty import Uncertainty, fit_misfit

G, H = 3, 4


def uncertainty_of(hidden, noise, precision, **kwargs):
    """Uncertainty from hidden states of cells, and the noise of each gene."""
    mean = hidden.mean(0)
    size, axes = np.linalg.eigh((hidden - mean).T @ (hidden - mean))
    settings = {
        "misfit": {"mean": np.zeros(2)},
        "spread": {"mean": np.ones(G)},
        "discrepancy": {},
    } | kwargs
    return Uncertainty(len(hidden), mean, axes, size, 1 / noise, precision, **settings)


def regression():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(60, H)) * [1, 2, 0.5, 1] + [3.0, 0, -1, 5]
    return hidden, np.array([0.5, 1.0, 4.0]), np.array([0.1, 3.0, 20.0]), rng


def test_variance_of_the_output_layer_is_that_of_bayesian_linear_regression():
    """With a flat prior of the intercept at the mean of the hidden states."""
    hidden, noise, precision, rng = regression()
    in_bias, in_weights = rng.normal(size=G), rng.normal(size=(G, H))
    found = uncertainty_of(hidden, noise, precision).of_decoder(in_bias, in_weights)
    centre = hidden.mean(0)
    for g in range(G):
        # weights w and an intercept b at zero hidden state: w'h + b = w'(h - centre) + c
        design = np.c_[hidden, np.ones(len(hidden))]
        prior = np.zeros((H + 1, H + 1))
        prior[:H, :H] = precision[g] * np.eye(H)
        covariance = np.linalg.inv(design.T @ design / noise[g] + prior)
        gradient = np.r_[in_weights[g], in_bias[g]]
        assert found[g] == pytest.approx(gradient @ covariance @ gradient)
    assert (np.abs(centre) > 1).any()


def test_variance_of_a_difference_is_that_of_refitted_regressions():
    """As least squares have it over repeated data, where the prior is weak."""
    hidden, noise, _, rng = regression()
    here, there = rng.normal(size=H), rng.normal(size=H) + 2
    fitted = []
    for _ in range(4_000):
        y = rng.normal(size=len(hidden)) * noise[1] ** 0.5
        weights = np.linalg.lstsq(np.c_[hidden, np.ones(len(hidden))], y)[0]
        fitted.append((here - there) @ weights[:H])
    found = uncertainty_of(hidden, noise, np.full(G, 1e-9)).of_decoder(
        np.zeros(G), np.tile(here - there, (G, 1))
    )
    assert found[1] == pytest.approx(np.var(fitted), rel=0.1)
    np.testing.assert_allclose(found / noise, found[1] / noise[1])


def test_what_no_cell_shows_is_left_to_the_prior():
    hidden, noise, precision, _ = regression()
    hidden[:, 2] = 7.0  # the same in all cells
    unit = np.tile(np.eye(H)[2], (G, 1))
    found = uncertainty_of(hidden, noise, precision).of_decoder(np.zeros(G), unit)
    np.testing.assert_allclose(found, 1 / precision)


@pytest.mark.parametrize(("kappa", "gamma"), [(0.0, 0.0), (2.0, 0.0), (0.0, 0.3), (1.5, 0.1)])
def test_misfit_adds_to_both_parts_of_the_posterior(kappa, gamma):
    hidden, noise, precision, rng = regression()
    spread = np.array([1.0, 2.0, 5.0])
    uncertainty = uncertainty_of(
        hidden,
        noise,
        precision,
        misfit={"mean": np.array([kappa, gamma])},
        spread={"mean": spread},
        discrepancy={},
    )
    decoder = rng.gamma(1, size=(7, G))
    unmodelled, model = uncertainty.of_model("mean", decoder)
    assert unmodelled.shape == model.shape == (7, G)
    np.testing.assert_allclose(unmodelled, np.tile(gamma * spread, (7, 1)))
    np.testing.assert_allclose(model, decoder + kappa * decoder + gamma * spread)


def smoothed_screen(kappa, gamma, seed=0, n_conditions=400, n_genes=80):
    """Effects that cells show, and those of a Bayesian who believes in no misfit."""
    rng = np.random.default_rng(seed)
    shape = (n_conditions, n_genes)
    spread = rng.gamma(2, size=n_genes)
    n_cells = rng.integers(20, 200, size=(n_conditions, 1))
    error = spread / n_cells
    # prior variances of what the model has for masks and effects, and for its decoder
    of_effects = rng.gamma(1, 2.0, size=shape) * error
    of_decoder = rng.gamma(1, 0.5, size=shape) * error
    prior = of_effects + of_decoder
    truth = rng.normal(size=shape) * prior**0.5
    shown = truth + rng.normal(size=shape) * error**0.5
    share = prior / (prior + error)
    posterior = share * error
    known, decoder = (posterior * part / prior for part in (of_effects, of_decoder))
    # what the model cannot take up adds to what cells show
    misfit = rng.normal(size=shape) * np.sqrt(kappa * decoder + gamma * spread)
    return {
        "residual": shown + misfit - share * shown,
        "error": error,
        "expected_error": error,
        "known": known,
        "decoder": decoder,
        "spread": spread,
    }


@pytest.mark.parametrize(
    ("kappa", "gamma"),
    [(0.0, 0.0), (3.0, 0.0), (0.0, 0.02), (3.0, 0.02)],
    ids=["none", "kappa", "gamma", "both"],
)
def test_misfit_of_a_bayesian_smoother_is_recovered(kappa, gamma):
    """Its residuals vary less than sampling errors, by its posterior variance."""
    found = np.mean([fit_misfit(**smoothed_screen(kappa, gamma, seed)) for seed in range(5)], 0)
    assert found[0] == pytest.approx(kappa, abs=0.2)
    assert found[1] == pytest.approx(gamma, abs=6e-4)


def test_misfit_is_never_negative():
    screen = smoothed_screen(0.0, 0.0)
    screen["residual"] = screen["residual"] * 0.1
    np.testing.assert_array_equal(fit_misfit(**screen), 0)


def sparse_screen(gamma, library, n_cells=30, n_controls=500, n_conditions=60, n_genes=100):
    """Counts, most of them zero, whose mean logarithms differ by what no model knows."""
    rng = np.random.default_rng(0)
    share = np.exp(rng.normal(-5, 2, n_genes))
    share /= share.sum()

    def response(n):
        x = rng.poisson(library * share, size=(n, n_genes))
        return np.log2(1 + 1e4 * x / np.maximum(x.sum(1, keepdims=True), 1))

    controls, groups = response(n_controls), [response(n_cells) for _ in range(n_conditions)]
    variance = np.stack([group.var(0, ddof=1) for group in groups])
    shown = np.stack([group.mean(0) for group in groups]) - controls.mean(0)
    spread = controls.var(0, ddof=1)
    return {
        "residual": shown + rng.normal(size=shown.shape) * np.sqrt(gamma * spread),
        "error": variance / n_cells + spread / n_controls,
        "expected_error": np.tile(spread * (1 / n_cells + 1 / n_controls), (n_conditions, 1)),
        "known": np.zeros_like(shown),
        "decoder": rng.gamma(1, 1e-3, size=shown.shape) * spread,
        "spread": spread,
    }, (variance == 0).mean()


@pytest.mark.parametrize("library", [5, 50, 1_000])
@pytest.mark.parametrize("gamma", [0.0, 0.02])
def test_misfit_of_sparse_counts_is_recovered(gamma, library):
    """Also where groups of cells without a count show no variance at all."""
    screen, without_counts = sparse_screen(gamma, library)
    assert library > 50 or without_counts > 0.1
    assert fit_misfit(**screen)[1] == pytest.approx(gamma, abs=0.006)


def test_genes_that_never_vary_do_not_count():
    screen = smoothed_screen(3.0, 0.02)
    expected = fit_misfit(**screen)
    for key, value in screen.items():
        nothing = np.zeros(1) if key == "spread" else np.zeros((len(value), 1))
        screen[key] = np.concatenate([value, nothing], axis=-1)
    screen["residual"][:, -1] = 1e-3  # predicted all the same
    screen["decoder"][:, -1] = 1e-4
    np.testing.assert_allclose(fit_misfit(**screen), expected)
