"""Masses whose initial states are unknown, and a search from rest where the first one got lost."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from discoverers import SKANODERegressor
from discoverers.structures import ElementStructure
from discoverers.structures.elements.resting import freed, lost
from discoverers.structures.elements.search import Charges, Found, Ranked

from .test_elements import TRUE, chosen, record_of, small_problem, solved


def found_of(measured, point, *, converged=True, misfit=1.0, complete=True):
    one = Ranked(0.0, misfit * measured.n_observed, point, converged)
    return Found((one,), measured, (), complete)


def test_a_search_is_lost_without_convergence_or_without_a_fit():
    measured, point = small_problem()
    assert not lost(found_of(measured, point))
    assert lost(found_of(measured, point, converged=False))
    assert lost(found_of(measured, point, misfit=5.0))
    assert not lost(found_of(measured, point, misfit=5.0, complete=False))  # the user stopped it


def test_freed_starts_become_those_of_the_record():
    measured, _ = small_problem()
    true = np.array([[0.02, -0.01, 0.0, 0.05]])
    _, _, _, y = record_of(duration=3.0, y0=tuple(true[0]))
    record = replace(measured.records[0], y=y)
    measured = replace(measured, records=(record,), noise_std=np.full(2, 0.01))
    _, point = small_problem()
    complete = point.moved_to((0, 1, 6, 7, 8))
    point, *_ = measured.minimise(complete, 40, 1e-9)  # as if it had been at rest
    resting = found_of(measured, point)
    open_ = SimpleNamespace(
        free=replace(measured, free_start=np.ones((1, 4), dtype=bool)),
        charges=Charges(np.ones(len(measured.elements.elements)), 1.0),
    )
    best = freed(resting, open_).ranked[0]
    assert best.converged
    assert best.cost < 0.9 * measured.cost(point)
    moved = best.point.start - true
    assert np.abs(moved[0, 2:]).max() < 0.02
    assert best.cost == pytest.approx(measured.n_observed, rel=0.25)


@pytest.mark.slow
def test_one_accelerometer_with_all_laws_and_an_unknown_start():
    """The search with free starts ends in a mass that flies off with a negative spring."""
    rng = np.random.default_rng(3)
    frequencies = np.linspace(0.05, 0.6, 12) * (1.0 + 0.05 * rng.random(12))
    phases = rng.uniform(0.0, 2.0 * np.pi, 12)

    def force(t):
        angles = 2.0 * np.pi * frequencies * np.asarray(t)[..., None] + phases
        return np.sqrt(2.0 / 12.0) * np.sin(angles).sum(axis=-1)

    def rates(t, y):
        x1, x2, v1, v2 = y
        first = 2.0 * x1 + 0.1 * v1
        second = 1.5 * (x2 - x1) + 0.05 * (v2 - v1) + 0.8 * (x2 - x1) ** 3
        return [v1, v2, (second - first) / 2.0, (force(t) - second) / 0.5]

    t = 0.1 * np.arange(400)
    X, F = solved(rates, t, np.zeros(4))
    clean = F[:, 3]
    y = clean + 0.01 * clean.std() * np.random.default_rng(0).normal(size=len(t))
    model = SKANODERegressor(ElementStructure(2, force_on=2), observe="acceleration 2")
    model.fit(t, y, u=force(t))
    assert model.converged_
    assert chosen(model) == TRUE
    np.testing.assert_allclose(model.masses_["mass"], [2.0, 0.5], rtol=0.02)
    assert np.abs(model.states_.to_numpy() - X).max() < 0.02 * X.std()
