"""Samples next to the switches of a law that jumps are left out of its judgement."""

from dataclasses import replace

import numpy as np
import pytest
import sympy

from discoverers.datasets import nonlinear_oscillator, observe
from discoverers.skanode import SKANODERegressor
from discoverers.structures import Options
from discoverers.structures.chain.dictionary import Dictionary, make_dictionary
from discoverers.structures.chain.extraction import Extraction
from discoverers.structures.chain.judging import Candidate, Judge
from discoverers.structures.chain.model import ChainTask
from discoverers.structures.chain.switches import (
    _without_constants,
    clear_of_switches,
    leave_out_switches,
    sharpen,
)
from tests.structures.chain_systems import CHAIN, REST, data, task_at_rest

SPEEDS = np.array([1.0, 0.6, 0.2, -0.3, -0.8, -0.5, -0.1, -1e-6, -0.2, -0.6, -1.0, -0.7, -0.4])


def task_of(speeds: np.ndarray) -> ChainTask:
    t = np.arange(len(speeds)) * 0.1
    given = data(t, np.cos(t), np.sin(t), REST)
    return task_at_rest(given, 1e-9)


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


def friction_search(terms: tuple[str, ...]) -> Extraction:
    """A search whose only law so far is that of some terms, on a record with dry friction."""
    record = observe(nonlinear_oscillator("coulomb"), "acceleration", noise=0.01, seed=0)
    head = slice(None, 101)
    given = data(record.t[head], record.y[head, 0], record.u[head, 0], REST)
    fixed, floor = np.zeros((1, 2), dtype=bool), np.array([2e-3])
    task = ChainTask(CHAIN, given, Options(), given.records, fixed, False, floor)
    dictionary = make_dictionary(CHAIN, Options()).softened([record.states[head]], 1e-2)
    work = Extraction(
        task, dictionary, Judge.of(task, dictionary), given.observation(CHAIN.state_names),
        np.array([0.01]), 1,
    )  # fmt: skip
    names = [str(term) for term in dictionary.terms]
    support = tuple(sorted(names.index(name) for name in terms))
    work.try_support(support, np.zeros(len(support)), REST)
    return work


def test_a_law_that_jumps_is_judged_without_its_switches_and_then_with_thin_layers():
    work = friction_search(("x", "v", "u", "sign(v)"))
    whole, wide = work.task, dict(work.dictionary.widths)
    assert leave_out_switches(work)
    assert (work.task.n_observed < whole.n_observed).all()
    assert not leave_out_switches(work)
    sharpen(work)
    assert work.dictionary.widths["v"] < 0.2 * wide["v"]
    best = work.ranked[0]
    assert {str(work.dictionary.terms[k]) for k in best.support} == {"x", "v", "u", "sign(v)"}
    np.testing.assert_allclose(sorted(best.coef), [-2.0, -0.3, -0.1, 1.0], atol=0.02)


def test_all_samples_have_their_say_where_no_law_jumps_after_all():
    work = friction_search(("x", "u"))
    assert not leave_out_switches(work)
    whole = work.task
    smooth = work.ranked[0]
    y = whole.records[0].y.copy()
    y[::3] = np.nan
    few = replace(whole, records=(replace(whole.records[0], y=y),))
    # Without sign(v) among the candidates no law can jump.
    work.dictionary = make_dictionary(CHAIN, Options(library="poly1"))
    work.pool.clear()
    work.whole = whole
    work.restart(few, [replace(smooth, support=tuple(
        work.dictionary.terms.index(sympy.Symbol(name)) for name in ("x", "u")
    ))])  # fmt: skip
    sharpen(work)
    assert work.task is whole
    assert work.whole is None
    np.testing.assert_array_equal(work.judge.n_observed, whole.n_observed)


def test_a_constant_that_only_counts_from_another_level_is_left_out():
    known = friction_search(("x", "u"))
    free = np.ones((1, 2), dtype=bool)
    work = replace(known, task=replace(known.task, free_x0=free, shiftable=True), pool={})
    names = [str(term) for term in work.dictionary.terms]
    values = {"1": 0.2, "x": -2.0, "v": -0.1, "u": 1.0, "sign(v)": -0.3}
    support = tuple(sorted(map(names.index, values)))
    coef = np.array([values[names[k]] for k in support])
    # 0.2 - 2 x with x a tenth higher is -2 x.
    shifted = work.try_support(support, coef, np.array([[0.1, 0.0]]))
    without = tuple(k for k in support if names[k] != "1")
    _without_constants(work)
    assert work.ranked[0].support == without
    found = work.pool[without]
    assert found.rss == pytest.approx(shifted.rss, rel=1e-3)
    level = shifted.coef[support.index(names.index("1"))] / 2.0
    assert found.x0[0, 0] == pytest.approx(shifted.x0[0, 0] - level, abs=2e-3)
    for kept in (replace(known, pool={support: shifted}), work):
        before = set(kept.pool)
        # The level is known, or there is no constant left.
        _without_constants(kept)
        assert set(kept.pool) == before


@pytest.mark.slow
def test_exact_friction_from_an_unknown_start_has_no_constant():
    record = observe(nonlinear_oscillator("coulomb"), "acceleration", noise=0.0).training()
    model = SKANODERegressor().fit(record.t, record.y, u=record.u)
    (found,) = list(model.equations_.terms().values())[1:]
    assert {str(term) for term in found} == {"x", "v", "u0", "sign(v)"}


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
