"""What correlated misfit proves of a law's terms, against closed forms, trials and known laws."""

import numpy as np
import pytest
import sympy
from numpy.testing import assert_allclose
from scipy.signal import lfilter

from discoverers.structures import Channel, Options
from discoverers.structures.chain.dictionary import make_dictionary
from discoverers.structures.chain.extraction import Extraction
from discoverers.structures.chain.judging import Judge
from discoverers.structures.chain.misfit_correlation import count_independent, samples_each
from discoverers.structures.chain.model import Chain
from discoverers.structures.chain.structure import _task

from .chain_systems import REST, data, oscillator

CHAIN = Chain(2, 1, ("u",))
POSITION = (Channel("p", states={"x": 1.0}),)
X, V, U = sympy.symbols("x v u")
NO_FLOOR = np.zeros(1)


def autoregressive(shape, seed, phi=0.8):
    noise = np.random.default_rng(seed).normal(size=(shape[0] + 200, *shape[1:]))
    return lfilter([1.0], [1.0, -phi], noise, axis=0)[200:]


# --- samples that count as one


def test_samples_that_count_as_one_are_those_of_the_closed_form():
    # r_k = phi^k: 1 + 2 sum phi^(2 k) = (1 + phi^2) / (1 - phi^2).
    phi = 0.8
    series = autoregressive((20_000, 2), 0, phi)
    expected = (1.0 + phi**2) / (1.0 - phi**2)
    runs = [series[:, :1], series[:, 1:]]
    assert_allclose(samples_each(runs, NO_FLOOR), expected, rtol=0.05)
    # Gains in units of twice the variance are half as large.
    assert_allclose(samples_each(runs, series.std(keepdims=True)[0]), expected / 2, rtol=0.05)
    assert_allclose(samples_each(runs, 10.0 * series.std(keepdims=True)[0]), 1.0)


def test_a_useless_term_gains_as_many_times_more_as_it_says():
    residuals, terms = autoregressive((400, 2000), 1), autoregressive((400, 2000), 2)
    gains = (residuals * terms).sum(axis=0) ** 2 / (terms**2).sum(axis=0) / residuals.var()
    each = [samples_each([residuals[:, k : k + 1]], NO_FLOOR)[0] for k in range(100)]
    assert_allclose(np.mean(each), gains.mean(), rtol=0.12)


def test_white_or_few_residuals_count_one_by_one():
    noise = np.random.default_rng(0).normal(size=(500, 2))
    noise[::7] = np.nan
    assert_allclose(samples_each([noise, noise[:100]], np.zeros(2)), 1.0, rtol=0.0)
    assert_allclose(samples_each([np.zeros((30, 1))], NO_FLOOR), 1.0, rtol=0.0)
    # One channel's misfit is not the other's.
    mixed = np.column_stack([noise[:, 0], np.sin(np.arange(500) / 5.0)])
    first, second = samples_each([mixed], np.zeros(2))
    assert first == 1.0
    assert second > 20.0


# --- laws


def searched(law, terms, coef, seed, disturbance):
    """A search around the true law, on a position that an unmeasured force disturbs as well."""
    rng, dt = np.random.default_rng(seed), 0.25
    t = np.arange(600) * dt
    frequencies, phases = np.linspace(0.02, 0.35, 30), rng.uniform(0.0, 2.0 * np.pi, 30)

    def force(s):
        angles = 2.0 * np.pi * np.multiply.outer(s, frequencies) + phases
        return 0.1 * np.sin(angles).sum(axis=-1) / np.sqrt(15.0)

    states, _ = oscillator(law, t, u=force)
    # The same resonance and damping as the oscillator's at small amplitudes.
    shaken = lfilter(
        [1.0],
        [1.0, -2.0 * np.exp(-0.05 * dt) * np.cos(dt), np.exp(-0.1 * dt)],
        rng.normal(size=800),
    )[200:]
    size = disturbance * states[:, 0].std()
    given = data(t, states[:, 0] + size * shaken / shaken.std(), force(t), REST, POSITION)
    task, dictionary = (
        _task(CHAIN, given, Options(), given.records), make_dictionary(CHAIN, Options()),
    )  # fmt: skip
    work = Extraction(
        task, dictionary, Judge.of(task, dictionary), given.observation(("x", "v")),
        np.array([size]),
    )  # fmt: skip
    order = np.argsort([dictionary.terms.index(term) for term in terms])
    support = tuple(dictionary.terms.index(terms[k]) for k in order)
    work.try_support(support, np.array(coef)[order], np.zeros((1, 2)))
    return work


