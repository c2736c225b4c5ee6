"""Arguments of training that are checked before anything is done."""

from __future__ import annotations

from numbers import Real

from scvi_sams.module._numbers import check_whole


def check_lengths(
    batch_size: int,
    max_epochs: int | None,
    early_stopping_patience: int | None,
    gradient_clip_val: float | None,
) -> None:
    """Check numbers of cells and epochs, and the largest norm of a gradient.

    Raises
    ------
    ValueError
        If a number of cells or epochs is no integer above zero, or the norm is no number of at
        least 0.
    """
    check_whole(batch_size, "batch_size", least=1)
    for name, value in [
        ("max_epochs", max_epochs),
        ("early_stopping_patience", early_stopping_patience),
    ]:
        if value is not None:
            check_whole(value, name, least=1)
    if gradient_clip_val is None:
        return
    is_real = isinstance(gradient_clip_val, Real) and not isinstance(gradient_clip_val, bool)
    if not (is_real and gradient_clip_val >= 0):  # nor NaN
        raise ValueError(
            "`gradient_clip_val` must be a number of at least 0, or None for no limit; it is "
            f"{gradient_clip_val!r}."
        )
