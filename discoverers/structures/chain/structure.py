"""The chain: laws of the highest derivatives of one or several coordinates."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions

from discoverers.exceptions import MisfitWarning
from discoverers.shooting import LinearObservation, Record
from discoverers.structures.base import Data, Note, Options, StructuralFit, Structure

from .choosing import complete, extract
from .dictionary import WIDE_LAYER, make_dictionary
from .extraction import Extraction
from .finishing import Finished, finish
from .judging import Candidate
from .model import Chain, ChainTask, chain_names
from .report import Stages, report
from .spline_kan import SplineKAN, fit_spline_kan
from .start import Start, guess_states
from .switches import clear_of_switches

if TYPE_CHECKING:
    from discoverers.structures.hidden.discovery import HiddenSearch

__all__ = ["ChainStructure"]

UNEXPLAINED = 1.2
"""Residuals this many times the smoother's noise make a hidden force worth a search."""

UNPROMISING = 1.5
"""The same of the network and of first laws: a hidden force is looked for before more is done."""

STUCK = 1.5
"""Residuals of a network this many times the law's show that its training got stuck."""

Array = NDArray[np.float64]

WORKING_SAMPLES = 3000
"""The search works on the heads of longer records; the last calibration has all of them."""

FINALISTS = 5
FLOOR = 2e-3
"""Share of a channel's standard deviation that integration and interpolation may leave."""


