"""The real pykan: its MultKAN inside the equation, and its own symbolic mode on the states.

pykan prints, draws progress bars, writes a folder of checkpoints and reseeds the random generators
of Python, NumPy and torch when a network is made. Here it stays quiet, writes nothing, and leaves
the generators as they were.
"""

from __future__ import annotations

import contextlib
import io
import random
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .edges import Edge
from .training import Schedule

__all__ = ["LIBRARY", "SCHEDULE", "PykanNetwork", "Symbolic", "extract", "multkan", "quiet"]

Array = NDArray[np.float64]

SCHEDULE = Schedule(
    optimizer="adam+lbfgs", windows=(), epochs=40, adam=0, substeps=1, ridge=0.0, smoothness=0.0
)
"""Training of the MultKAN: each call costs as much as ten of a spline layer."""
LIBRARY = ("x", "x^2", "x^3", "x^4", "exp", "sin", "tanh", "abs", "0")
"""Symbols that an edge may become."""
SIMPLICITY = 0.2
"""pykan's `weight_simple`; at its default of 0.8 it sets x|x| and x - x^3 to zero."""
NEGLIGIBLE = 1e-3
"""Terms of the formula smaller than this, relative to the acceleration's size, are dropped."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No output, and the random states afterwards as they were before."""
    # The legacy generator is the one that pykan reseeds.
    legacy = np.random.get_state()  # noqa: NPY002
    python, torch_state = random.getstate(), torch.get_rng_state()
    sink = io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(sink),
            contextlib.redirect_stderr(sink),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter(
                "ignore"
            )  # pykan's own: tensors made numbers, 0 / 0 of idle edges
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
        torch.set_rng_state(torch_state)


class PykanNetwork(nn.Module):
    """pykan's MultKAN in double precision, as a network of a `StructuredODE`."""

    symbolic = True

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Values of the network, (n, n_inputs) -> (n, n_outputs)."""
        y: Tensor = self.model(x)
        return y

    @torch.no_grad()
    def adapt(self, x: Tensor) -> None:
        """Move pykan's grids to the samples."""
        self.model.save_act = True
        self.model.update_grid_from_samples(x)
        self.model.save_act = False


def multkan(n_inputs: int, n_outputs: int, random_state: int) -> PykanNetwork:
    """A MultKAN of two layers, with two sums and two products for every output."""
    model = _make([n_inputs, [2 * n_outputs, 2 * n_outputs], n_outputs], random_state).double()
    model.save_act = False
    model.symbolic_enabled = False
    for name, parameter in model.named_parameters():
        if "symbolic_fun" in name:
            parameter.requires_grad_(False)
    return PykanNetwork(model)


def _make(width: list[Any], seed: int) -> Any:
    with quiet():
        from kan import MultKAN

        return MultKAN(width=width, grid=5, k=3, seed=seed, auto_save=False)


@dataclass(frozen=True, eq=False)
class Symbolic:
    """What pykan's symbolic mode made of samples: a formula per output, None where it failed."""

    formula: tuple[sympy.Expr, ...] | None
    edges: tuple[Edge, ...]


