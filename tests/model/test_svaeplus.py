"""SVAE+: one perturbation per cell."""

import numpy as np
import pytest
from mudata import MuData

import scvi_sams as sams
from tests.conftest import SMALL, dosages_of, trained
from tests.model.helpers import assert_unchanged, snapshot

LABELS = {"perturbation_key": "perturbation", "control": "control", "batch_key": "batch"}
REFUSED = r"gives \d+ cell\(s\) several perturbations, first {}.*`delimiter=None`"


def combinations_of(adata):
    return adata.obs_names[adata.obs["perturbation"].str.contains("+", regex=False)]


def quoted(names):
    return ", ".join(f"'{name}'" for name in names[:3])


def test_combinations_are_refused_at_setup_by_the_names_of_their_cells(screen):
    before = snapshot(screen)
    message = REFUSED.format(quoted(combinations_of(screen)))
    with pytest.raises(ValueError, match=message):
        sams.SVAEPlus.setup_anndata(screen, **LABELS)
    assert_unchanged(screen, before)


def test_combinations_in_a_matrix_are_refused_too(plain_screen):
    plain_screen.obsm["guides"] = dosages_of(plain_screen)
    before = snapshot(plain_screen)
    with pytest.raises(ValueError, match=REFUSED.format(quoted(combinations_of(plain_screen)))):
        sams.SVAEPlus.setup_anndata(plain_screen, perturbation_obsm_key="guides")
    assert_unchanged(plain_screen, before)


def test_combinations_in_a_mudata_are_refused_too(plain_screen):
    mdata = MuData({"rna": plain_screen})
    mdata.obs["perturbation"] = plain_screen.obs["perturbation"].astype(str)
    before = sorted(mdata.obsm), sorted(mdata.mod["rna"].obsm)
    with pytest.raises(ValueError, match="several perturbations"):
        sams.SVAEPlus.setup_mudata(
            mdata,
            perturbation_key="perturbation",
            control="control",
            modalities={"rna_layer": "rna"},
        )
    assert (sorted(mdata.obsm), sorted(mdata.mod["rna"].obsm)) == before


def test_other_models_still_take_combinations(plain_screen):
    for cls in (sams.SAMSVAE, sams.CPAVAE, sams.ConditionalVAE):
        cls.setup_anndata(plain_screen, **LABELS)
        assert plain_screen.obsm["perturbations"].sum(1).max() == 2


def test_without_a_delimiter_combinations_are_perturbations_of_their_own(screen):
    model = trained(screen, cls=sams.SVAEPlus)
    combinations = {name for name in model.perturbation_names if "+" in name}
    labels = set(screen.obs["perturbation"].astype(str))
    assert combinations == {label for label in labels if "+" in label}
    ate = model.get_average_treatment_effects(sorted(combinations), n_samples=20)
    assert list(ate.obs_names) == sorted(combinations)
    with pytest.raises(ValueError, match="does not know"):
        model.get_average_treatment_effects("pert_0+nothing")


def test_query_with_combinations_is_refused_and_left_alone(plain_screen):
    singles = plain_screen[~plain_screen.obs_names.isin(combinations_of(plain_screen))].copy()
    model = trained(singles, cls=sams.SVAEPlus, setup={"delimiter": "+"})
    query = plain_screen.copy()
    before = snapshot(query)
    with pytest.raises(ValueError, match=REFUSED.format(quoted(combinations_of(query)))):
        model.get_latent_representation(query)
    assert_unchanged(query, before)
    assert np.isfinite(model.get_latent_representation(singles[:9].copy())).all()


def test_cell_of_one_perturbation_and_a_control_is_taken(plain_screen):
    labels = plain_screen.obs["perturbation"].astype(str).replace(r"\+.*", "", regex=True)
    plain_screen.obs["perturbation"] = np.where(labels == "pert_1", "pert_1+control", labels)
    sams.SVAEPlus.setup_anndata(plain_screen, **LABELS)
    assert plain_screen.obsm["perturbations"].sum(1).max() == 1


def test_guide_of_the_state_does_not_know_the_perturbation(plain_screen):
    model = trained(plain_screen, cls=sams.SVAEPlus)
    model.module.perturbations.effects.relative_loc.data.normal_(std=3)
    other = plain_screen.copy()
    # the same counts, other labels
    other.obs["perturbation"] = np.roll(plain_screen.obs["perturbation"].astype(str), 31)
    state, relabelled = (model.get_latent_representation(adata) for adata in (plain_screen, other))
    np.testing.assert_allclose(state, relabelled, atol=1e-5)
    basal, relabelled = (
        model.get_latent_representation(adata, kind="basal") for adata in (plain_screen, other)
    )
    assert not np.allclose(basal, relabelled, atol=0.1)


def test_effects_are_points(plain_screen):
    effects = trained(plain_screen, cls=sams.SVAEPlus).get_perturbation_effects()
    np.testing.assert_allclose(effects.layers["effect_sd"], 0, atol=1e-6)
    assert (effects.layers["effect_mean"] != 0).all()
    q = effects.layers["inclusion_probability"]
    np.testing.assert_allclose(effects.X, q * effects.layers["effect_mean"], rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        pytest.param({}, "BetaPointInclusion", id="default"),
        pytest.param({"inclusion_posterior": "beta"}, "BetaInclusion", id="beta"),
        pytest.param({"mask_prior": 0.2}, "FixedInclusion", id="known"),
    ],
)
def test_prior_of_the_masks_can_be_chosen(plain_screen, settings, kind):
    model = trained(plain_screen, cls=sams.SVAEPlus, **settings)
    assert type(model.module.perturbations.masks.prior).__name__ == kind
    assert np.isfinite(model.get_elbo().item())


def test_point_posterior_needs_a_bounded_density(plain_screen):
    sams.SVAEPlus.setup_anndata(plain_screen, **LABELS | {"delimiter": None})
    with pytest.raises(ValueError, match="at least 1"):
        sams.SVAEPlus(plain_screen, mask_prior=("beta", 0.5, 2.0), **SMALL)
