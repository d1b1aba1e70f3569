"""Samples next to the switches of a law that jumps are left out of its judgement."""

import numpy as np
import pytest
import sympy

from discoverers.datasets import nonlinear_oscillator, observe
from discoverers.skanode import SKANODERegressor
from discoverers.structures import Options
from discoverers.structures.chain.dictionary import Dictionary, make_dictionary
from discoverers.structures.chain.judging import Candidate
from discoverers.structures.chain.model import Chain, ChainTask
from discoverers.structures.chain.switches import clear_of_switches
from tests.structures.chain_systems import REST, data

CHAIN = Chain(2, 1, ("u",))
SPEEDS = np.array([1.0, 0.6, 0.2, -0.3, -0.8, -0.5, -0.1, -1e-6, -0.2, -0.6, -1.0, -0.7, -0.4])


def task_of(speeds: np.ndarray) -> ChainTask:
    t = np.arange(len(speeds)) * 0.1
    given = data(t, np.cos(t), np.sin(t), REST)
    return ChainTask(
        CHAIN,
        given,
        Options(),
        given.records,
        np.zeros((1, 2), dtype=bool),
        False,
        np.array([1e-9]),
    )


def law(dictionary: Dictionary, names: tuple[str, ...], speeds: np.ndarray) -> Candidate:
    support = tuple(sorted(dictionary.terms.index(sympy.sympify(name)) for name in names))
    states = (np.column_stack([np.zeros(len(speeds)), speeds]),)
    k = len(support)
    return Candidate(support, np.ones(k), REST, np.ones(1), 1.0, True, 1.0, 0.0, states)


def test_rows_in_the_layer_and_beside_a_change_of_sign_are_left_out():
    task = task_of(SPEEDS)
    dictionary = make_dictionary(CHAIN, Options()).softened(
        [np.column_stack([SPEEDS, SPEEDS])], 1e-3
    )
    before = task.records[0].y.copy()
    cleared = clear_of_switches(task, dictionary, law(dictionary, ("x", "sign(v)"), SPEEDS))
    # The sign changes between rows 2 and 3; row 7 is within a thousandth of the speeds' size.
    assert np.flatnonzero(np.isnan(cleared.records[0].y[:, 0])).tolist() == [2, 3, 7]
    assert cleared.n_observed.tolist() == [len(SPEEDS) - 3]
    np.testing.assert_array_equal(task.records[0].y, before)


@pytest.mark.parametrize(
    ("names", "speeds"),
    [
        pytest.param(("x", "v"), SPEEDS, id="a law that does not jump"),
        pytest.param(("x", "sign(v)"), SPEEDS * (-1.0) ** np.arange(13), id="all switches"),
    ],
)
def test_nothing_is_left_out_where_nothing_jumps_or_nothing_would_be_left(names, speeds):
    task = task_of(speeds)
    dictionary = make_dictionary(CHAIN, Options()).softened(
        [np.column_stack([speeds, speeds])], 1e-3
    )
    assert clear_of_switches(task, dictionary, law(dictionary, names, speeds)) is task


@pytest.mark.slow
def test_friction_at_low_noise_buys_no_terms_at_the_samples_that_stick():
    # Three strengths of the force: four samples in a hundred stick, each 300 noises off the law.
    records = [
        observe(nonlinear_oscillator("coulomb", amplitude=a), "acceleration", noise=0.001, seed=i)
        for i, a in enumerate((0.5, 1.0, 1.5))
    ]
    t, y, u = ([getattr(r, name)[:201] for r in records] for name in "tyu")
    model = SKANODERegressor(initial_state="rest").fit(t, y, u=u)
    (found,) = list(model.equations_.terms().values())[1:]
    assert {str(term) for term in found} == {"x", "v", "u0", "sign(v)"}
