"""What a trained model is asked is answered for what was asked, or refused."""

import anndata as ad
import numpy as np
from hypothesis import strategies as st

from tests.fuzz.harness import SETUP, ask, fuzzed
from tests.fuzz.questions import GENES, KNOWN, queries, questions, requests, tiny_model

GIVEN = ["doses", "label", "batch", "condition", "perturbation", "genes"]
OF_PREDICT = requests(
    n_cells=([1, 3, np.int64(2)], [0, -1, 1.5, "3"]),
    kind=(["counts", "mean"], ["median", None]),
)
OF_EFFECTS = requests(
    n_samples=([4, 5, 10], [3, 0, 4.5, "4"]),
    credible_mass=([0.5, 0.95], [0, 1, -1.0, np.nan, "0.9"]),
    basal=(["prior", "control_cells"], ["posterior", None]),
    normalization=(["mean", "log2_cp10k", None], ["log"]),
)


def n_settings(asked):
    values = (asked.get("covariates") or {}).get("batch", "x")
    return 1 if isinstance(values, str) else len(values)


@fuzzed("predict", st.tuples(questions(), OF_PREDICT), ci=40, nightly=600)
def test_predicted_cells_are_of_the_conditions_asked_for(case):
    question, (asked, is_sound) = case
    model = tiny_model()
    answer = ask(
        lambda: model.predict(question.perturbations, doses=question.doses, **asked),
        {"data": model.adata},
        given=GIVEN,
    )
    expected = is_sound and question.received is not None
    assert expected == (answer.refusal is None), answer.refusal
    if answer.refusal is None:
        cells, n = answer.value, asked.get("n_cells", 500)
        labels = np.repeat([str(label) for label in question.perturbations], n).tolist()
        assert list(cells.obs["perturbation"]) == labels * n_settings(asked)
        assert list(cells.var_names) == GENES
        x = cells.X.toarray() if asked.get("kind", "counts") == "counts" else cells.X
        assert np.isfinite(x).all()
        assert (x >= 0).all()
        assert asked.get("kind") == "mean" or (x == np.round(x)).all()
        if asked.get("kind") == "mean" and len(question.perturbations) > 1:
            # each is answered as if it were asked alone
            for number, label in enumerate(question.perturbations):
                doses = None if question.doses is None else question.doses[number]
                alone = model.predict(label, doses=doses, **asked)
                of_it = np.arange(len(labels)) // n == number
                of_it = np.tile(of_it, n_settings(asked))
                np.testing.assert_allclose(alone.X, cells.X[of_it], rtol=1e-5)
        if len(question.perturbations) == 1:
            # the order of parts, and controls among them, say nothing; nor does asking again
            (received,) = question.received
            again = "+".join(sorted(received, reverse=True)) or "control"
            doses = "+".join(str(received[name]) for name in sorted(received, reverse=True))
            same = model.predict(again, doses=doses or None, **asked).X
            np.testing.assert_array_equal(
                same.toarray() if same is not x and hasattr(same, "toarray") else same, x
            )
    return answer


@fuzzed("get_average_treatment_effects", st.tuples(questions(), OF_EFFECTS), ci=25, nightly=400)
def test_effects_are_of_the_conditions_asked_for(case):
    question, (asked, is_sound) = case
    model = tiny_model()
    asked = {"n_samples": 10} | asked
    answer = ask(
        lambda: model.get_average_treatment_effects(
            question.perturbations, doses=question.doses, **asked
        ),
        {"data": model.adata},
        given=GIVEN,
    )
    expected = is_sound and question.received is not None
    assert expected == (answer.refusal is None), answer.refusal
    if answer.refusal is None:
        ate = answer.value
        labels = [str(label) for label in question.perturbations] * n_settings(asked)
        assert list(ate.obs["perturbation"]) == labels
        assert ate.obs_names.is_unique or n_settings(asked) > 1
        layers = {name: np.asarray(layer) for name, layer in ate.layers.items() if name}
        for values in (ate.X, *layers.values()):
            assert np.isfinite(values).all()
        tolerance = 1e-5 * (1 + np.abs(ate.X))
        assert (layers["lower"] <= layers["upper"]).all()
        assert (layers["sd"] >= 0).all()
        assert ((layers["lfsr"] >= 0) & (layers["lfsr"] <= 1)).all()
        for number, label in enumerate(question.perturbations):
            doses = None if question.doses is None else question.doses[number]
            alone = model.get_average_treatment_effects(label, doses=doses, **asked)
            of_it = np.arange(len(labels)) % len(question.perturbations) == number
            np.testing.assert_allclose(alone.X, ate.X[of_it], rtol=1e-4, atol=1e-5)
            for other, row in enumerate(question.received[:number]):
                received = question.received[number]
                given = [{k: v for k, v in one.items() if v} for one in (row, received)]
                # softmax of huge doses may tie
                if given[0] != given[1] and max([0, *row.values(), *received.values()]) <= 2:
                    assert (ate.X[other] != ate.X[number]).any()
        nothing = [not any(row.values()) for row in question.received] * n_settings(asked)
        assert (np.abs(ate.X[nothing]) <= tolerance[nothing]).all()
    return answer


@fuzzed("get_latent_representation of a query", queries(), ci=40, nightly=600)
def test_states_of_a_query_are_those_of_its_values_and_names(query):
    model = tiny_model()
    answer = ask(
        lambda: model.get_latent_representation(query.adata),
        {"query": query.adata, "data": model.adata},
        given=GIVEN,
        additions=SETUP,
    )
    assert query.is_sound == (answer.refusal is None), answer.refusal
    if answer.refusal is None:
        z = answer.value
        assert z.shape == (query.adata.n_obs, 2)
        assert np.isfinite(z).all()
        # the same cells in the plainest form, with their labels as a matrix of one more column
        plain = ad.AnnData(query.counts.astype(np.float32))
        plain.obs_names, plain.var_names = query.adata.obs_names, GENES
        plain.obs["batch"] = query.adata.obs["batch"].to_numpy()
        plain.obs["label"] = [
            "+".join(part for part in sorted(map(str.strip, label.split("+"))) if part in KNOWN)
            or "control"
            for label in query.adata.obs["label"].astype(str)
        ]
        rows = np.arange(plain.n_obs)[::-1]
        alone = model.get_latent_representation(plain[rows].copy())[rows]
        np.testing.assert_allclose(alone, z, rtol=1e-4, atol=1e-5)
    return answer
