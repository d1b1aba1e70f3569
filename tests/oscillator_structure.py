"""The smallest structure: a linear oscillator whose coefficients are calibrated, nothing chosen."""

import numpy as np
import pandas as pd

from discoverers.exceptions import ConvergenceWarning
from discoverers.structures import Note, StructuralFit, Structure


class OscillatorStructure(Structure):
    """x' = v, v' = -k x - c v + b u for one mass; start values are rough guesses."""

    _parameter_constraints = {"names": [tuple], "failing": "no_validation"}

    def __init__(self, names=("x", "v"), failing=None):
        self.names = names
        self.failing = failing

    def state_names(self, channel_names, input_names):
        return self.names

    def quantities(self, channel_names, input_names):
        x, v = self.names
        return {"position": (x,), "velocity": (v,), "acceleration": (f"{v}'",)}

    def discover(self, data, options):
        from discoverers.shooting import Column, StateSpaceModel, calibrate

        if self.failing is not None:
            raise self.failing
        x, v = self.names
        terms = (x, v, *data.input_names)
        columns = [Column(v, {x: 1.0}, value=1.0)]
        columns += [Column(term, {v: 1.0}) for term in terms]
        model = StateSpaceModel(self.names, data.input_names, columns)
        observation = data.observation(self.names)
        known = ~np.isnan(data.x0)
        noise = data.noise_std
        if noise is None:
            noise = np.full(len(data.channels), 0.01)
        fit = None
        for _ in options.iterations("calibration", 1):
            fit = calibrate(
                model,
                [1.0, -3.5, -0.2, *[1.0] * len(data.input_names)],
                np.where(known, data.x0, 0.1),
                data.records,
                observation,
                noise,
                free_x0=~known,
                windows=40,
                max_iterations=15,
                substeps=4,
            )
        coef = np.zeros((2, len(terms)))
        coef[0, 1] = 1.0
        coef[1] = np.nan_to_num(fit.theta[1:])
        error = np.sqrt(np.clip(np.nan_to_num(np.diag(fit.covariance)), 0.0, 1e12))
        coef_std = np.zeros_like(coef)
        coef_std[1] = error[: len(terms)]
        x0_std = np.zeros(data.x0.shape)
        x0_std[~known] = error[len(terms) :]
        equations = model.equations([1.0, *coef[1]])
        front = pd.DataFrame(
            {
                "complexity": [len(terms)],
                "loss": [fit.cost],
                "score": [0.0],
                "equation": [str(equations)],
                "sympy_format": [tuple(equations)],
                "lambda_format": [equations.lambdify()],
                "criterion": [0.0],
                "selected": [True],
            }
        )
        notes = ()
        if not fit.converged:
            notes = (Note("The calibration has not converged.", ConvergenceWarning),)
        runs = [f" of run {i}" if len(data.records) > 1 else "" for i in range(len(data.records))]
        starts = [
            f"{name}(0){run}"
            for run, row in zip(runs, known, strict=True)
            for name, given in zip(self.names, row, strict=True)
            if not given
        ]
        return StructuralFit(
            equations=equations,
            observation=observation,
            terms=terms,
            coef=coef,
            coef_std=coef_std,
            parameter_names=(*[f"{v}': {term}" for term in terms], *starts),
            covariance=fit.covariance,
            states=tuple(np.nan_to_num(path.X) for path in fit.paths),
            rates=tuple(np.nan_to_num(path.F) for path in fit.paths),
            x0=fit.x0,
            x0_std=x0_std,
            noise_std=np.sqrt(fit.rss / np.maximum(fit.n_observed, 1)),
            pareto_front=front,
            alternatives=front,
            history=pd.DataFrame({"stage": ["calibration"], "cost": [fit.cost]}),
            converged=fit.converged,
            notes=notes,
        )
