"""Systems whose equations are known, and sampled records of them."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
import pandas as pd
import sympy
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import ODEintWarning, odeint, solve_ivp

from discoverers.equations import Equations

Method = Literal["DOP853", "odeint"]

_RTOL = 1e-11
_ATOL = 1e-12


@dataclass(frozen=True)
class System:
    """A dynamical system with known equations and a setting to sample it in.

    Parameters
    ----------
    name : str
        Name of the system, as in the catalogue of `discoverers.datasets`.
    equations : Equations
        The true right-hand sides, parameters filled in.
    t : ndarray of shape (n,)
        Sampling times of the reference record, in the system's own unit of time.
    x0 : ndarray of shape (V,)
        State at ``t[0]``.
    parameters : mapping of str to float
        Values of the parameters, by their usual names.
    source : str
        Publication that the equations come from.

    Examples
    --------
    >>> from discoverers.datasets import logistic
    >>> system = logistic(rate=2.0)
    >>> system.state_names
    ('x',)
    >>> system.equations.compare(["2*x - 2*x**2"]).exact
    True
    """

    name: str
    equations: Equations
    t: NDArray[np.float64]
    x0: NDArray[np.float64]
    parameters: Mapping[str, float]
    source: str

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the V states."""
        return self.equations.state_names

    @property
    def step(self) -> float:
        """Time between two samples of the reference record."""
        return float(self.t[1] - self.t[0])


@dataclass(frozen=True)
class Record:
    """Sampled states of a `System`.

    Parameters
    ----------
    system : System
        Where the samples come from.
    t : ndarray of shape (n,)
        Sampling times.
    X : ndarray of shape (n, V)
        Sampled states, with noise.
    clean : ndarray of shape (n, V)
        The same states before noise was added.
    noise_std : ndarray of shape (V,)
        Standard deviation of the noise of each state, in its own unit.

    Examples
    --------
    >>> from discoverers.datasets import generate, van_der_pol
    >>> record = generate(van_der_pol(), 200, noise=0.01, seed=0)
    >>> record.X.shape
    (200, 2)
    >>> list(record.to_frame().columns)
    ['t', 'x', 'y']
    """

    system: System
    t: NDArray[np.float64]
    X: NDArray[np.float64]
    clean: NDArray[np.float64]
    noise_std: NDArray[np.float64]

    def to_frame(self) -> pd.DataFrame:
        """Table with a column ``t`` and one column for each state."""
        frame = pd.DataFrame(self.X, columns=list(self.system.state_names))
        frame.insert(0, "t", self.t)
        return frame


def make_system(
    name: str,
    right_hand_sides: Mapping[str, sympy.Expr],
    *,
    t: ArrayLike,
    x0: ArrayLike,
    parameters: Mapping[str, float],
    source: str,
) -> System:
    """Build a `System` from the right-hand side of each state.

    Parameters
    ----------
    name : str
        Name of the system.
    right_hand_sides : mapping of str to sympy.Expr
        Time derivative of each state, by the state's name; its keys give the order of the states.
        Symbols that are no state must be named in `parameters`.
    t : array-like of shape (n,)
        Sampling times, increasing, two at least.
    x0 : array-like of shape (V,)
        State at ``t[0]``.
    parameters : mapping of str to float
        Values of the symbols that are no state.
    source : str
        Publication that the equations come from.

    Returns
    -------
    System
        The system, parameters filled in and products multiplied out.

    Raises
    ------
    ValueError
        If a symbol has no value, if `x0` has not one value for each state, or if `t` does not
        increase.

    Examples
    --------
    >>> import sympy
    >>> from discoverers.datasets import make_system
    >>> k, x = sympy.symbols("k x")
    >>> decay = make_system("decay", {"x": -k * x}, t=[0.0, 1.0], x0=[1.0],
    ...                     parameters={"k": 0.5}, source="radioactive decay")
    >>> decay.equations
    x' = -0.5 x
    """
    values = {sympy.Symbol(symbol): float(value) for symbol, value in parameters.items()}
    states = tuple(right_hand_sides)
    known = {sympy.Symbol(state) for state in states}
    expressions = tuple(
        sympy.expand(sympy.sympify(side).subs(values)) for side in right_hand_sides.values()
    )
    unknown = sorted({str(s) for e in expressions for s in e.free_symbols - known})
    if unknown:
        raise ValueError(
            f"right_hand_sides of {name!r} use {', '.join(unknown)}, which is neither a state nor "
            f"one of parameters={dict(parameters)}; give it a value in parameters"
        )
    start = np.atleast_1d(np.asarray(x0, dtype=float))
    if start.shape != (len(states),):
        raise ValueError(
            f"x0 of {name!r} has shape {start.shape}; one value for each of the states "
            f"{', '.join(states)} is needed"
        )
    return System(
        name=name,
        equations=Equations(expressions, states),
        t=_increasing(t),
        x0=start,
        parameters=MappingProxyType({key: float(value) for key, value in parameters.items()}),
        source=source,
    )


