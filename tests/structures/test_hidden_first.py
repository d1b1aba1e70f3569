"""When a chain looks for a hidden force: before poor laws are polished, and once only."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from discoverers.exceptions import MisfitWarning
from discoverers.shooting import Record
from discoverers.structures import ChainStructure
from discoverers.structures.base import Channel, Data, Note, Options
from discoverers.structures.chain import structure
from discoverers.structures.hidden import discovery


def measured(rates, n_states, *, noise=0.01):
    """Acceleration of a forced mass from rest, with SciPy."""
    t = np.arange(0.0, 20.0, 0.1)
    force = lambda s: np.sin(np.pi * s) + 0.8 * np.sin(1.1 * s)  # noqa: E731
    right = lambda s, y: rates(*y, force(s))  # noqa: E731
    solution = solve_ivp(
        right, (0.0, t[-1]), np.zeros(n_states), t_eval=t, rtol=1e-9, atol=1e-11, max_step=0.05
    )
    a = np.array([right(s, y)[1] for s, y in zip(t, solution.y.T, strict=True)])
    y = a + noise * np.random.default_rng(0).normal(size=len(t))
    channel = Channel("acceleration", rates={"v": 1.0})
    return Data((Record.make(t, y, force(t)),), (channel,), ("force",), np.zeros((1, 2)))


DAHL = measured(lambda x, v, z, u: [v, u - 1.2 * x - 0.15 * v - z, 2.0 * v - 4.0 * abs(v) * z], 3)


@pytest.fixture
def steps(monkeypatch):
    """Names of the expensive steps in the order in which they were taken."""
    taken = []

    def noted(module, name):
        step = getattr(module, name)

        def taking(*args):
            taken.append(name)
            return step(*args)

        monkeypatch.setattr(module, name, taking)

    noted(structure, "complete")
    noted(discovery, "search_hidden")
    return taken


def test_laws_that_a_hidden_force_makes_needless_are_not_polished(steps):
    fit = ChainStructure(hidden="auto").discover(DAHL, Options(initial_state="rest"))
    assert steps == ["search_hidden"]
    assert {str(term) for term in fit.equations.terms()["z"]} == {"v", "z*Abs(v)"}


def test_what_was_looked_for_in_vain_is_not_looked_for_again(monkeypatch):
    taken = []

    def in_vain(*args):
        taken.append("search_hidden")
        return discovery.HiddenSearch(None, (Note("in vain", MisfitWarning),))

    monkeypatch.setattr(discovery, "search_hidden", in_vain)
    monkeypatch.setattr(structure, "complete", lambda *args: taken.append("complete"))
    fit = ChainStructure(hidden="auto").discover(DAHL, Options(initial_state="rest"))
    assert taken == ["search_hidden", "complete"]
    assert "z" not in fit.equations.terms()
    assert "in vain" in [note.text for note in fit.notes]


def test_a_short_library_has_no_hidden_force(steps):
    data = measured(lambda x, v, u: [v, u - x - 0.15 * v - 2.0 * x**3], 2)
    options = Options(initial_state="rest", library="poly1")
    fit = ChainStructure(hidden="auto").discover(data, options)
    assert sorted(steps) == ["complete", "search_hidden"]
    assert "z" not in fit.equations.terms()
    assert any("x**3" in note.text for note in fit.notes)


def test_laws_that_leave_next_to_noise_are_finished_first(steps):
    data = measured(lambda x, v, u: [v, u - x - 0.15 * v], 2)
    options = Options(initial_state="rest", library="poly2")
    fit = ChainStructure(hidden="auto").discover(data, options)
    assert steps[0] == "complete"
    assert {str(term) for term in fit.equations.terms()["v"]} == {"x", "v", "force"}
