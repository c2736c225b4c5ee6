r"""Log likelihood of cells from hidden states, with its gradient in the same pass.

.. math::
    \log p(x_i | h_i) = \sum_g f(x_{ig}, y_{ig}, \phi_g), \qquad y_i = W h_i + b

for hidden states :math:`h_i` and parameters :math:`\phi_g` of genes. What f does to an array of
particles × cells × genes takes longer than the matrix product before it, if every step of it goes
through the whole array. Here some cells at a time are taken through all steps, so that what lies
between stays in the cache; the derivatives of f are left where y was, and the gradients are then
matrix products too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

Grads: TypeAlias = tuple[torch.Tensor, ...]
# Of counts (B x G), log libraries (B x 1) and parameters, each P x B x G or G: the sum over
# genes (P x B), and what gives its derivatives by the parameters (each P x B x G).
Kernel: TypeAlias = Callable[..., tuple[torch.Tensor, Callable[[], Grads]]]

_AT_ONCE = {"cpu": 2**17, "cuda": 2**24}  # elements: what a core's cache holds, what fills a GPU


def fused_log_likelihood(
    kernel: Kernel,
    x: torch.Tensor,
    log_library: torch.Tensor,
    hidden: torch.Tensor,
    heads: Sequence[torch.nn.Linear],
    of_genes: Sequence[torch.Tensor] = (),
) -> torch.Tensor:
    """Log likelihood of each cell, of shape P x B, or B for hidden states without particles.

    Parameters
    ----------
    kernel
        What is done with each cell.
    x
        Observed values, of shape B x G.
    log_library
        Logarithms of library sizes, of shape B x 1.
    hidden
        Hidden states, of shape P x B x H or B x H.
    heads
        Linear layers from hidden states to the first parameters of the kernel.
    of_genes
        The other parameters of the kernel, each of shape G.
    """
    tensors = [tensor for head in heads for tensor in (head.weight, head.bias)]
    particles = hidden.unsqueeze(0) if hidden.ndim == 2 else hidden  # P x B x H
    found = _FusedLogLikelihood.apply(
        kernel, torch.is_grad_enabled(), len(heads), x, log_library, particles, *tensors, *of_genes
    )
    return found.squeeze(0) if hidden.ndim == 2 else found


class _FusedLogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        kernel: Kernel,
        is_grad_enabled: bool,  # which it never is in here
        n_heads: int,
        x: torch.Tensor,
        log_library: torch.Tensor,
        hidden: torch.Tensor,
        *tensors: torch.Tensor,
    ) -> torch.Tensor:
        weights, biases = tensors[: 2 * n_heads : 2], tensors[1 : 2 * n_heads : 2]
        of_genes = tensors[2 * n_heads :]
        products = [
            F.linear(hidden, weight, bias) for weight, bias in zip(weights, biases, strict=True)
        ]
        ctx.dtype = products[0].dtype  # autocast's, if that is on
        # each P x B x G: parameters at first, and derivatives in the end
        slopes = [product.to(weights[0].dtype) for product in products]
        del products
        has_gradient = is_grad_enabled and any(ctx.needs_input_grad)
        if has_gradient:
            slopes += [torch.empty_like(slopes[0]) for _ in of_genes]
        n_particles, n_cells, n_genes = slopes[0].shape
        found = slopes[0].new_empty(n_particles, n_cells)
        at_once = _AT_ONCE.get(x.device.type, _AT_ONCE["cuda"])
        step = max(at_once // (n_particles * n_genes), 1)
        # sums over genes are in the precision of the parameters
        with torch.autocast(x.device.type, enabled=False):
            for start in range(0, n_cells, step):
                some = slice(start, start + step)
                parameters = [each[:, some] for each in slopes[:n_heads]]
                found[:, some], derivatives = kernel(
                    x[some], log_library[some], *parameters, *of_genes
                )
                if has_gradient:
                    for slope, derivative in zip(slopes, derivatives(), strict=True):
                        slope[:, some] = derivative
        if has_gradient:
            ctx.n_heads = n_heads
            ctx.save_for_backward(hidden, *weights, *slopes)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, *rest = ctx.saved_tensors
        weights, slopes = rest[: ctx.n_heads], rest[ctx.n_heads :]
        rows = upstream.reshape(-1, 1)  # PB x 1, which scales what is small
        scaled = (rows * hidden.flatten(0, 1)).to(ctx.dtype)  # PB x H
        to_hidden = torch.zeros_like(hidden.flatten(0, 1))
        of_tensors: list[torch.Tensor] = []
        for weight, slope in zip(weights, slopes, strict=False):
            flat = slope.flatten(0, 1)  # PB x G
            product = flat.to(ctx.dtype)
            to_hidden += rows * (product @ weight.to(ctx.dtype))
            of_tensors += [(product.T @ scaled).to(weight), (flat.T @ rows).squeeze(-1)]
        of_tensors += [
            (slope.flatten(0, 1).T @ rows).squeeze(-1) for slope in slopes[ctx.n_heads :]
        ]
        return None, None, None, None, None, to_hidden.view_as(hidden), *of_tensors
