"""El Niño in one equation: how the season damps and feeds an anomaly of the Pacific.

Weekly sea-surface temperatures of the Niño 3.4 region, with the season (sine and cosine of the
year) as inputs. The script fits 1990 to 2011, prints the equation, reads from it when in the year
anomalies grow and when they fade, and forecasts 2011 to 2020 from every month, beside two rules of
thumb: the usual temperature of the season, and an anomaly that fades at one rate all year.

The record is no part of the package: set DISCOVERERS_DATA to the folder that holds
noaa_nino_weekly/ (NOAA's weekly indices, Reynolds et al. 2002), or pass --data.
"""

import argparse
import sys
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from discoverers import SMNNDiscoverer
from discoverers.datasets import load_nino
from discoverers.plotting import save_figure
from discoverers.plotting.style import COLOURS, tidy

Array = NDArray[np.float64]

TRAINED = 0.7
LEADS = (13, 26, 39)  # weeks
YEAR = 52.1775


def season(years: Array) -> pd.DataFrame:
    """Year and half year as inputs; 0 is the third of January."""
    angle = 2.0 * np.pi * years
    return pd.DataFrame(
        {"c": np.cos(angle), "s": np.sin(angle), "c2": np.cos(2 * angle), "s2": np.sin(2 * angle)}
    )


def main(folder: Path, data: Path | None) -> None:
    """Fit, interpret, forecast, draw."""
    try:
        table = load_nino(data)
    except FileNotFoundError as error:
        print(f"skipped: {error}")
        sys.exit(0)
    years = np.arange(len(table)) / YEAR
    n = int(TRAINED * len(table))
    T = table["nino34"].to_numpy() - table["nino34"].iloc[:n].mean()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        model = SMNNDiscoverer(library="poly2").fit(
            years[:n], pd.DataFrame({"T": T[:n]}), u=season(years)[:n]
        )
    print(f"weekly temperatures of Niño 3.4 from {table.index[0]:%Y} to {table.index[n]:%Y};")
    print("T in degrees from their mean, time in years, c = cos, s = sin of the year:")
    print(f"  {model.equations_.round(3)}")
    for warning in caught:
        print(f"note: {str(warning.message).split(': ')[0]}.")
    level = model.history_["link_level"].iloc[0]
    print(
        f"It describes {'roughly' if level > 0.1 else 'exactly'} what happens in a week (misses of "
        f"{level:g} noise): a law with weather on top, not a clockwork."
    )

    months = pd.date_range("2000-01-01", periods=12, freq="MS")
    rates = growth(model, np.arange(0.5, 12.0) / 12.0)
    print("\nHow fast an anomaly grows (per year), by month:")
    print(
        "  "
        + "  ".join(f"{month:%b} {rate:+.1f}" for month, rate in zip(months, rates, strict=True))
    )
    most, least = months[np.argmax(rates)], months[np.argmin(rates)]
    print(
        f"It is fed most in {most:%B} and damped most in {least:%B}: events build up in the second "
        "half of the year and fade in spring, as is known of El Niño."
    )

    error, seen = forecast(model, years, T, n)
    print("\nRoot mean square errors of forecasts of years that were not fitted (degrees):")
    print(error.to_string(float_format="{:.2f}".format))
    best = error.drop(columns="equation").min(axis=1)
    gain = 1.0 - (error["equation"] / best)
    print(
        "Against the better rule of thumb the equation is "
        + ", ".join(
            f"{abs(g):.0%} {'better' if g > 0 else 'worse'} at {lead} weeks"
            for lead, g in gain.items()
        )
        + "."
    )

    figure, panels = plt.subplots(2, 1, figsize=(10.0, 6.0), layout="constrained")
    panels[0].plot(table.index[n:], T[n:], color="0.5", label="measured")
    panels[0].plot(table.index[seen.index], seen[LEADS[1]], color=COLOURS[0],
                   label=f"forecast {LEADS[1]} weeks before")  # fmt: skip
    panels[0].set_ylabel("Niño 3.4, degrees from mean")
    panels[0].legend(ncols=2, frameon=False, fontsize="small")
    day = np.linspace(0.0, 1.0, 200)
    panels[1].plot(12 * day + 1, growth(model, day), color=COLOURS[0])
    panels[1].axhline(0.0, color="0.7", linewidth=0.8)
    panels[1].set_xlabel("month")
    panels[1].set_ylabel("growth of an anomaly (1/year)")
    for panel in panels:
        tidy(panel)
    print(f"\npicture: {save_figure(figure, folder / 'nino_seasons.png')}")


def growth(model: SMNNDiscoverer, years: Array) -> Array:
    """Derivative of the right-hand side by T, at the season's usual temperature."""
    inputs = season(years).to_numpy()
    above, below = (
        model.derivative(np.full((len(years), 1), value), u=inputs)[:, 0] for value in (0.1, -0.1)
    )
    return np.asarray((above - below) / 0.2)


def forecast(
    model: SMNNDiscoverer, years: Array, T: Array, n: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Errors by lead and method, and the forecasts of the equation by the week they are for."""
    usual = season(years).assign(one=1.0).to_numpy()
    climate = usual @ np.linalg.lstsq(usual[:n], T[:n], rcond=None)[0]
    anomaly = T - climate
    errors, seen = {}, {}
    for lead in LEADS:
        starts = np.arange(n, len(T) - lead, 4)
        ahead = T[starts][:, None].copy()
        for week in range(lead):  # the midpoint rule
            now, later = years[starts] + week / YEAR, years[starts] + (week + 0.5) / YEAR
            middle = ahead + 0.5 / YEAR * model.derivative(ahead, u=season(now).to_numpy())
            ahead = ahead + model.derivative(middle, u=season(later).to_numpy()) / YEAR
        past = np.arange(n - lead)
        fade = anomaly[past] @ anomaly[past + lead] / (anomaly[past] @ anomaly[past])
        target = starts + lead
        candidates = {
            "season": climate[target],
            "fading anomaly": climate[target] + fade * anomaly[starts],
            "equation": ahead[:, 0],
        }
        errors[lead] = {
            name: float(np.sqrt(np.mean((values - T[target]) ** 2)))
            for name, values in candidates.items()
        }
        seen[lead] = pd.Series(ahead[:, 0], index=target)
    table = pd.DataFrame.from_dict(errors, orient="index")
    return table.rename_axis("weeks ahead"), pd.DataFrame(seen).dropna()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the picture")
    parser.add_argument("--data", type=Path, help="nino_weekly.csv, if not in DISCOVERERS_DATA")
    main(parser.parse_args().out, parser.parse_args().data)
