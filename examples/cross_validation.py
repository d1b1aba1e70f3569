"""Choose library and degree by scikit-learn's own cross-validation.

To scikit-learn the times are "X" and the states are "y", so its tools work as they are:

- a Pipeline whose first step turns the instrument's milliseconds into seconds;
- TimeSeriesSplit: fit the past, score the forecast of what comes next;
- GridSearchCV over kind and degree of the library;
- LeaveOneOut over several trajectories: fit all but one, simulate the one left out.
"""

import argparse
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.model_selection import GridSearchCV, LeaveOneOut, TimeSeriesSplit, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from discoverers import PolynomialLibrary, SMNNDiscoverer
from discoverers.datasets import generate, pendulum, van_der_pol
from discoverers.plotting import save_figure


def seconds(t: np.ndarray) -> np.ndarray:
    """Convert milliseconds."""
    return t / 1000.0


def search_degree() -> pd.DataFrame:
    """Search the degree on one record, by forecasts (TimeSeriesSplit) in a Pipeline."""
    record = generate(van_der_pol(), 900, noise=0.01, seed=1)
    milliseconds = 1000.0 * record.t[:, None]
    pipeline = Pipeline(
        [
            ("seconds", FunctionTransformer(seconds)),
            ("equations", SMNNDiscoverer(library=PolynomialLibrary())),
        ]
    )
    search = GridSearchCV(
        pipeline,
        {"equations__library__degree": [1, 2, 3, 4]},
        cv=TimeSeriesSplit(n_splits=3),
    )
    search.fit(milliseconds, record.X)
    found = search.best_estimator_.named_steps["equations"].equations_
    print("Van der Pol, one record, TimeSeriesSplit: R2 of the forecasts")
    print(_scores(search, "param_equations__library__degree").to_string())
    print(f"chosen: degree {search.best_params_['equations__library__degree']}")
    print(found)
    print(found.compare(["x1", "x1 - x0 - x0**2*x1"]), "\n")
    return _scores(search, "param_equations__library__degree")


def search_library() -> pd.DataFrame:
    """Search the kind of library over several records (one trajectory is one sample)."""
    system = pendulum()
    starts = [(2.5, 0.0), (1.0, 0.0), (-2.0, 1.0), (0.5, -1.5)]
    records = [
        generate(system, 400, noise=0.01, seed=seed, x0=start) for seed, start in enumerate(starts)
    ]
    times = [record.t for record in records]
    states = [record.to_frame()[["theta", "omega"]] for record in records]
    search = GridSearchCV(
        SMNNDiscoverer(),
        {"library": ["poly1", "poly3", "poly1+fourier1"]},
        cv=LeaveOneOut(),
    )
    search.fit(times, states)
    print("Pendulum, four records, LeaveOneOut: R2 of simulating the record left out")
    print(_scores(search, "param_library").to_string())
    print("chosen:", search.best_params_["library"])
    found = search.best_estimator_.equations_
    print(found)
    print(found.compare(system.equations))
    each = cross_val_score(search.best_estimator_, times, states, cv=LeaveOneOut())
    print("R2 of each record, simulated by equations fitted to the others:", each.round(4))
    return _scores(search, "param_library")


def _scores(search: GridSearchCV, parameter: str) -> pd.DataFrame:
    """Read mean and spread of the scores, one row for each candidate."""
    results = search.cv_results_
    return pd.DataFrame(
        {"mean R2": results["mean_test_score"], "std": results["std_test_score"]},
        index=pd.Index([str(value) for value in results[parameter]], name="candidate"),
    )


def main(folder: Path) -> None:
    """Search twice and draw the scores."""
    with warnings.catch_warnings():
        # Candidates that cannot be right warn about their misfit; their scores tell the same.
        warnings.simplefilter("ignore", UserWarning)
        tables = {"degree (forecast)": search_degree(), "library (left-out run)": search_library()}
    figure, panels = plt.subplots(1, 2, figsize=(11.0, 3.6), layout="constrained")
    for panel, (title, table) in zip(panels, tables.items(), strict=True):
        panel.plot(1.0 - table["mean R2"], table.index, "o", color="#0072B2", markersize=9)
        panel.set_xscale("log")
        panel.set_xlabel("1 - R2 on held-out data (less is better)")
        panel.grid(visible=True, color="0.9")
        panel.margins(y=0.25)
        panel.set_title(title)
        panel.spines[["top", "right"]].set_visible(False)
    print(f"\npicture: {save_figure(figure, folder / 'cross_validation.png')}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the picture")
    main(parser.parse_args().out)
