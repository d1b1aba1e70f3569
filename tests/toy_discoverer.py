"""The smallest estimator on `BaseDiscoverer`: least squares on finite differences."""

from numbers import Integral

import numpy as np
import pandas as pd
from sklearn.utils._param_validation import Interval

from discoverers.base import BaseDiscoverer, Discovery, FittedTrajectory
from discoverers.libraries import PolynomialLibrary
from discoverers.trajectories import Trajectories


class ToyDiscoverer(BaseDiscoverer):
    """Fits all polynomial terms; the solution is the data, interpolated over gaps."""

    _parameter_constraints = {
        **BaseDiscoverer._parameter_constraints,
        "degree": [Interval(Integral, 0, None, closed="left")],
        "failing": "no_validation",
        "max_rounds": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        degree=1,
        *,
        failing=None,
        max_rounds=1,
        time_unit="s",
        trajectory_column=None,
        on_failure="nan",
    ):
        self.degree = degree
        self.failing = failing
        self.max_rounds = max_rounds
        self.time_unit = time_unit
        self.trajectory_column = trajectory_column
        self.on_failure = on_failure

    def _discover(self, trajectories: Trajectories) -> Discovery:
        if self.failing is not None:
            self.half_done_ = True
            raise self.failing
        rounds = sum(1 for _ in self._iterations("round", self.max_rounds))
        library = PolynomialLibrary(degree=self.degree)
        bound = library.bind(trajectories.state_names, trajectories.input_names)
        thetas, rates, roots, solution = [], [], [], []
        for run in trajectories:
            X = np.column_stack(
                [
                    np.interp(run.t, run.t[seen], column[seen])
                    for column, seen in zip(run.X.T, run.measured.T, strict=True)
                ]
            )
            rate = np.gradient(X, run.t, axis=0)
            thetas.append(bound.evaluate(X, run.u))
            rates.append(rate)
            roots.append(np.sqrt(run.weight)[:, None])
            solution.append(FittedTrajectory(run.t, X, rate, run.u))
        theta, rate, root = map(np.concatenate, (thetas, rates, roots))
        coef = np.linalg.lstsq(theta * root, rate * root, rcond=None)[0].T
        coef[np.abs(coef) < 1e-9] = 0.0
        equations = bound.equations(coef)
        loss = (theta @ coef.T - rate) ** 2
        front = pd.DataFrame(
            {
                "complexity": [equations.complexity],
                "loss": [float(loss.mean())],
                "equation": [str(equations)],
                "sympy_format": [equations],
                "lambda_format": [equations.lambdify("numpy")],
                "selected": [True],
            }
        )
        return Discovery(
            equations=equations,
            terms=tuple(term.name for term in bound.terms),
            coef=coef,
            coef_std=np.zeros_like(coef),
            pareto_front=front,
            noise_std=np.sqrt(loss.mean(axis=0)),
            solution=tuple(solution),
            history=pd.DataFrame({"round": range(rounds)}),
            converged=True,
            extras={"n_rounds_": rounds},
        )