class ChainStructure(Structure):
    """Chains ``q, q', ..., q^(order-1)`` whose highest rates are unknown laws of all states.

    For ``order=2``: ``x' = v, v' = h(x, v, u)``. Found in three stages: a spline Kolmogorov-Arnold
    network for h, trained through the ODE from the channels; terms in its place, every serious
    candidate calibrated through the ODE; the best calibrated to the end, with covariance.

    Parameters
    ----------
    order : int, default=2
        Number of states of each chain: 1 for x' = h(x, u), 2 for a mass, 3 for a jerk.
    n_dof : int, default=1
        Number of chains. Every law may depend on all of their states.
    hidden : {0, 1, "auto"}, default=0
        Number of hidden forces with memory (friction, hysteresis), for one mass: 1 looks for one
        whatever the law without it leaves, "auto" only if it leaves more than noise. It is
        reported only if the data support it; it comes as the state z after x and v.
    dynamics : {"spline", "deep", "pykan"}, default="spline"
        Network of stage 1: splines that are linear in their parameters, trained by Gauss-Newton; a
        deep spline network in PyTorch, whose states the search then starts from; or pykan's, whose
        own symbolic mode also gives the candidate terms. The latter two take minutes.

    Notes
    -----
    States are named x, v, a, j (then d4x, ...), and x1, v1, x2, v2 with several chains.

    The default library (``library="auto"``) holds monomials of the states to degree 3 in at most
    two of them, the inputs, ``|q|``, ``q |q|``, sin, cos, exp and tanh of coordinates,
    ``v |v|`` and sign(v) of velocities, and cubes and ``d |d|`` of differences of two chains.
    Beyond these, corners ``|q - b|`` of states are tried where they promise a better law: of
    clearances, stops and other stiffness in pieces. Their knots b are calibrated with the rest,
    cost a parameter each, and are listed with standard errors in the fitted attribute ``knots_``;
    the covariance has them last. Products of inputs and states (parametric excitation) are tried
    where all of this leaves more than noise, and kept where they explain it.

    References
    ----------
    The structured neural ODE with a Kolmogorov-Arnold network and its three stages follow the
    SKANODE paper; the search and the calibration are this library's own.

    Examples
    --------
    >>> from discoverers.structures import ChainStructure
    >>> ChainStructure().state_names(["acceleration"], ["force"])
    ('x', 'v')
    >>> ChainStructure(n_dof=2).state_names(["a", "b"], [])
    ('x1', 'v1', 'x2', 'v2')
    """

    _parameter_constraints: Mapping[str, list[Any]] = {
        "order": [Interval(Integral, 1, None, closed="left")],
        "n_dof": [Interval(Integral, 1, None, closed="left")],
        "hidden": [StrOptions({"auto"}), Interval(Integral, 0, 1, closed="both")],
        "dynamics": [StrOptions({"spline", "deep", "pykan"})],
    }

    def __init__(
        self,
        order: int = 2,
        n_dof: int = 1,
        hidden: int | Literal["auto"] = 0,
        dynamics: Literal["spline", "deep", "pykan"] = "spline",
    ) -> None:
        self.order = order
        self.n_dof = n_dof
        self.hidden = hidden
        self.dynamics = dynamics

    def state_names(
        self, channel_names: Sequence[str], input_names: Sequence[str]
    ) -> tuple[str, ...]:
        """Names of the states, chain by chain.

        Raises
        ------
        ValueError
            If an input has the name of a state.
        """
        names = chain_names(self.order, self.n_dof)
        taken = sorted(set(names) & set(input_names))
        if taken:
            raise ValueError(
                f"inputs are named {taken}, as the chain's states are; rename these columns of u."
            )
        return names

    def quantities(
        self, channel_names: Sequence[str], input_names: Sequence[str]
    ) -> Mapping[str, tuple[str, ...]]:
        """Position, velocity and acceleration, as far as the chain has them."""
        names = chain_names(self.order, self.n_dof)
        chains = [names[k : k + self.order] for k in range(0, len(names), self.order)]
        words = {}
        for degree, word in enumerate(("position", "velocity", "acceleration")):
            if degree < self.order:
                words[word] = tuple(chain[degree] for chain in chains)
            elif degree == self.order:
                words[word] = tuple(f"{chain[-1]}'" for chain in chains)
        return words

    def discover(self, data: Data, options: Options) -> StructuralFit:
        """Find the laws.

        Raises
        ------
        ValueError
            If a hidden force is asked for in anything but one chain of order 2.
        """
        if self.hidden != 0 and (self.order, self.n_dof) != (2, 1):
            raise ValueError(
                f"hidden={self.hidden!r} needs order=2 and n_dof=1, got order={self.order} and "
                f"n_dof={self.n_dof}; set hidden=0."
            )
        begun = self._begin(data, options)
        early = self._early(begun)
        if early is not None and early.fit is not None:
            return early.fit
        plain = self._complete(begun)
        if self.hidden == 0 and (self.order, self.n_dof) == (2, 1):
            plain = replace(plain, notes=(*plain.notes, *_of_memory(begun, plain)))
        if self.hidden == 0 or (_explained(plain) and (self.hidden == "auto" or early)):
            return plain
        from discoverers.structures.hidden.discovery import search_hidden
        from discoverers.structures.hidden.static import KnownLaw

        found = early or search_hidden(data, options, KnownLaw.of(plain))
        if found.fit is not None:
            return found.fit
        return replace(plain, notes=(*plain.notes, *found.notes))

    def _begin(self, data: Data, options: Options) -> _Begun:
        """Train the network, and choose first laws without hidden states."""
        chain = Chain(self.order, self.n_dof, data.input_names)
        whole = _task(chain, data, options, data.records)
        task = _task(chain, data, options, _heads(data.records))
        began = time.perf_counter()
        start = guess_states(task)
        if self.dynamics != "spline":
            from .network import learn_start

            start, options = learn_start(task, start, self.dynamics)
        dictionary = make_dictionary(chain, options).softened(start.states, WIDE_LAYER)
        kan = fit_spline_kan(task, start)
        learnt = time.perf_counter()
        work = extract(task, dictionary, kan)
        return _Begun(whole, task, start, kan, work, (began, learnt, time.perf_counter()))

    def _early(self, begun: _Begun) -> HiddenSearch | None:
        """Look for a hidden force where the network and first laws leave clearly more than noise.

        To polish laws that miss that much takes several times as long, and is for nothing if a
        force with memory then explains the data. A network that does not miss shows that it is
        the terms which fall short.
        """
        work, whole, kan = begun.work, begun.whole, begun.kan
        noise = np.maximum(kan.guess.noise_std, work.task.floor)
        short = not kan.converged or np.any(kan.noise_std > UNPROMISING * noise)
        if self.hidden == 0 or not (short and work.doubtful(kan, UNPROMISING)):
            return None
        from discoverers.structures.hidden.discovery import search_hidden
        from discoverers.structures.hidden.static import KnownLaw

        known = None
        if work.ranked:
            best = work.ranked[0]
            terms = [work.dictionary.terms[k] for k in best.support]
            known = KnownLaw(dict(zip(terms, best.coef.tolist(), strict=True)), best.x0)
        return search_hidden(whole.data, whole.options, known)

    def _complete(self, begun: _Begun) -> StructuralFit:
        """Find the laws without hidden states."""
        work, whole, start, kan = begun.work, begun.whole, begun.start, begun.kan
        began, learnt, first = begun.moments
        resumed = time.perf_counter()
        complete(work, kan)
        chosen = _decide(work, whole, start)
        extracted = time.perf_counter()
        finished = finish(
            clear_of_switches(whole, work.dictionary, chosen), work.dictionary, chosen
        )
        work.task, work.dictionary = whole, finished.dictionary
        work.adopt(finished.support, finished.model, finished.calibration)
        kan = _at_least_as_good(kan, begun.task, finished)
        seconds = (
            learnt - began,
            first - learnt + extracted - resumed,
            time.perf_counter() - extracted,
        )
        return report(whole, Stages(start, kan, work, finished, seconds))