def generate(
    system: System,
    n_samples: int | None = None,
    *,
    noise: float = 0.0,
    seed: int | None = None,
    t: ArrayLike | None = None,
    x0: ArrayLike | None = None,
    method: Method = "DOP853",
) -> Record:
    """Integrate a system and sample it, with noise if wanted.

    Parameters
    ----------
    system : System
        What to integrate.
    n_samples : int, optional
        Number of samples, at the system's own step from its own first time. The default is as many
        as the reference record has.
    noise : float, default=0.0
        Standard deviation of independent Gaussian noise, relative to the standard deviation of each
        state over the record: 0.01 is one per cent.
    seed : int, optional
        Seed of the noise. The same seed gives the same record; None draws a new one each time.
    t : array-like of shape (n,), optional
        Sampling times instead of the system's own, increasing but not necessarily evenly spaced.
    x0 : array-like of shape (V,), optional
        State at the first time instead of the system's own.
    method : {"DOP853", "odeint"}, default="DOP853"
        Integrator: Dormand-Prince of order 8 at a relative tolerance of 1e-11, or
        ``scipy.integrate.odeint`` with its own tolerances (1.5e-8), which the papers use.

    Returns
    -------
    Record
        Times, samples with and without noise, and the noise's standard deviations.

    Raises
    ------
    ValueError
        If an argument cannot be used, or if the solution leaves every bound within the record.

    Examples
    --------
    >>> from discoverers.datasets import generate, lorenz
    >>> record = generate(lorenz(), 1000, noise=0.01, seed=0)
    >>> record.t[[0, -1]]
    array([0.  , 9.99])
    >>> record.X.shape
    (1000, 3)
    """
    if not np.isfinite(noise) or noise < 0:
        raise ValueError(f"noise={noise!r}: a finite number of at least 0 is needed")
    if method not in get_args(Method):
        raise ValueError(f"method={method!r} is not known; use one of {get_args(Method)}")
    times = _sampling_times(system, n_samples, t)
    start = system.x0 if x0 is None else np.atleast_1d(np.asarray(x0, dtype=float))
    if start.shape != system.x0.shape or not np.isfinite(start).all():
        raise ValueError(
            f"x0={x0!r}: {system.x0.size} finite values are needed, one for each of the states "
            f"{', '.join(system.state_names)}"
        )
    clean = _integrate(system, times, start, method)
    noise_std = noise * clean.std(axis=0)
    X = clean + noise_std * np.random.default_rng(seed).standard_normal(clean.shape)
    return Record(system=system, t=times, X=X, clean=clean, noise_std=noise_std)


def _sampling_times(
    system: System, n_samples: int | None, t: ArrayLike | None
) -> NDArray[np.float64]:
    """Return the times to sample at, from whichever argument gives them."""
    if t is not None:
        if n_samples is not None:
            raise ValueError("n_samples and t were both given; t alone says where to sample")
        return _increasing(t)
    if n_samples is None:
        return system.t.copy()
    if n_samples < 2:
        raise ValueError(f"n_samples={n_samples}: at least 2 are needed")
    return system.t[0] + system.step * np.arange(n_samples)


def _increasing(t: ArrayLike) -> NDArray[np.float64]:
    """Check sampling times."""
    times = np.array(t, dtype=float)
    if times.ndim != 1 or times.size < 2 or not (np.diff(times) > 0).all():
        raise ValueError(
            f"t has shape {times.shape}: a one-dimensional array of at least two increasing times "
            "is needed"
        )
    return times


def _integrate(
    system: System, t: NDArray[np.float64], x0: NDArray[np.float64], method: Method
) -> NDArray[np.float64]:
    """Solve the system's equations at the times `t`, shape (n, V)."""
    rhs = _scalar_right_hand_side(system.equations)
    if method == "odeint":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ODEintWarning)  # the message is raised below
            X, info = odeint(rhs, x0, t, tfirst=True, full_output=True)
        complete, why = info["message"] == "Integration successful.", info["message"]
    else:
        solution = solve_ivp(
            rhs, (t[0], t[-1]), x0, method="DOP853", t_eval=t, rtol=_RTOL, atol=_ATOL
        )
        X, complete, why = solution.y.T, solution.success, solution.message
    if not complete or not np.isfinite(X).all():
        raise ValueError(
            f"the solution of {system.name!r} from x0={x0.tolist()} does not reach t={t[-1]:g}: "
            f"{why} Use another x0, other parameters or a shorter span."
        )
    return np.asarray(X)


def _scalar_right_hand_side(equations: Equations) -> Callable[[float, NDArray], list[float]]:
    """Compile for one state at a time: with plain floats this is several times faster."""
    symbols = [sympy.Symbol(name) for name in equations.state_names]
    function = sympy.lambdify(symbols, list(equations), modules="math", cse=True)
    return lambda _t, x: function(*x.tolist())
