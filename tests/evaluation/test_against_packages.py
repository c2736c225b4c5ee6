"""Metrics against packages that compute them too: cell-eval with its pdex, and pertpy.

Both are tools of the tests alone; what needs one of them is skipped where it is missing.
"""

import anndata as ad
import numba
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.spatial.distance import pdist
from scipy.stats import false_discovery_control, norm, pearsonr

from scvi_sams.evaluation._differential import _threads_as_found
from scvi_sams.evaluation._differential import tested as wilcoxon
from scvi_sams.metrics import (
    cosine_delta,
    de_agreement,
    energy_distance,
    mae,
    mmd,
    pearson_delta,
    r2,
    rank_of_predictions,
    rank_of_truths,
    rmse,
)

pytestmark = [
    # what the packages say of their own dependencies
    pytest.mark.filterwarnings("ignore:the string cache has been replaced:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:JAXopt is no longer maintained:DeprecationWarning"),
]

N_GENES, N_CELLS = 40, 60
GENES = np.array([f"gene{g}" for g in range(N_GENES)])
TARGETS = sorted(GENES[:8])  # each perturbation has the name of a gene, as in CRISPR screens


def cells(seed: int, changes) -> ad.AnnData:
    """Counts whose logs change as given, targets × genes, and those of control, log-normalised."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(["control", *TARGETS], N_CELLS)
    shift = np.vstack([np.zeros(N_GENES), changes]).repeat(N_CELLS, axis=0)
    depth = rng.lognormal(sigma=0.3, size=(len(labels), 1))
    counts = rng.poisson(4 * depth * np.exp(shift))
    x = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 100)
    obs = pd.DataFrame({"perturbation": labels}, index=[f"cell{i}" for i in range(len(labels))])
    return ad.AnnData(sparse.csr_matrix(x), obs, pd.DataFrame(index=GENES))


@pytest.fixture(scope="module")
def screens():
    """Predicted and observed cells; half of the genes that are predicted to change do.

    Of these, a fifth go the other way.
    """
    rng = np.random.default_rng(0)
    changes = rng.choice([-0.6, 0.6], size=(len(TARGETS), N_GENES))
    order = rng.random(changes.shape).argsort(axis=1)
    sign = np.where(rng.random(changes.shape) < 0.2, -1, 1)
    return cells(1, changes * sign * (order < 20)), cells(2, changes * (order < 10))


def of(screen: ad.AnnData, name: str):
    return screen[screen.obs["perturbation"] == name].X.toarray()


def profiles(screen: ad.AnnData):
    return np.vstack([of(screen, name).mean(axis=0) for name in TARGETS])


def control_of(screen: ad.AnnData):
    return of(screen, "control").mean(axis=0)


def bias(a, b, value=np.asarray) -> float:
    """How much larger V-statistics are, which count the 0 of each cell and itself as a pair."""
    return sum(value(pdist(c)).mean() / len(c) for c in (a, b))


@pytest.fixture(scope="module")
def cell_eval():
    with pytest.MonkeyPatch.context() as patch:
        # compiling pdex takes many times as long as testing these few cells without
        patch.setattr(numba.config, "DISABLE_JIT", True)
        pytest.importorskip("pdex", reason="cell-eval, which brings pdex, is not installed")
    return pytest.importorskip("cell_eval", reason="cell-eval is not installed")


@pytest.fixture(scope="module")
def compute(cell_eval):
    """A metric of cell-eval by its name, one value per perturbation where there are more."""

    def computed(name, predicted, observed, **arguments):
        pair = cell_eval.PerturbationAnndataPair(
            real=observed, pred=predicted, pert_col="perturbation", control_pert="control"
        )
        scores = cell_eval.metrics_registry.compute(name, pair, arguments)
        return [scores[key] for key in TARGETS] if isinstance(scores, dict) else scores

    return computed


@pytest.mark.parametrize("name", ["mae", "mse", "mae_delta", "mse_delta", "pearson_delta"])
def test_profiles_score_as_in_cell_eval(compute, screens, name):
    predicted, observed = map(profiles, screens)
    own_control, control = map(control_of, screens)
    if name.endswith("delta"):
        # cell-eval subtracts predicted controls from predictions, we the observed from both
        predicted = predicted - own_control + control
    scores = {
        "mae": mae(predicted, observed),
        "mse": rmse(predicted, observed) ** 2,
        "pearson": pearson_delta(predicted, observed, reference=control),
    }
    np.testing.assert_allclose(compute(name, *screens), scores[name.removesuffix("_delta")])


@pytest.mark.parametrize("excluding", [True, False], ids=["without-target", "all-genes"])
@pytest.mark.parametrize(("metric", "theirs"), [("euclidean", "l2"), ("cosine", "cosine")])
def test_ranks_are_discrimination_scores_of_cell_eval(compute, metric, theirs, excluding):
    # Its score is 1 - place / n and our rank place / (n - 1), with n perturbations and the place
    # of the own truth, from 0, among all by their distance to a prediction. By default it sums
    # absolute differences, which is no metric of our ranks.
    rng = np.random.default_rng(0)
    # predictions that have nothing to do with truths, so that they take all places
    effects = rng.normal(scale=0.6, size=(2, len(TARGETS), N_GENES))
    predicted, observed = (cells(seed, changes) for seed, changes in enumerate(effects))
    changes = [profiles(screen) - control_of(screen) for screen in (predicted, observed)]
    exclude = (np.array(TARGETS)[:, None] == GENES) & excluding
    n = len(TARGETS)
    # exchanging predictions and truths transposes the question
    for rank, pair in (
        (rank_of_truths, (predicted, observed)),
        (rank_of_predictions, (observed, predicted)),
    ):
        scores = compute(f"discrimination_score_{theirs}", *pair, exclude_target_gene=excluding)
        found = rank(*changes, metric=metric, exclude=exclude)
        np.testing.assert_allclose(found, (1 - np.array(scores)) * n / (n - 1), atol=1e-12)
        assert np.ptp(found) > 0.5


def test_energy_distances_correlate_as_in_cell_eval(compute, screens):
    # of V-statistics from control, predicted with observed
    distances = [
        [
            energy_distance(of(screen, name), of(screen, "control"))
            + bias(of(screen, name), of(screen, "control"))
            for name in TARGETS
        ]
        for screen in screens
    ]
    expected = pearsonr(*distances).statistic
    assert compute("pearson_edistance", *screens) == pytest.approx(expected)


@pytest.fixture(scope="module")
def tables(cell_eval, screens):
    """Differential expression by pdex, predicted and observed."""
    from pdex import pdex

    def table(screen):
        found = pdex(
            screen, "perturbation", reference="control", is_log1p=True, threads=1, as_pandas=True
        )
        # pdex corrects for continuity, moving U by 1/2 towards its mean; our test does not
        off = found["statistic"] - N_CELLS**2 / 2
        factor = (off / (off.abs() - 0.5)).where(off.abs() > 0.5, 0)
        found["z"] = norm.isf(found["p_value"] / 2) * factor
        found["p_value"] = 2 * norm.sf(found["z"].abs())
        found["fdr"] = found.groupby("target")["p_value"].transform(false_discovery_control)
        # its log fold changes are of exp(mean of logs) - 1, ours differences of means of logs
        found["log2_fold_change"] = np.log1p(found["target_mean"]) - np.log1p(found["ref_mean"])
        return found

    n_threads = numba.get_num_threads()
    with _threads_as_found():
        predicted, observed = map(table, screens)
    numba.set_num_threads(n_threads)
    return predicted, observed


@pytest.fixture
def compare(cell_eval, tables):
    """A comparison of these tables by its name in cell-eval, one value per perturbation."""
    import polars as pl

    predicted, observed = map(pl.from_pandas, tables)
    comparison = cell_eval.initialize_de_comparison(observed, predicted)

    def compared(name, **arguments):
        scores = cell_eval.metrics_registry.compute(name, comparison, arguments)
        return [scores[key] for key in TARGETS]

    return compared


def n_significant(table: pd.DataFrame) -> pd.Series:
    return (table["fdr"] < 0.05).groupby(table["target"]).sum()[TARGETS]


def test_genes_are_tested_as_in_pdex(tables, screens):
    for table, screen in zip(tables, screens, strict=True):
        for name, expected in table.groupby("target"):
            found = wilcoxon(of(screen, name), of(screen, "control"))
            # scanpy's z are of single precision; U near its mean is lost to the correction
            is_off = expected["z"].abs() > 0.01
            np.testing.assert_allclose(found.z[is_off], expected["z"][is_off], rtol=1e-5)
            np.testing.assert_array_equal(found.is_significant, expected["fdr"] <= 0.05)
            np.testing.assert_allclose(found.difference, expected["log2_fold_change"], atol=1e-12)


def agreement(screens, n_genes: int) -> pd.DataFrame:
    return de_agreement(
        *screens, perturbation_key="perturbation", control="control", n_genes=n_genes
    )


def test_differential_expression_agrees_as_in_cell_eval(compare, tables, screens):
    n_predicted, n_observed = map(n_significant, tables)
    # The top genes of cell-eval are significant ones, predicted ones too, while ours are as many
    # as asked for. All lists are the same if these are the significant predicted genes, and no
    # fewer than the significant observed ones.
    assert (n_predicted >= n_observed).all()
    found = pd.DataFrame([agreement(screens, n).loc[name] for name, n in n_predicted.items()])
    names = {
        "recall": "de_sig_genes_recall",
        "precision": "precision_at_N",
        "direction": "de_direction_match",
        "spearman": "de_spearman_lfc_sig",
    }
    for part, name in names.items():
        np.testing.assert_allclose(found[part], compare(name))
    assert found["recall"].between(0.3, 1).all()


@pytest.mark.parametrize("k", [3, 6])
def test_recall_is_the_overlap_of_cell_eval(cell_eval, compare, tables, screens, k):
    assert min(n_significant(table).min() for table in tables) >= k
    # by default it sorts by log fold change, not by the test
    overlap = compare("overlap_at_N", k=k, sort_by=cell_eval.DESortBy.PVALUE)
    np.testing.assert_allclose(agreement(screens, k)["recall"], overlap)


@pytest.fixture(scope="module")
def distance():
    """A distance of pertpy by its name, between two sets of cells."""
    # pertpy 1.0.3 cannot be imported beside statsmodels 0.15
    pertpy = pytest.importorskip(
        "pertpy", reason="pertpy is not installed, or not importable", exc_type=ImportError
    )
    return lambda name, a, b, **given: pertpy.tools.Distance(metric=name)(a, b, **given)


@pytest.fixture
def sets(screens):
    """Predicted and observed cells of one perturbation, of two sizes."""
    predicted, observed = (of(screen, TARGETS[0]) for screen in screens)
    return predicted[:-15], observed


def test_energy_distance_is_that_of_pertpy_but_for_its_bias(distance, sets):
    expected = distance("edistance", *sets)
    assert energy_distance(*sets) == pytest.approx(expected - bias(*sets))


def test_mmd_is_that_of_pertpy_but_for_its_bias(distance, sets):
    gamma = 0.02
    expected = distance("mmd", *sets, kernel="rbf", gamma=gamma)
    # the kernel of a cell and itself is 1
    excess = bias(*sets, lambda d: 1 - np.exp(-gamma * d**2))
    assert mmd(*sets, gamma=gamma) == pytest.approx(expected - excess)


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        pytest.param("mean_absolute_error", mae, id="mae"),
        pytest.param("mse", lambda x, y: rmse(x, y) ** 2, id="mse"),
        # its root mean squared error is the Euclidean distance, not divided by genes
        pytest.param("root_mean_squared_error", lambda x, y: rmse(x, y) * N_GENES**0.5, id="rmse"),
        pytest.param("r2_distance", lambda x, y: 1 - r2(x, y), id="r2"),
    ],
)
def test_profiles_score_as_in_pertpy(distance, sets, name, metric):
    predicted, observed = sets
    # its R2 takes the first as truth
    expected = distance(name, observed, predicted)
    assert metric(*(c.mean(axis=0)[None] for c in sets)) == pytest.approx(expected)


@pytest.mark.parametrize("metric", [pearson_delta, cosine_delta])
def test_changes_score_as_in_pertpy(distance, sets, screens, metric):
    control = control_of(screens[1])
    name = metric.__name__.replace("delta", "distance")
    expected = 1 - distance(name, *(c - control for c in sets))
    found = metric(*(c.mean(axis=0)[None] for c in sets), reference=control)
    assert found == pytest.approx(expected)