def best_terms(work):
    return {work.dictionary.terms[k] for k in work.ranked[0].support}


def test_correlated_misfit_does_not_buy_terms_beside_a_cube():
    true = [X, V, X**3, U]
    work = searched(
        lambda x, v, u: -x - 0.1 * v - x**3 + u, true, [-1.0, -0.1, -1.0, 1.0], 0, 0.005
    )
    names = work.dictionary.terms
    more = [X * sympy.Abs(X), V * X**2, sympy.tanh(X)]
    bought = tuple(sorted(names.index(term) for term in [*true, *more]))
    start = np.array([{X: -1.0, V: -0.1, U: 1.0, X**3: -1.0}.get(names[k], 0.0) for k in bought])
    work.try_support(bought, start, np.zeros((1, 2)))
    assert X * sympy.Abs(X) in best_terms(work)
    count_independent(work)
    assert best_terms(work) == set(true)
    assert work.judge.each[0] > 3.0


def test_a_law_with_a_corner_keeps_it_under_the_same_disturbance():
    true = [X, V, X * sympy.Abs(X), U]
    work = searched(
        lambda x, v, u: -x - 0.1 * v - x * np.abs(x) + u, true, [-1.0, -0.1, -1.0, 1.0], 0, 0.005
    )
    names = work.dictionary.terms
    smooth = tuple(sorted(names.index(term) for term in [X, V, X**3, U]))
    start = np.array([{X: -1.2, V: -0.1, U: 1.0, X**3: -1.0}[names[k]] for k in smooth])
    work.try_support(smooth, start, np.zeros((1, 2)))
    count_independent(work)
    assert best_terms(work) == set(true)
    assert work.judge.each[0] > 3.0


def test_white_noise_leaves_the_judge_as_it_was():
    t = np.arange(300) * 0.25
    states, _ = oscillator(lambda x, v, u: -x - 0.1 * v + u, t)
    noise = 0.01 * np.random.default_rng(0).normal(size=t.size)
    given = data(t, states[:, 0] + noise, np.sin(np.pi * t), REST, POSITION)
    task, dictionary = (
        _task(CHAIN, given, Options(), given.records), make_dictionary(CHAIN, Options()),
    )  # fmt: skip
    judge = Judge.of(task, dictionary)
    work = Extraction(task, dictionary, judge, given.observation(("x", "v")), np.array([0.01]))
    support = tuple(sorted(dictionary.terms.index(term) for term in (X, V, U)))
    start = np.array([{X: -1.0, V: -0.1, U: 1.0}[dictionary.terms[k]] for k in support])
    work.try_support(support, start, np.zeros((1, 2)))
    count_independent(work)
    assert work.judge is judge


def test_a_judge_divides_what_data_say_by_the_samples_that_count_as_one():
    task_data = data(np.arange(100) * 0.1, np.sin(np.arange(100) * 0.1), None, REST, POSITION)
    task = _task(Chain(2, 1, ()), task_data, Options(), task_data.records)
    dictionary = make_dictionary(Chain(2, 1, ()), Options())
    plain = Judge.of(task, dictionary)
    thinned = Judge.of(task, dictionary, np.array([4.0]))
    assert thinned.independent == pytest.approx(0.25)
    # Charges are those of a quarter of the samples.
    assert_allclose(thinned.charges, dictionary.charges(25, 1.0))
    assert_allclose(thinned.noise(np.array([1.0]), 3.0), 2.0 * plain.noise(np.array([1.0]), 3.0))
