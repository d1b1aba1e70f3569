"""Predictions inside of gaps of the record, against the true course and closed forms."""

import numpy as np
import pytest

from discoverers import Equations, SMNNDiscoverer
from discoverers.datasets import generate, lotka_volterra
from discoverers.gaps import cross_gaps
from discoverers.prediction import FittedTrajectory, fitted_states
from discoverers.simulation import Simulation, SimulationStatus, simulate


def crossed(nodes, truth, rate, times, noise=0.0):
    """`cross_gaps` for x' = rate x with states as given."""
    states = (
        truth(nodes)[:, None] * (1.0 + noise * np.where(np.arange(len(nodes)) % 2, 1, -1))[:, None]
    )
    return cross_gaps(
        nodes,
        states,
        rate * states,
        times,
        lambda t, x: rate * x,
        lambda t, start, x0: simulate(lambda x, u: rate * x, t, x0, t0=start),
    )


NODES = np.concatenate([np.linspace(0.0, 1.0, 11), np.linspace(6.0, 7.0, 11)])


@pytest.mark.parametrize("rate", [-2.0, 2.0])
def test_a_gap_is_integrated_from_the_side_that_meets_the_other(rate):
    times = np.linspace(1.2, 5.8, 9)
    values, message = crossed(NODES, lambda t: np.exp(rate * t), rate, times, noise=1e-4)
    assert message == ""
    np.testing.assert_allclose(values[:, 0], np.exp(rate * times), rtol=2e-3)


def test_ends_of_a_gap_are_met_and_nothing_jumps():
    states = np.where(NODES < 2.0, 1.0, 1.5)[:, None]  # what the equations cannot explain
    values, _ = cross_gaps(
        NODES,
        states,
        np.cos(10.0 * NODES)[:, None],
        np.array([1.0 + 1e-9, 3.5, 6.0 - 1e-9]),
        lambda t, x: np.cos(10.0 * t)[:, None],
        lambda t, start, x0: Simulation(
            x0 + (np.sin(10.0 * t) - np.sin(10.0 * start))[:, None] / 10.0,
            SimulationStatus.OK,
            "",
            0,
        ),
    )
    assert values[[0, 2], 0] == pytest.approx([1.0, 1.5], abs=1e-6)
    assert values[1, 0] == pytest.approx(1.25, abs=0.15)


def test_steps_of_the_usual_length_are_interpolated_without_integration():
    t = np.linspace(0.0, 6.0, 61)

    def never(*_):
        raise AssertionError("integrated")

    values, _ = cross_gaps(
        t, np.sin(t)[:, None], np.cos(t)[:, None], t + 0.0, lambda t, x: np.cos(t)[:, None], never
    )
    np.testing.assert_allclose(values[:, 0], np.sin(t))


def test_a_gap_that_cannot_be_integrated_is_nan_and_says_why():
    values, message = cross_gaps(
        NODES,
        np.sin(5.0 * NODES)[:, None],
        5.0 * np.cos(5.0 * NODES)[:, None],
        np.array([0.5, 3.0]),
        lambda t, x: 5.0 * np.cos(5.0 * t)[:, None],
        lambda t, start, x0: Simulation(
            np.full((len(t), 1), np.nan), SimulationStatus.BLEW_UP, "it blew up.", 0
        ),
    )
    assert np.isfinite(values[0, 0])
    assert np.isnan(values[1, 0])
    assert "it blew up." in message


def test_a_third_of_the_rows_left_out_is_predicted_by_the_equations():
    # The cubic between the ends of the gap had R2 = .06.
    record = generate(lotka_volterra(), 200, noise=0.01, seed=0)
    clean = generate(lotka_volterra(), 200, seed=0).X
    gap = slice(70, 130)
    kept = np.r_[0:70, 130:200]
    model = SMNNDiscoverer("poly2").fit(record.t[kept], record.X[kept])
    error = model.predict(record.t[gap]) - clean[gap]
    assert (error.std(axis=0) < 0.02 * clean.std(axis=0)).all()
    assert model.score(record.t, record.X) > 0.99


def test_gaps_of_equations_of_second_order_with_inputs():
    def force(t):
        return np.sin(2.0 * np.asarray(t))

    t = np.linspace(0.0, 20.0, 201)
    law = Equations(["v", "f - x"], ["x", "v"], ["f"])
    path = simulate(law, t, [1.0, 0.0], force)
    kept = np.r_[0:80, 120:201]
    model = SMNNDiscoverer("poly1", order=2).fit(t[kept], path.X[kept, 0], u=force)
    error = model.predict(t[80:120], u=force) - path.X[80:120, 0]
    assert np.abs(error).max() < 1e-3


def test_a_gap_in_which_the_law_reaches_infinity_is_nan():
    t = np.concatenate([np.linspace(0.0, 0.8, 40), np.linspace(1.2, 2.0, 40)])
    x = 1.0 / (1.0 - t)[:, None]
    fitted = FittedTrajectory(t, x, x**2, np.empty((80, 0)))
    found = fitted_states(Equations(["x**2"], ["x"]), fitted, np.array([0.4, 1.1]), None)
    assert found.X[0, 0] == pytest.approx(1.0 / 0.6, rel=1e-4)
    assert np.isnan(found.X[1, 0])
    assert "stopped at t" in found.message