@dataclass(frozen=True, eq=False)
class _Begun:
    """The trained network and laws from a first search; when that began, changed, and ended."""

    whole: ChainTask
    task: ChainTask
    start: Start
    kan: SplineKAN
    work: Extraction
    moments: tuple[float, float, float]


def _at_least_as_good(kan: SplineKAN, task: ChainTask, finished: Finished) -> SplineKAN:
    """The network, trained again from the law's states where it got stuck before the law did."""
    fit = finished.calibration
    if not np.isfinite(fit.cost):
        return kan
    network = np.where(kan.converged, kan.noise_std, np.inf)
    if np.all(network <= STUCK * np.maximum(finished.noise_std, task.floor)):
        return kan
    heads = [slice(None, len(record)) for record in task.records]
    pairs = list(zip(fit.paths, heads, strict=True))
    start = Start(
        tuple(path.X[head] for path, head in pairs),
        tuple(path.F[head] for path, head in pairs),
        np.maximum(finished.noise_std, task.floor),
    )
    again = fit_spline_kan(task, start, drifting=False)
    better = again.converged and not np.all(again.noise_std > network)
    return again if better else kan


def _of_memory(begun: _Begun, plain: StructuralFit) -> Iterator[Note]:
    """Say that a force may have memory, where neither a law nor the network comes near the noise.

    The network is a law of position, velocity and inputs as good as any: it is not the terms that
    fall short then.
    """
    kan = begun.kan
    noise = np.maximum(kan.guess.noise_std, begun.task.floor)
    short = kan.converged and bool(np.any(kan.noise_std > UNPROMISING * noise))
    if short and any(note.category is MisfitWarning for note in plain.notes):
        yield Note(
            "No function of position, velocity and inputs comes near the noise here, not even the "
            "spline network. If friction or hysteresis may act, fit again with "
            "structure=ChainStructure(hidden='auto'), which looks for a force with memory; if an "
            "accelerometer may have an offset, with sensor_offset='estimate'.",
            MisfitWarning,
        )


def _explained(plain: StructuralFit) -> bool:
    """Whether a law leaves no more than what a smoother takes for noise."""
    ratio = np.asarray(plain.extras["residual_to_smoother_"])
    return plain.converged and bool(np.all(ratio <= UNEXPLAINED))


def _task(chain: Chain, data: Data, options: Options, records: tuple[Record, ...]) -> ChainTask:
    observation = data.observation(chain.state_names)
    free = np.isnan(data.x0)
    y = np.concatenate([record.y for record in records])
    with np.errstate(invalid="ignore"):
        spread = np.array([np.std(c[~np.isnan(c)]) if (~np.isnan(c)).any() else 0.0 for c in y.T])
    lowest = list(chain.lowest)
    blind = isinstance(observation, LinearObservation) and not observation.states[:, lowest].any()
    return ChainTask(
        chain, data, options, records, free, bool(blind and free[:, lowest].all()),
        np.maximum(FLOOR * spread, 1e-12),
    )  # fmt: skip


def _heads(records: tuple[Record, ...]) -> tuple[Record, ...]:
    if sum(map(len, records)) <= WORKING_SAMPLES:
        return records
    share = max(WORKING_SAMPLES // len(records), 50)
    return tuple(record.head(min(len(record), share)) for record in records)


def _decide(work: Extraction, whole: ChainTask, start: Start) -> Candidate:
    """The best candidate; where the search saw only heads, the best of few on all data."""
    ranked = work.ranked
    if not ranked:
        return work.fallback(start.states, start.rates)
    if whole.records is work.task.records or len(whole.records[0]) == len(work.task.records[0]):
        return ranked[0]
    best = work.on(whole, ranked[:FINALISTS])
    cleared = clear_of_switches(whole, work.dictionary, best)
    return best if cleared is whole else work.on(cleared, work.ranked)