def extract(
    inputs: Array, outputs: Array, names: Sequence[str], *, random_state: int = 0, steps: int = 40
) -> Symbolic:
    """Fit a second MultKAN to samples, sparsely, and let pykan turn its edges into symbols.

    Parameters
    ----------
    inputs : ndarray of shape (n, n_inputs)
        States and inputs.
    outputs : ndarray of shape (n, d)
        Accelerations there.
    names : sequence of str
        Names of the columns of `inputs`.
    random_state : int, default=0
    steps : int, default=40
        Iterations of pykan's L-BFGS, before and after the symbols are fixed.
    """
    centre, scale = _range(inputs)
    out_centre, out_scale = _range(outputs)
    data = {
        # Single precision: pruning builds new networks, and they know no other.
        "train_input": torch.from_numpy((inputs - centre) / scale).float(),
        "train_label": torch.from_numpy((outputs - out_centre) / out_scale).float(),
    }
    data |= {"test_input": data["train_input"], "test_label": data["train_label"]}
    model = _make(
        [inputs.shape[1], [2 * outputs.shape[1], outputs.shape[1]], outputs.shape[1]], random_state
    )
    with quiet():
        model.fit(data, opt="LBFGS", steps=steps, lamb=1e-4)
        model = _pruned(model)
        model.fit(data, opt="LBFGS", steps=steps // 2)
        model(data["train_input"])
        edges = _edges(model, names, centre, scale)
        model.auto_symbolic(lib=list(LIBRARY), weight_simple=SIMPLICITY, verbose=0)
        model.fit(data, opt="LBFGS", steps=steps, update_grid=False)
        variables = [
            (sympy.Symbol(name) - float(c)) / float(s)
            for name, c, s in zip(names, centre, scale, strict=True)
        ]
        found = model.symbolic_formula(var=variables)
    edges = tuple(_with_symbol(model, edge) for edge in edges)
    if found is None:
        return Symbolic(None, edges)
    formula = []
    for expr, c, s in zip(found[0], out_centre, out_scale, strict=True):
        formula.append(_tidy(sympy.sympify(expr) * float(s) + float(c), names, inputs, float(s)))
    usable = all(expr is not None for expr in formula)
    return Symbolic(tuple(e for e in formula if e is not None) if usable else None, edges)


def _pruned(model: Any) -> Any:
    """As `prune` of pykan does, with its thresholds; that one would write checkpoints."""
    model.attribute()
    smaller = model.prune_node(1e-2, log_history=False)
    smaller.auto_save = False
    smaller(smaller.cache_data)
    smaller.attribute()
    smaller.prune_edge(3e-2, log_history=False)
    return smaller


def _range(values: Array) -> tuple[Array, Array]:
    low, high = values.min(axis=0), values.max(axis=0)
    half = (high - low) / 2.0
    return (high + low) / 2.0, np.where(half > 0, half, 1.0)


def _tidy(expr: sympy.Expr, names: Sequence[str], inputs: Array, size: float) -> sympy.Expr | None:
    """Sum of terms without those that do nothing on the data; None if it is not finite there."""
    symbols = [sympy.Symbol(name) for name in names]

    def values(part: sympy.Expr) -> Array | None:
        with np.errstate(all="ignore"):
            answer = sympy.lambdify(symbols, part, "numpy")(*inputs.T.astype(complex))
        table = np.broadcast_to(np.asarray(answer, dtype=complex), len(inputs))
        real = np.isfinite(table).all() and np.abs(table.imag).max() < 1e-9 * size
        return np.asarray(table.real) if real else None

    kept = []
    for term in sympy.Add.make_args(sympy.expand(expr)):
        at_samples = values(term)
        if at_samples is None:
            # Expanding can tear apart what is real only together.
            return expr if values(expr) is not None else None
        if np.sqrt(np.mean(at_samples**2)) > NEGLIGIBLE * size:
            kept.append(term)
    return sympy.Add(*kept)


def _edges(model: Any, names: Sequence[str], centre: Array, scale: Array) -> tuple[Edge, ...]:
    """Edges of pykan, from the activations that its last call kept."""
    kept = list(model.input_id.tolist()) if hasattr(model, "input_id") else range(len(names))
    edges = []
    for layer in range(model.depth):
        grids = model.act_fun[layer]
        for source in range(grids.in_dim):
            first = layer == 0
            column = kept[source] if first else source
            shift, stretch = (centre[column], scale[column]) if first else (0.0, 1.0)
            seen = model.acts[layer][:, source].detach().numpy()
            grid = np.linspace(seen.min(), seen.max(), 101)
            for target in range(grids.out_dim):
                if float(grids.mask[source][target]) == 0.0:
                    continue
                function = _frozen(model, layer, source, target, shift, stretch)
                units = grid * stretch + shift
                name = names[column] if first else f"node {source} of layer {layer}"
                edges.append(Edge(layer, source, target, name, units, function(units), function))
    return tuple(edges)


def _frozen(model: Any, layer: int, source: int, target: int, shift: float, stretch: float) -> Any:
    """The numerical edge as it is now: symbols that replace it later do not change it."""
    import copy

    spline = copy.deepcopy(model.act_fun[layer])

    def function(x: Array) -> Array:
        scaled = torch.from_numpy(np.asarray((x - shift) / stretch, dtype=np.float32))
        columns = torch.zeros((scaled.numel(), spline.in_dim))
        columns[:, source] = scaled.flatten()
        with torch.no_grad():
            _, _, after, _ = spline(columns)
        values = after[:, target, source].numpy().reshape(scaled.shape)
        return np.asarray(values, dtype=np.float64)

    return function


def _with_symbol(model: Any, edge: Edge) -> Edge:
    name = model.symbolic_fun[edge.layer].funs_name[edge.target][edge.source]
    return Edge(
        edge.layer, edge.source, edge.target, edge.name, edge.grid, edge.values, edge.function, name
    )
