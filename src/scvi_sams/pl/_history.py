"""How training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_sams._tables import wrong_type
from scvi_sams.data._names import as_tuple, listed, nearest
from scvi_sams.pl._figure import BLUE, SMALL, VERMILLION, finish, limits, panels, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TITLES = {
    "elbo": "−ELBO",
    "reconstruction_loss": "Reconstruction",
    "kl_local": "KL divergence",
}


def training_history(
    model: Any,
    *,
    metrics: str | Sequence[str] = ("elbo", "reconstruction_loss", "kl_local"),
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure:
    """Draw the losses of training and validation cells, epoch by epoch.

    The first tenth of the epochs may leave the axes at the top, as it dwarfs the rest. Two lines
    stand for the epoch from which the masks were free (of models that start dense), and for the
    one with the lowest validation loss from there on, whose weights early stopping keeps.

    Parameters
    ----------
    model
        A trained model.
    metrics
        What to draw, one panel each: names of ``model.history`` without ``_train`` and
        ``_validation``.
    ax
        Axes to draw a single metric on; a new figure by default.
    show, save, return_fig
        Whether to show the figure, a file to save it in, and whether to return it.

    Returns
    -------
    The axes of the metric, a list of them for several metrics, or the figure.

    Raises
    ------
    TypeError
        If ``model`` is none.
    ValueError
        If the model is not trained, or a metric is not in its history.
    """
    if not hasattr(model, "history"):
        raise wrong_type(model, "model", "a trained model")
    history: Mapping[str, pd.DataFrame] = model.history or {}
    curves = {name: _curve(frame) for name, frame in history.items()}
    curves = {name: curve for name, curve in curves.items() if len(curve)}
    if not curves:
        raise ValueError("The model has no history; train it first.")
    asked = as_tuple(metrics)
    known = dict.fromkeys(name.removesuffix("_train") for name in curves if "_train" in name)
    unknown = [name for name in asked if name not in known]
    if unknown or not asked:
        hint = nearest(unknown[0], known) if unknown else ""
        raise ValueError(
            f"The history has no metric {listed(unknown)}{hint}; it has {listed(known, 20)}."
        )
    axes = panels(len(asked), 4.8 if len(asked) == 1 else 4.0, 3.2, ax=ax)
    free, best = _events(curves)
    for panel, metric in zip(axes, asked, strict=True):
        drawn = []
        for part, colour in (("train", BLUE), ("validation", VERMILLION)):
            curve = curves.get(f"{metric}_{part}", pd.Series(dtype=float))
            if len(curve):
                # a single epoch is a point
                marker = "o" if len(curve) == 1 else None
                panel.plot(curve.index, curve, color=colour, label=part, lw=1.2, marker=marker)
                drawn.append(curve.iloc[len(curve) // 10 :])
        if free is not None:
            panel.axvline(free, color="0.5", linestyle=":", lw=1, label="masks set free")
        if best is not None:
            panel.axvline(best, color="0.2", linestyle="--", lw=1, label=f"best epoch ({best})")
        panel.set(
            xlabel="epoch",
            ylabel="nats per cell",
            ylim=limits(*drawn),
            title=_TITLES.get(metric, metric.replace("_", " ")),
        )
        tidy(panel)
    axes[-1].legend(frameon=False, fontsize=SMALL, loc="upper left", bbox_to_anchor=(1, 1))
    return finish(axes, show, save, return_fig)


def _curve(frame: pd.DataFrame | pd.Series) -> pd.Series:
    """Values of the epochs that have one."""
    column = frame.iloc[:, 0] if isinstance(frame, pd.DataFrame) else frame
    return pd.to_numeric(column).dropna()


def _events(curves: Mapping[str, pd.Series]) -> tuple[int | None, int | None]:
    """Epoch from which masks are free, and the best one from there on, so far as there are any."""
    validation, masks = curves.get("elbo_validation"), curves.get("kl_mask_validation")
    if validation is None:
        return None, None
    is_free = pd.Series(dtype=bool) if masks is None else masks > 0
    # masks that are free from the start, or never, make no line
    free = int(is_free.idxmax()) if is_free.any() and not is_free.iloc[0] else None
    return free, int(validation[validation.index >= (free or 0)].idxmin())
