"""Where a law misfits because of how its input runs in time, that is told, and only there."""

from functools import lru_cache
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from discoverers.equations import Equations
from discoverers.exceptions import MisfitWarning
from discoverers.shooting import Record
from discoverers.structures import Channel, Data, Note
from discoverers.structures.timing import timing_notes

STEP = 0.1
T = STEP * np.arange(150)
HELD = np.random.default_rng(3).normal(size=len(T))
LAW = Equations(["v", "u0 - x - 0.1*v - 0.8*x**3"], ["x", "v"], ["u0"])
BENT = Equations(["v", "0.98*u0 - 1.05*x - 0.11*v - 0.75*x**3"], ["x", "v"], ["u0"])


def tones(t):
    return np.sin(0.9 * np.asarray(t)) + 0.7 * np.sin(1.7 * np.asarray(t) + 1.0)


def held(t):
    return HELD[np.clip(((np.asarray(t) + 1e-9) / STEP).astype(int), 0, len(T) - 1)]


@lru_cache
def accelerations(force, term=None):
    """Of the true mass, by an integrator that is not the product's."""

    def law(t, x, v):
        return force(t) - x - 0.1 * v - 0.8 * x**3 + (term(x, v) if term else 0.0)

    def rates(t, z):
        return [z[1], law(t, *z)]

    states = [np.zeros(2)]
    for begin, end in pairwise(T):  # no step across a jump
        middle = solve_ivp(rates, (begin, end - 1e-9), states[-1], rtol=1e-7, atol=1e-9)
        states.append(middle.y[:, -1])
    X = np.array(states)
    y = law(T, X[:, 0], X[:, 1])
    return y + 0.01 * y.std() * np.random.default_rng(0).normal(size=len(T))


def notes(y, u, *, equations=BENT, interpolation="cubic", misfit=True, record=None):
    data = Data(
        (record or Record.make(T, y, u, interpolation=interpolation),),
        (Channel("acc", rates={"v": 1.0}),),
        ("u0",),
        np.full((1, 2), np.nan),
    )
    fit = SimpleNamespace(
        equations=equations,
        observation=data.observation(("x", "v")),
        x0=np.zeros((1, 2)),
        noise_std=np.array([0.05]),
        notes=(Note("poor", MisfitWarning),) if misfit else (),
    )
    return list(timing_notes(fit, data, interpolation))


@pytest.mark.parametrize("delay", [0.05, 0.13, -0.08])
def test_an_input_recorded_early_or_late_is_told_with_the_delay(delay):
    (note,) = notes(accelerations(tones), tones(T + delay))
    assert note.category is MisfitWarning
    told = float(note.text.split("with u ")[1].split(" ")[0])
    assert told == pytest.approx(abs(delay), abs=0.01)
    assert ("later" if delay > 0 else "earlier") in note.text


def test_an_input_that_is_held_is_told():
    (note,) = notes(accelerations(held), held(T))
    assert "fit again with interpolation='hold'" in note.text


def test_nothing_is_said_where_the_law_is_what_lacks():
    y = accelerations(tones, term=lambda x, v: -0.4 * np.tanh(8.0 * x))
    assert notes(y, tones(T)) == []


def test_nothing_is_said_without_a_misfit_or_without_a_sampled_input():
    y = accelerations(tones)
    assert notes(y, tones(T + 0.05), misfit=False) == []
    known = Record.make(T, y, tones(T), interpolation=lambda t: tones(t)[:, None])
    assert notes(y, tones(T), record=known) == []
    alone = Equations(["v", "-x"], ["x", "v"], ["u0"])
    assert notes(y, tones(T + 0.05), equations=alone) == []
