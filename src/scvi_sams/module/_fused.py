r"""Log likelihood of cells from hidden states, with its own gradient.

.. math::
    \log p(x_i | h_i) = \sum_g f(x_{ig}, y_{ig}, \phi_g), \qquad y_i = W h_i + b

for hidden states :math:`h_i` and parameters :math:`\phi_g` of genes. What f does to an array of
particles × cells × genes takes longer than the matrix product before it, if every step of it goes
through the whole array. Here some cells at a time are taken through all steps, so that what lies
between stays in the cache, and of arrays of that size one per layer is kept for the gradient:
forward leaves in the place of y what the derivatives follow from. In them the particles of a cell
are neighbours, as they share what depends on x alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

Grads: TypeAlias = tuple[torch.Tensor, ...]

_AT_ONCE = {"cpu": 2**18, "cuda": 2**24}  # elements: what a CPU's cache holds, what fills a GPU
BACKWARD_ROWS = 1280  # particles × cells of a product: with fewer it takes longer per row


class Kernel(Protocol):
    """What is done with a cell: f, and its derivatives, of as many parameters as a kernel has.

    Both take counts (B x 1 x G), log libraries (B x 1 x 1), parameters of heads (each B x P x G)
    and parameters of genes (each of shape G).
    """

    @property
    def value(self) -> Callable[..., torch.Tensor]:
        """Sum of f over genes, B x P.

        In the place of the parameters of heads it may leave what the derivatives need.
        """

    @property
    def derivatives(self) -> Callable[..., Grads]:
        """Derivatives of f by the parameters, each B x P x G, from what :meth:`value` left.

        That by the first parameter is written to an array which comes before the other
        arguments; those by the others are returned.
        """


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
        kernel, len(heads), x, log_library, particles, *tensors, *of_genes
    )
    return found.squeeze(0) if hidden.ndim == 2 else found


class _FusedLogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        kernel: Kernel,
        n_heads: int,
        x: torch.Tensor,
        log_library: torch.Tensor,
        hidden: torch.Tensor,
        *tensors: torch.Tensor,
    ) -> torch.Tensor:
        weights, biases = tensors[: 2 * n_heads : 2], tensors[1 : 2 * n_heads : 2]
        of_genes = tensors[2 * n_heads :]
        of_cells = hidden.transpose(0, 1).contiguous()  # B x P x H
        left = []  # B x P x G
        for weight, bias in zip(weights, biases, strict=True):
            product = F.linear(of_cells, weight, bias)
            ctx.dtype = product.dtype  # autocast's, if that is on
            left.append(product.to(weight.dtype))
        del product
        x, log_library = x.unsqueeze(1), log_library.unsqueeze(1)
        found = left[0].new_empty(left[0].shape[:2])  # B x P
        # sums over genes are in the precision of the parameters
        with torch.autocast(x.device.type, enabled=False):
            for some in _split(slice(0, len(x)), _at_once(left[0])):
                parameters = [each[some] for each in left]  # b x P x G
                found[some] = kernel.value(x[some], log_library[some], *parameters, *of_genes)
        ctx.kernel, ctx.n_heads, ctx.n_of_genes = kernel, n_heads, len(of_genes)
        ctx.save_for_backward(x, log_library, of_cells, *weights, *of_genes, *left)
        return found.T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        with torch.autocast(upstream.device.type, enabled=False):  # ctx.dtype says what is cast
            return _FusedLogLikelihood._backward(ctx, upstream)

    @staticmethod
    def _backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, log_library, hidden, *rest = ctx.saved_tensors
        weights, rest = rest[: ctx.n_heads], rest[ctx.n_heads :]
        of_genes, left = rest[: ctx.n_of_genes], rest[ctx.n_of_genes :]
        upstream = upstream.T.contiguous()  # B x P
        to_hidden = torch.empty_like(hidden)
        to_weights = [torch.zeros_like(weight) for weight in weights]
        to_genes = [x.new_zeros(x.shape[-1]) for _ in (*weights, *of_genes)]
        together = max(BACKWARD_ROWS // hidden.shape[1], _at_once(left[0]))
        slopes = [torch.empty_like(each[:together]) for each in left]
        for group in _split(slice(0, len(x)), together):
            for some in _split(group, _at_once(left[0])):
                within = slice(some.start - group.start, some.stop - group.start)
                first, *others = (slope[within] for slope in slopes)  # b x P x G
                derivatives = ctx.kernel.derivatives(
                    first, x[some], log_library[some], *(each[some] for each in left), *of_genes
                )
                for slope, derivative in zip(others, derivatives, strict=False):
                    slope.copy_(derivative)
                rows = upstream[some].flatten()
                for to_gene, derivative in zip(to_genes, (first, *derivatives), strict=True):
                    to_gene += rows @ derivative.flatten(0, 1)
            rows = upstream[group].reshape(-1, 1)  # bP x 1; scales arrays of H, not of G
            scaled = (rows * hidden[group].flatten(0, 1)).to(ctx.dtype)  # bP x H
            to_states = to_hidden[group].flatten(0, 1)  # bP x H
            for number, (weight, to_weight, slope) in enumerate(
                zip(weights, to_weights, slopes, strict=True)
            ):
                product = slope[: group.stop - group.start].flatten(0, 1).to(ctx.dtype)  # bP x G
                back = product @ weight.to(ctx.dtype)
                if number:
                    to_states.addcmul_(back, rows)
                else:
                    torch.mul(back, rows, out=to_states)
                if ctx.dtype == to_weight.dtype:
                    to_weight.addmm_(product.T, scaled)
                else:  # sums are in the precision of the parameters
                    to_weight += product.T @ scaled
        to_heads = [each for pair in zip(to_weights, to_genes, strict=False) for each in pair]
        given = (*to_heads, *to_genes[ctx.n_heads :])
        return None, None, None, None, to_hidden.transpose(0, 1), *given


def _at_once(y: torch.Tensor) -> int:
    """Cells of B x P x G to take through all steps together."""
    _, n_particles, n_genes = y.shape
    return max(_AT_ONCE.get(y.device.type, _AT_ONCE["cuda"]) // (n_particles * n_genes), 1)


def _split(cells: slice, size: int) -> Iterator[slice]:
    """Slices of at most so many cells."""
    for start in range(cells.start, cells.stop, size):
        yield slice(start, min(start + size, cells.stop))
