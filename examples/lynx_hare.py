"""What 21 published figures can tell about lynx and hare.

The Hudson's Bay Company's pelts of 1900 to 1920 are the textbook example of Lotka and Volterra's
equations: real, short and noisy. The script fits polynomial equations with default settings, prints
them with their uncertainty, and then asks the fit itself how much of it to believe: how sharp is
each coefficient, which other equations would do, does leaving out a year change them, and do they
forecast years that they were not fitted to better than a naive guess does.
"""

import argparse
import warnings
from collections import Counter
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd

from discoverers import SMNNDiscoverer
from discoverers.datasets import lynx_hare
from discoverers.plotting import plot_fit, save_figure

STATES = ["hare", "lynx"]
FORECAST_YEARS = 5


def fit(data: pd.DataFrame) -> SMNNDiscoverer:
    """Fit quadratic equations: growth, and encounters of two animals."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the questions below are sharper
        return SMNNDiscoverer(library="poly2").fit(data["year"], data[STATES])


def coefficient_table(model: SMNNDiscoverer) -> pd.DataFrame:
    """List the coefficients with their standard errors, in units of which they differ from zero."""
    rows = [
        (f"{state}'", term, model.coef_[v, k], model.coef_std_[v, k])
        for v, state in enumerate(STATES)
        for k, term in enumerate(model.terms_)
        if model.coef_[v, k] != 0
    ]
    table = pd.DataFrame(rows, columns=["equation", "term", "coefficient", "std. error"])
    table["sigmas from 0"] = table["coefficient"].abs() / table["std. error"]
    return table


def structure(model: SMNNDiscoverer) -> str:
    """Name the terms of both equations, without their coefficients."""
    terms = model.equations_.terms()
    return "; ".join(f"{state}': {', '.join(map(str, terms[state]))}" for state in STATES)


def left_out(data: pd.DataFrame) -> Counter[str]:
    """Count the structures that are found when one of the inner years is left out."""
    inner = data.index[1:-1]  # without an end the record would only be shorter
    return Counter(structure(fit(data.drop(index=row))) for row in inner)


def forecast(data: pd.DataFrame) -> tuple[float, float]:
    """Root mean square errors over the last years: of the equations, of the cycle repeated."""
    past, future = data.iloc[:-FORECAST_YEARS], data.iloc[-FORECAST_YEARS:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = fit(past).predict(future["year"])
    ten_years_ago = data[STATES].shift(10).loc[future.index]
    actual = future[STATES].to_numpy()
    return (
        float(np.sqrt(np.mean((found - actual) ** 2))),
        float(np.sqrt(np.mean((ten_years_ago.to_numpy() - actual) ** 2))),
    )


def main(folder: Path) -> None:
    """Fit, ask, and draw."""
    data = lynx_hare()
    model = fit(data)
    table = coefficient_table(model)
    print(f"{len(data)} years of pelts, in thousands; the equations found:")
    print(model.equations_.round(3))
    print(f"\n{table.to_string(index=False, float_format='{:.3g}'.format)}")
    print("\nnoise (standard deviation): ", end="")
    print(", ".join(f"{s} {n:.2g}" for s, n in zip(STATES, model.noise_std_, strict=True)))

    numbers = 2 * len(data)
    structures = left_out(data)
    same = structures[structure(model)]
    trials = structures.total()
    error, naive = forecast(data)
    weak = [f"{row.term} in {row.equation}" for row in table.itertuples() if row[5] < 2]
    print(f"\nWhat {len(data)} points can tell:")
    print(f"- {numbers} numbers were measured for {len(table)} coefficients and 2 starting values.")
    print(
        f"- {len(weak)} of {len(table)} coefficients lie within two standard errors of zero"
        f"{': ' + ', '.join(weak) if weak else ''}. That holds if these are the right terms."
    )
    near = model.alternatives_.iloc[1:]
    print(f"- {len(near)} other systems describe the record nearly as well; the closest of them:")
    for system in near["equations"].head(2):
        print("    " + str(system.round(3)).replace("\n", ";  "))
    print(f"- With one of the inner years left out, {same} of {trials} fits find the same terms;")
    for other, count in structures.most_common(3):
        if other != structure(model):
            print(f"  {count} find {other}.")
    print(
        f"- Fitted without the last {FORECAST_YEARS} years, the equations miss those by "
        f"{error:.1f} thousand pelts; the figures of ten years before miss them by {naive:.1f}."
    )
    print(f"- {verdict(not weak and same > 0.9 * trials, error < 0.8 * naive)}")

    panels = plot_fit(model, t=data["year"], X=data[STATES], simulated=True)
    panels[0].set_title("pelts of the Hudson's Bay Company (thousands)", loc="left")
    panels[-1].set_xlabel("year")
    panels[-1].set_xticks(range(1900, 1921, 2))
    print(f"\npicture: {save_figure(panels[0].figure, folder / 'lynx_hare.png')}")


def verdict(firm: bool, forecasts: bool) -> str:
    """Put the answers into one sentence."""
    if firm and forecasts:
        return "So the structure is firm on these years, and it forecasts the next ones."
    if firm:
        return "So the structure is firm on these years, but it forecasts no better than the cycle."
    if forecasts:
        return "So the equations forecast, but another year less would have given other terms."
    return "So these equations describe the record; the record does not prove that they are a law."


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the picture")
    main(parser.parse_args().out)
