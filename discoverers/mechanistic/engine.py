"""`SGDEngine`: parameters of the neural route, and the route in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from discoverers.constraints import Rules
from discoverers.denoising import Denoised
from discoverers.discovery import Discovery
from discoverers.libraries import BoundLibrary
from discoverers.trajectories import Trajectories

__all__ = ["SGDEngine"]


class SGDEngine(BaseEstimator):
    """Coefficients by gradient descent through the mechanistic solver, as the paper has it.

    ``y' = g(xi . phi(x))`` is solved over windows by the S-MNN linear system, and xi (with the
    weights of an encoder, if there is one) trained by Adam until the solutions match the data.
    Terms are pruned between trainings. For ``g = identity`` the closed form does the same in a
    fraction of the time and better where there is noise; take this engine for dynamics outside any
    library of sums (`g`), to put your own networks in the loop (`encoder`), or to compare with the
    paper.

    Parameters
    ----------
    g : str, callable, or mapping from state names to these, default="identity"
        Outer function of every equation, or of the states named: "identity", "exp", "tanh", "sin",
        "sigmoid", or a differentiable function of tensors, element by element. Equations then read
        ``x' = exp(...)``, or ``x' = g(...)`` under the function's own name.
    start : {"warm", "cold"}, default="warm"
        "warm": from the terms and coefficients of the closed form; with `g`, from all candidates
        and coefficients that match the denoised data's derivatives. "cold": from all candidates
        and small random coefficients.
    encoder : {"conv"}, torch.nn.Module or None, default=None
        What corrects the denoised states before terms are evaluated: nothing, three convolutions
        over time, or your module, which maps float64 (B, T, 2 V) (states, and what they leave of
        the data, both standardised) to (B, T, V) in units of the noise. It is copied. It costs
        several times the time.
    window : int, default=50
        Samples of a window; each has initial values of its own.
    batch_size : int, default=512
        Windows per optimiser step.
    cycles : int, default=40
        Most trainings. A cycle drops all terms below `threshold`, else from each equation the
        least significant one while that lowers the score.
    max_epochs : int, default=400
        Of each training; it ends before if the loss stalls.
    threshold : float, default=0.005
        Share of an equation's right-hand side (root mean square) below which a term is pruned.
        Larger is faster and loses small terms.
    learning_rate : float, default=0.05
        Of Adam, in coordinates where the optimum is about 1 away; a tenth of it for the encoder.
    patience : int, default=8
        Epochs without gain after which the learning rate falls to a third.
    n_starts : int, default=1
        Cold starts from different seeds; the best score wins.
    n_jobs : int or None, default=None
        Processes for several starts, as in joblib.
    random_state : int, RandomState or None, default=0
        Seed of starts, encoder and minibatches: the same seed gives the same answer.

    Notes
    -----
    Cost, in processor seconds of one core: the paper's Lorenz record of 10,000 samples 7.6 from a
    cold start (largest error of a coefficient 1.6e-7, no spurious term) and 1.8 warm, where the
    closed form takes 1.7 (2.8e-7). With 1 to 5 % noise, Lotka and Volterra's equations from 500
    samples 0.6 warm, 2 cold and 1.9 with the convolutional encoder (closed form 0.3); Lorenz'
    from 1000 samples 1.0, 4 and 3 to 6 (closed form 0.8).

    A cold start sees the errors of denoised states as if they were law. It therefore runs its
    cycles twice, the second time at states that fit the equations of the first: with 1 % noise on
    Lorenz that was exact in 3 of 3 records, and in 1 of 3 without; with 5 % it still lost a true
    term, where warm starts were exact. Standard errors take the states that terms are evaluated at
    as exact: where there is noise they are lower bounds. Inputs are read at the samples.
    Second-order laws want windows of a good part of a cycle. It runs on the CPU.

    Callbacks of scikit-learn hear of every epoch, and may stop the training.

    References
    ----------
    Chen, Yao, Pervez, Alistarh, Locatello: Scalable Mechanistic Neural Networks, ICLR 2025,
    sections 2, 3 and 5.2. Pervez, Locatello, Gavves: Mechanistic Neural Networks for Scientific
    Machine Learning, ICML 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers import SMNNDiscoverer
    >>> from discoverers.mechanistic import SGDEngine
    >>> t = np.linspace(0.0, 3.0, 100)
    >>> x = np.log(1.0 + t)  # x' = exp(-x)
    >>> model = SMNNDiscoverer(library="poly1", engine=SGDEngine(g="exp"))
    >>> model.fit(t, x).equations_.round(3)
    x0' = exp(-1.0 x0)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "g": [str, Mapping, callable],
        "start": [StrOptions({"warm", "cold"})],
        "encoder": [StrOptions({"conv"}), callable, None],
        "window": [Interval(Integral, 5, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "cycles": [Interval(Integral, 1, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "threshold": [Interval(Real, 0, 1, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "n_starts": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        g: Any = "identity",
        start: str = "warm",
        encoder: Any = None,
        window: int = 50,
        batch_size: int = 512,
        cycles: int = 40,
        max_epochs: int = 400,
        threshold: float = 0.005,
        learning_rate: float = 0.05,
        patience: int = 8,
        n_starts: int = 1,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.g = g
        self.start = start
        self.encoder = encoder
        self.window = window
        self.batch_size = batch_size
        self.cycles = cycles
        self.max_epochs = max_epochs
        self.threshold = threshold
        self.learning_rate = learning_rate
        self.patience = patience
        self.n_starts = n_starts
        self.n_jobs = n_jobs
        self.random_state = random_state

    def uses_closed_form(self, state_names: Sequence[str]) -> bool:
        """Whether the fit starts from the closed form's terms and coefficients."""
        from discoverers.mechanistic.outer import resolve_outer

        plain = all(one.is_identity for one in resolve_outer(self.g, state_names))
        return plain and self.start == "warm"

    def discover(
        self,
        trajectories: Trajectories,
        denoised: Denoised,
        library: BoundLibrary,
        rules: Rules,
        closed: Discovery | None,
        *,
        gamma: float,
        max_terms: int | None,
        iterations: Callable[[str, int], Iterator[int]],
    ) -> Discovery:
        """Train, prune, and write down what was found.

        Parameters
        ----------
        trajectories : Trajectories
            States that were not measured (velocities of second-order systems) come last.
        denoised : Denoised
        library : BoundLibrary
        rules : Rules
            Known, required and forbidden terms.
        closed : Discovery or None
            What the closed form found; needed where `uses_closed_form` says so.
        gamma, max_terms
            See `SMNNDiscoverer`.
        iterations : callable
            ``iterations("epoch", n)`` counts epochs and tells callbacks.

        Returns
        -------
        Discovery

        Raises
        ------
        ValueError
            If constraints are bounds or ties, or `g` does not suit the data.
        """
        from discoverers.mechanistic.outer import resolve_outer
        from discoverers.mechanistic.report import report
        from discoverers.mechanistic.route import Task, run

        self._validate_params()
        if rules.ties or rules.has_bounds:
            raise ValueError(
                "engine='sgd' takes the constraints Known, Required and Forbidden; for Bounded and "
                "Shared use engine='closed_form'."
            )
        reported = ~denoised.inferred if denoised.chains is None else denoised.inferred
        names = [
            name
            for name, own in zip(trajectories.state_names, ~denoised.inferred, strict=True)
            if own
        ]
        task = Task.make(
            trajectories,
            denoised,
            library,
            outer=resolve_outer(self.g, names),
            allowed=library.allowed[reported],
            known=rules.known[reported],
            required=rules.required[reported],
            closed=closed if self.uses_closed_form(names) else None,
            gamma=gamma,
            max_terms=max_terms,
            engine=self,
        )
        random = check_random_state(self.random_state)
        seeds = [int(seed) for seed in random.randint(2**31 - 1, size=self.n_starts)]
        return report(run(task, seeds, self.n_jobs, iterations))
