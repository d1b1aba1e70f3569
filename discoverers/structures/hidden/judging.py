"""Whether the data support a hidden force, and if not, why not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sympy
from numpy.typing import NDArray

from .rates import path_independent
from .search import Candidate, Search
from .static import SplineLaw
from .task import HiddenTask

__all__ = [
    "FORGETS_FAST",
    "SPLINES_EXPLAIN",
    "Verdict",
    "explains",
    "fading_rate",
    "judge",
    "law_and_rate",
    "noise_limit",
]

Array = NDArray[np.float64]

GAIN = 10.0
"""What a hidden state has to gain in the criterion over every law without."""

MOST_RATE_TERMS = 4

FASTEST = 1.0
"""Of the sampling rate: a hidden state that forgets faster is a static law in disguise."""

SPLINES_EXPLAIN = "splines of position and velocity explain the data without memory"
FORGETS_FAST = "it would forget faster than the data are sampled"


@dataclass(frozen=True)
class Verdict:
    """Why there is no hidden state; empty if there is one."""

    reasons: tuple[str, ...]

    @property
    def accepted(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons

    @property
    def advice(self) -> str:
        """What may help where neither the library nor a hidden force explains the data."""
        denser = "Sample more densely"
        if self.reasons == (FORGETS_FAST,):
            return f"{denser}: at these steps its memory cannot be told from a law without."
        if FORGETS_FAST in self.reasons:
            return f"{denser}, or pass a richer `library`."
        return "Pass a richer `library`."


def noise_limit(n_rows: int) -> float:
    """Mean squared residual, in units of the estimated noise's, up to which it is but noise.

    Both the residual and the estimate of the noise, from differences, scatter.
    """
    return 1.2 * (1.0 + 4.0 * float(np.sqrt(2.0 / max(n_rows, 2))))


def explains(cost: float, n_rows: int) -> bool:
    """Whether a law's residual is as small as the noise."""
    return cost <= noise_limit(n_rows) * n_rows


def law_and_rate(
    task: HiddenTask, search: Search, candidate: Candidate
) -> tuple[dict[sympy.Expr, float], dict[sympy.Expr, float]]:
    """Terms and coefficients of the acceleration and of the hidden force's rate."""
    velocity = task.names[1]
    law: dict[sympy.Expr, float] = {}
    rate: dict[sympy.Expr, float] = {}
    free = [column for column in search.model.columns if column.value is None]
    for k in candidate.support:
        home = law if velocity in free[k].drives else rate
        home[free[k].expr] = float(candidate.theta[k])
    return law, rate


def fading_rate(task: HiddenTask, search: Search, candidate: Candidate) -> tuple[float, float]:
    """Root mean square of |dz'/dz| along the fitted states, and the sampling rate."""
    _, rate = law_and_rate(task, search, candidate)
    real = [sympy.Symbol(name, real=True) for name in task.names]
    whole = sum((c * term for term, c in rate.items()), sympy.Integer(0))
    whole = whole.xreplace(dict(zip(task.symbols, real, strict=True)))
    # With real symbols |z| has the derivative sign(z).
    function = sympy.lambdify(real, sympy.diff(whole, real[2]), "numpy")
    states = np.concatenate(search.states(candidate))
    with np.errstate(all="ignore"):
        values = np.broadcast_to(function(*states.T), len(states))
    step = np.median(np.concatenate([np.diff(record.t) for record in task.records]))
    return float(np.sqrt(np.mean(values**2))), float(1.0 / step)


def judge(
    task: HiddenTask,
    search: Search,
    candidate: Candidate,
    statics: tuple[Candidate, ...],
    splines: SplineLaw,
) -> Verdict:
    """Hold a hidden force against what the library, a longer one, and splines explain without."""
    reasons = []
    n = task.n_rows
    _, rate = law_and_rate(task, search, candidate)
    if not explains(candidate.cost, n):
        ratio = float(np.sqrt(candidate.cost / n))
        reasons.append(f"the best hidden force leaves {ratio:.2g} times the noise")
    best = min((one.score for one in statics), default=np.inf)
    if candidate.score > best - GAIN:
        reasons.append("a law without hidden force is as good by the criterion")
    if explains(splines.cost, n) and splines.cost <= candidate.cost + splines.n_parameters + GAIN:
        reasons.append(SPLINES_EXPLAIN)
    if len(rate) > MOST_RATE_TERMS:
        reasons.append(f"its rate needs {len(rate)} terms")
    if not any(task.symbols[2] in term.free_symbols for term in rate):
        reasons.append("its rate does not depend on it")
    elif path_independent(rate, task.symbols[1]):
        reasons.append("it would be a function of the position, without memory")
    else:
        fading, sampling = fading_rate(task, search, candidate)
        if fading > FASTEST * sampling:
            reasons.append(FORGETS_FAST)
    return Verdict(tuple(reasons))
