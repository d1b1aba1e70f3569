"""Stiffness and damping that an input modulates, against SciPy's integrator."""

from dataclasses import replace

import numpy as np
import pytest
import sympy

from discoverers.structures import Options
from discoverers.structures.chain.choosing import extract
from discoverers.structures.chain.dictionary import WIDE_LAYER, make_dictionary
from discoverers.structures.chain.model import Chain
from discoverers.structures.chain.modulation import modulate
from discoverers.structures.chain.spline_kan import fit_spline_kan
from discoverers.structures.chain.start import guess_states
from discoverers.structures.chain.structure import _task

from .chain_systems import REST, data, oscillator

T = np.arange(0.0, 18.0, 0.1)
X, V, U = sympy.symbols("x v u")


def push(t):
    return np.sin(1.1 * t) + np.sin(2.3 * t + 1.0)


def searched(law, options=None, name="u"):
    """What the search for terms knows when products are asked for, and the trained network."""
    _, acceleration = oscillator(law, T, u=push)
    given = data(T, acceleration[:, None], push(T), REST, noise=0.005)
    task = _task(Chain(2, 1, (name,)), given, options or Options(), given.records)
    start = guess_states(task)
    dictionary = make_dictionary(task.chain, task.options).softened(start.states, WIDE_LAYER)
    kan = fit_spline_kan(task, start)
    return extract(task, dictionary, kan), kan


def chosen(work):
    best = work.ranked[0]
    return {work.dictionary.terms[k]: c for k, c in zip(best.support, best.coef, strict=True)}


def modulated(x, v, u):
    return u - 2.0 * x - 0.3 * v - 0.5 * u * x


@pytest.mark.parametrize("name", ["u", "my force"])
def test_a_stiffness_that_the_input_modulates_is_found(name):
    work, kan = searched(modulated, name=name)
    assert modulate(work, work.dictionary, kan)
    found, force = chosen(work), sympy.Symbol(name)
    assert set(found) == {force, X, V, force * X}
    assert found[force * X] == pytest.approx(-0.5, rel=0.01)
    # The parameters are judged with the products among the candidates.
    assert len(work.judge.charges) == len(work.dictionary)


def test_no_product_is_tried_where_the_law_explains_the_data_or_the_library_is_the_users():
    work, kan = searched(lambda x, v, u: u - 2.0 * x - 0.3 * v)
    before = work.dictionary
    assert not modulate(work, work.dictionary, kan)
    assert work.dictionary is before
    work, kan = searched(modulated, replace(Options(), library="poly1"))
    assert not modulate(work, work.dictionary, kan)


def test_products_that_do_not_explain_the_data_leave_everything_as_it_was():
    def cornered(x, v, u):
        return u - 2.0 * x - 0.3 * v - 6.0 * np.maximum(x - 0.3, 0.0)

    work, kan = searched(cornered)
    before = (work.dictionary, work.judge, work.ranked[0].support, dict(work.pool))
    assert not modulate(work, work.dictionary, kan)
    assert (work.dictionary, work.judge, work.ranked[0].support, dict(work.pool)) == before


def test_every_law_gets_its_columns():
    dictionary = make_dictionary(Chain(2, 2, ("u",)), Options())
    more = dictionary.with_terms([U * sympy.Symbol("x1"), U * sympy.Symbol("v2")])
    assert len(more) == len(dictionary) + 4
    assert more.laws[-4:] == (0, 0, 1, 1)
    np.testing.assert_array_equal(more.weights[-4:], 1.3)
    assert [str(column.expr) for column in more.columns[-2:]] == ["u*x1", "u*v2"]
    assert len(more.required) == len(more.values) == len(more)
