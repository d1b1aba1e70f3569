"""The joint fit against dense linear algebra and SciPy; the dynamics are written in plain loops."""

import warnings
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import least_squares

from discoverers.joint import LINK_LEVELS, SUBSTEP_SHARE, JointFit, JointProblem, Record
from discoverers.libraries import PolynomialLibrary

TIGHT = LINK_LEVELS[-1]


@cache
def library_of(n_states, n_inputs=0, degree=2):
    states = tuple(f"x{i}" for i in range(n_states))
    return PolynomialLibrary(degree).bind(states, tuple(f"u{i}" for i in range(n_inputs)))


@cache
def exponents_of(n_states, n_inputs=0, degree=2):
    library = library_of(n_states, n_inputs, degree)
    return np.array(
        [sympy.Poly(term.expr, *library.variables).monoms()[0] for term in library.terms]
    )


@dataclass
class Plain:
    """J as a vector of residuals, one interval and one Runge-Kutta stage after the other."""

    problem: JointProblem
    exponents: np.ndarray

    def rate(self, coef, y, u):
        return coef @ np.prod(np.concatenate([y, u]) ** self.exponents, axis=1)

    def step(self, coef, y, record, i, count):
        h = record.steps[i] / count
        for part in range(count):
            a, b, c = (
                record.u[i] + (part + w) / count * (record.u[i + 1] - record.u[i])
                for w in (0.0, 0.5, 1.0)
            )
            k1 = self.rate(coef, y, a)
            k2 = self.rate(coef, y + h / 2 * k1, b)
            k3 = self.rate(coef, y + h / 2 * k2, b)
            k4 = self.rate(coef, y + h * k3, c)
            y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return y

    def residuals(self, coef, states, link):
        rows = []
        for record, y in zip(self.problem.records, states, strict=True):
            for i in range(len(y)):
                rows.append(np.sqrt(record.precision[i]) * (record.x[i] - y[i]))
                if i:
                    end = self.step(coef, y[i - 1], record, i - 1, self.problem.substeps)
                    rows.append((y[i] - end) / link)
        return np.concatenate(rows)

    def unpacked(self, unknowns, coef, columns):
        out, start = [], 0
        for record in self.problem.records:
            out.append(unknowns[start : start + record.x.size].reshape(record.x.shape))
            start += record.x.size
        filled = coef.astype(unknowns.dtype)
        filled.flat[columns] = unknowns[start:]
        return filled, out

    def of(self, unknowns, coef, columns, link):
        return self.residuals(*self.unpacked(unknowns, coef, columns), link)

    def jacobian(self, unknowns, coef, columns, link):
        """By complex steps: exact to rounding."""
        columns_of = []
        for i in range(len(unknowns)):
            moved = unknowns.astype(complex)
            moved[i] += 1e-30j
            columns_of.append(self.of(moved, coef, columns, link).imag / 1e-30)
        return np.stack(columns_of, axis=1)


def placed(coef, states, level):
    return JointFit(coef, states, np.zeros(len(coef)), level, True)


def packed(states, coef, columns):
    return np.concatenate([*(y.ravel() for y in states), coef.ravel()[columns]])


def random_problem(seed, n_states, lengths, n_inputs=0, substeps=1, degree=2, missing=0.2):
    rng = np.random.default_rng(seed)
    library = library_of(n_states, n_inputs, degree)
    kept = np.sort(rng.choice(len(library), size=min(5, len(library)), replace=False))
    records, states = [], []
    for n in lengths:
        precision = rng.uniform(50.0, 150.0, (n, n_states))
        precision[rng.random(precision.shape) < missing] = 0.0
        precision[0] = 100.0
        y = rng.uniform(0.3, 1.0, (n, n_states)) * rng.choice([-1.0, 1.0], (n, n_states))
        records.append(
            Record(
                steps=rng.uniform(0.05, 0.3, n - 1),
                x=y + 0.1 * rng.standard_normal(y.shape),
                precision=precision,
                u=rng.standard_normal((n, n_inputs)),
            )
        )
        states.append(y)
    problem = JointProblem(
        library=library,
        kept=kept,
        records=tuple(records),
        substeps=substeps,
        link_std=rng.uniform(0.05, 0.2, n_states),
        floor_std=np.full(n_states, 1e-3),
    )
    coef = rng.standard_normal((n_states, len(kept)))
    return (
        problem,
        coef,
        tuple(states),
        Plain(problem, exponents_of(n_states, n_inputs, degree)[kept]),
    )


def sampled(coef_of, n=25, noise=0.02, span=5.0, seed=0, x0=(1.5, 0.8), substeps=2, runs=1):
    """Noisy records of a planar system whose coefficients are given by term name."""
    library = library_of(2)
    coef = np.zeros((2, len(library)))
    for v, terms in enumerate(coef_of):
        for name, value in terms.items():
            coef[v, library.names.index(name)] = value
    rate = library.equations(coef).lambdify()
    rng = np.random.default_rng(seed)
    t = np.linspace(0.0, span, n)
    records = []
    for run in range(runs):
        start = np.asarray(x0) * (1.0 + 0.3 * run)
        clean = solve_ivp(lambda _, y: rate(y), (0.0, span), start, "DOP853", t, rtol=1e-11).y.T
        x = clean + noise * rng.standard_normal(clean.shape)
        records.append(Record(np.diff(t), x, np.full(x.shape, noise**-2), np.zeros((n, 0))))
    problem = JointProblem(
        library=library,
        kept=np.arange(len(library)),
        records=tuple(records),
        substeps=substeps,
        link_std=np.full(2, noise),
        floor_std=np.full(2, 1e-5),
    )
    return problem, coef, tuple(record.x for record in records)


PREY_AND_PREDATOR = ({"x0": 1.0, "x0*x1": -1.0}, {"x0*x1": 0.5, "x1": -1.0})


@pytest.fixture(scope="module")
def fitted():
    problem, coef, start = sampled(PREY_AND_PREDATOR, n=12, runs=2)
    columns = np.flatnonzero(coef)
    fit = problem.fit(1.1 * coef, start, LINK_LEVELS)
    return problem, fit, columns, Plain(problem, exponents_of(2))


# --- dynamics


def test_flow_is_the_solution_of_the_equations_and_of_fourth_order_in_the_substeps():
    library = library_of(2, 1)
    rng = np.random.default_rng(1)
    coef = 0.4 * rng.standard_normal((2, len(library)))
    y, u = rng.uniform(-1.0, 1.0, (6, 2)), rng.standard_normal((6, 1))
    steps = rng.uniform(0.3, 0.6, 5)
    record = Record(steps, y, np.ones_like(y), u)
    problem = JointProblem(library, np.arange(len(library)), (record,), 1, np.ones(2), np.ones(2))
    rate = library.equations(coef).lambdify()
    exact = [
        solve_ivp(
            lambda t, x, i=i: rate(x, u[i] + t / steps[i] * (u[i + 1] - u[i])),
            (0.0, steps[i]),
            y[i],
            "DOP853",
            rtol=1e-12,
            atol=1e-13,
        ).y[:, -1]
        for i in range(5)
    ]
    errors = np.array(
        [np.abs(problem.flow(coef, y, record, count) - exact).max() for count in (4, 8, 16, 32)]
    )
    assert errors[-1] < 1e-7
    np.testing.assert_allclose(np.log2(errors[:-1] / errors[1:]), 4.0, atol=0.35)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n_states=st.integers(1, 3),
    n_inputs=st.integers(0, 2),
    substeps=st.sampled_from([1, 2, 5]),
    compiled=st.booleans(),
    data=st.data(),
)
def test_sensitivities_are_the_derivatives_of_the_flow(
    seed, n_states, n_inputs, substeps, compiled, data
):
    problem, coef, (y,), plain = random_problem(seed, n_states, (4,), n_inputs, substeps)
    record = problem.records[0]
    assert problem._flow._program is not None
    if not compiled:  # the way of terms that are no monomials
        problem._flow.__dict__["_program"] = None
    columns = np.array(
        data.draw(st.lists(st.integers(0, coef.size - 1), unique=True, max_size=6)), dtype=np.intp
    )
    end, by_state, by_coef = problem._flow.sensitive_ends(
        coef, y, record, columns, problem.substeps
    )
    np.testing.assert_allclose(end, problem.flow(coef, y, record), rtol=1e-12)
    assert by_state.shape == (3, n_states, n_states)
    assert by_coef.shape == (3, n_states, len(columns))
    for i in range(3):
        for v in range(n_states):
            moved = y[i].astype(complex)
            moved[v] += 1e-30j
            slope = plain.step(coef, moved, record, i, substeps).imag / 1e-30
            np.testing.assert_allclose(by_state[i, :, v], slope, rtol=1e-9, atol=1e-11)
        for j, column in enumerate(columns):
            moved = coef.astype(complex)
            moved.flat[column] += 1e-30j
            slope = plain.step(moved, y[i], record, i, substeps).imag / 1e-30
            np.testing.assert_allclose(by_coef[i, :, j], slope, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("n", [63, 64, 65, 700])
def test_packs_of_intervals_leave_none_out(n):
    problem, coef, (y,), _ = random_problem(n, 3, (n + 1,), 1, 2)
    columns, record = np.arange(coef.size), problem.records[0]
    compiled = problem._flow.sensitive_ends(coef, y, record, columns, 2)
    ends = problem.flow(coef, y, record)
    problem._flow.__dict__["_program"] = None
    plain = problem._flow.sensitive_ends(coef, y, record, columns, 2)
    for one, other in zip((*compiled, ends), (*plain, plain[0]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)


def test_a_term_that_overflows_outside_of_the_equations_spoils_nothing():
    problem, coef, (y,), _ = random_problem(0, 1, (3,))
    problem = replace(problem, library=library_of(1, degree=3), kept=np.arange(4))
    coef, y = np.array([[0.0, 0.5, 0.0, 0.0]]), np.full((3, 1), 1e150)
    end, by_state, by_coef = problem._flow.sensitive_ends(
        coef, y, problem.records[0], np.arange(4), 1
    )
    np.testing.assert_allclose(end, np.exp(0.5 * problem.records[0].steps)[:, None] * 1e150, 1e-6)
    assert np.isfinite(by_state).all()
    np.testing.assert_array_equal(by_coef[..., 3], 0.0)


def test_enough_substeps_are_taken_and_no_more():
    problem, coef, _ = sampled(PREY_AND_PREDATOR, n=8, noise=0.05, substeps=1)
    record, rate = problem.records[0], problem.library.equations(coef).lambdify()
    y = np.clip(record.x, 0.2, None)
    exact = np.array(
        [
            solve_ivp(lambda _, x: rate(x), (0.0, h), x, "DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
            for h, x in zip(record.steps, y[:-1], strict=True)
        ]
    )
    allowed = SUBSTEP_SHARE * TIGHT * problem.link_std

    def error(count):
        return np.sqrt(((problem.flow(coef, y, record, count) - exact) ** 2).mean(axis=0))

    choices = (1, 2, 4, 8, 16)
    chosen = problem.with_substeps(choices, coef, [y]).substeps
    assert 1 < chosen < 16
    assert (error(chosen) < 1.2 * allowed).all()
    assert (error(chosen // 2) > 0.8 * allowed).any()
    assert problem.with_substeps((1, 2), coef, [y]).substeps == 2
    assert problem.with_substeps(choices, 1e-3 * coef, [y]).substeps == 1
    assert problem.with_substeps(choices, 1e6 * coef, [y]).substeps == 16


# --- objective


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), n_states=st.integers(1, 3), n_inputs=st.integers(0, 1))
def test_costs_are_sums_of_squared_residuals_by_state(seed, n_states, n_inputs):
    problem, coef, states, plain = random_problem(seed, n_states, (5, 1, 3), n_inputs, 2)
    link = 0.3 * problem.link_std
    rows = plain.residuals(coef, states, link).reshape(-1, n_states)
    costs = problem.costs(coef, states, link)
    np.testing.assert_allclose(costs, (rows**2).sum(axis=0), rtol=1e-10)
    assert JointFit(coef, states, costs, 0.3, True).cost == pytest.approx((rows**2).sum())
    assert problem.n_nodes == 9
    assert problem.n_rows == sum(np.count_nonzero(r.precision) for r in problem.records)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n_states=st.integers(1, 3),
    n_inputs=st.integers(0, 1),
    substeps=st.sampled_from([1, 3]),
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    data=st.data(),
)
def test_linearised_is_the_dense_normal_matrix_with_the_states_eliminated(
    seed, n_states, n_inputs, substeps, lengths, data
):
    problem, coef, states, plain = random_problem(seed, n_states, lengths, n_inputs, substeps)
    columns = np.array(
        data.draw(st.lists(st.integers(0, coef.size - 1), unique=True, max_size=6)), dtype=np.intp
    )
    link = 0.5 * problem.link_std
    local = problem.linearise(coef, states, link, columns)

    unknowns = packed(states, coef, columns)
    dense = plain.jacobian(unknowns, coef, columns, link)
    residual = plain.of(unknowns, coef, columns, link)
    split = len(unknowns) - len(columns)
    by_states, by_coef = dense[:, :split], dense[:, split:]
    inverse = np.linalg.inv(by_states.T @ by_states)
    response = -inverse @ (by_states.T @ by_coef)
    shift = -inverse @ (by_states.T @ residual)
    schur = by_coef.T @ (by_coef + by_states @ response)
    gradient = -by_coef.T @ (residual + by_states @ shift)

    size = max(np.abs(schur).max(initial=0.0), 1.0)
    np.testing.assert_allclose(local.schur, schur, atol=1e-8 * size)
    np.testing.assert_allclose(
        local.gradient, gradient, rtol=1e-7, atol=1e-8 * max(np.abs(gradient).max(initial=0), 1.0)
    )
    nodes = np.concatenate(states)
    np.testing.assert_allclose(
        local.moved(nodes, np.zeros(len(columns))).ravel(), nodes.ravel() + shift, atol=1e-7
    )
    for j, step in enumerate(np.eye(len(columns))):
        np.testing.assert_allclose(
            local.moved(nodes, step).ravel(),
            nodes.ravel() + shift + response[:, j],
            atol=1e-7 * max(np.abs(response).max(initial=0.0), 1.0),
        )
    assert (local.schur == local.schur.T).all()


def test_a_state_that_nothing_determines_is_refused():
    problem, coef, start = sampled(PREY_AND_PREDATOR, n=6)
    first = problem.records[0]
    blind = Record(first.steps[:0], first.x[:1], first.precision[:1] * [1.0, 0.0], first.u[:1])
    unseen = replace(problem, records=(first, blind))
    states = (*start, first.x[:1])
    with pytest.raises(FloatingPointError, match="singular"):
        unseen.linearise(coef, states, problem.link_std, np.flatnonzero(coef))
    assert unseen.fit(coef, states, LINK_LEVELS).cost == np.inf


# --- fit


def test_the_fit_is_the_minimum_that_scipy_finds(fitted):
    problem, fit, columns, plain = fitted
    link = TIGHT * problem.link_std
    start = packed([record.x for record in problem.records], fit.coef, columns)
    start[-len(columns) :] *= 1.05
    reference = least_squares(
        plain.of,
        start,
        jac=plain.jacobian,
        x_scale="jac",
        xtol=1e-12,
        ftol=1e-12,
        args=(fit.coef, columns, link),
    )
    information = reference.jac.T @ reference.jac
    std = np.sqrt(np.diagonal(np.linalg.inv(information)))
    assert fit.converged
    assert fit.level == TIGHT
    assert fit.cost == pytest.approx(problem.costs(fit.coef, fit.states, link).sum(), rel=1e-12)
    assert -1e-6 < fit.cost - 2.0 * reference.cost < 0.02
    found = packed(fit.states, fit.coef, columns)
    assert (np.abs(found - reference.x) < 0.1 * std).all()


def test_covariance_is_the_inverse_of_the_dense_information(fitted):
    problem, fit, columns, plain = fitted
    unknowns = packed(fit.states, fit.coef, columns)
    dense = plain.jacobian(unknowns, fit.coef, columns, TIGHT * problem.link_std)
    expected = np.linalg.inv(dense.T @ dense)[-len(columns) :, -len(columns) :]
    covariance = problem.normal_equations(fit, columns).covariance(range(len(columns)))
    np.testing.assert_allclose(covariance, expected, rtol=1e-4, atol=1e-6 * expected.max())


def test_the_quadratic_predicts_what_refitted_states_cost_nearby(fitted):
    problem, fit, columns, plain = fitted
    link = TIGHT * problem.link_std
    normal = problem.normal_equations(fit, columns)
    everything = range(len(columns))
    root = np.linalg.cholesky(normal.covariance(everything))
    now = fit.coef.ravel()[columns]
    assert normal.loss_at(everything, now) == pytest.approx(fit.cost, abs=0.02)
    assert normal.loss(everything) <= fit.cost + 1e-5
    rng = np.random.default_rng(0)
    none = np.zeros(0, dtype=np.intp)
    for direction in rng.standard_normal((3, len(columns))):
        # One standard error away, in the metric of the errors' correlations.
        step = root @ (direction / np.linalg.norm(direction))
        moved = fit.coef.copy()
        moved.flat[columns] += step
        refitted = least_squares(
            plain.of,
            packed(fit.states, moved, none),
            jac=plain.jacobian,
            x_scale="jac",
            args=(moved, none, link),
        )
        rise = 2.0 * refitted.cost - fit.cost
        predicted = normal.loss_at(everything, moved.ravel()[columns]) - fit.cost
        assert 0.7 < rise < 1.4
        assert predicted == pytest.approx(rise, rel=0.05, abs=0.03)


def test_the_quadratic_ranks_a_missing_term_as_a_full_fit_does(fitted):
    problem, fit, columns, _ = fitted
    everything = np.arange(fit.coef.size)
    normal = problem.normal_equations(fit, everything)
    richer = fit.coef.copy()
    extra = np.ravel_multi_index((0, problem.library.names.index("x1")), richer.shape)
    support = np.sort([*columns, extra])
    richer.flat[support] = normal.solve(support)
    refitted = problem.fit(richer, fit.states, LINK_LEVELS)
    assert normal.loss(support) == pytest.approx(refitted.cost, abs=0.1)
    assert refitted.cost <= fit.cost + 0.02


def test_zeros_stay_zero_and_far_starts_come_home():
    problem, coef, start = sampled(PREY_AND_PREDATOR, n=60, span=8.0)
    fit = problem.fit(0.4 * coef, start, LINK_LEVELS)
    assert fit.converged
    np.testing.assert_array_equal(fit.coef == 0, coef == 0)
    np.testing.assert_allclose(fit.coef[coef != 0], coef[coef != 0], rtol=0.1)


def test_nothing_to_fit_is_a_fit_of_constants():
    problem, coef, start = sampled(PREY_AND_PREDATOR, runs=2)
    fit = problem.fit(np.zeros_like(coef), start, LINK_LEVELS)
    assert (fit.coef == 0).all()
    for record, y in zip(problem.records, fit.states, strict=True):
        # With x' = 0 the states are nearly constant, at the mean of the data.
        np.testing.assert_allclose(y.mean(axis=0), record.x.mean(axis=0), atol=1e-6)
        assert (np.ptp(y, axis=0) < 0.2 * np.ptp(record.x, axis=0)).all()
    normal = problem.normal_equations(fit, np.flatnonzero(coef))
    assert normal.loss([]) == pytest.approx(fit.cost)


def test_runs_of_one_sample_have_no_link():
    problem, coef, start = sampled(PREY_AND_PREDATOR, runs=2)
    first = problem.records[0]
    lone = Record(first.steps[:0], first.x[:1], first.precision[:1], first.u[:1])
    mixed = replace(problem, records=(*problem.records, lone))
    fit = mixed.fit(coef, (*start, lone.x + 0.3), LINK_LEVELS)
    without = problem.fit(coef, start, LINK_LEVELS)
    np.testing.assert_allclose(fit.states[-1], lone.x, atol=1e-12)
    np.testing.assert_allclose(fit.coef, without.coef, rtol=1e-6)
    assert fit.cost == pytest.approx(without.cost, abs=1e-3)


@pytest.mark.parametrize("size", [1e3, 1e60, 1e140])
def test_a_flow_that_explodes_costs_infinity_without_exception_or_warning(size):
    problem, coef, start = sampled(PREY_AND_PREDATOR)
    wild = coef.copy()
    wild[0, problem.library.names.index("x0**2")] = size
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if size > 1e3:
            assert (problem.costs(wild, start, problem.link_std) == np.inf).all()
        fit = problem.fit(wild, start, LINK_LEVELS)
    assert not fit.converged or np.isfinite(fit.cost)
    if size > 1e3:
        assert fit.cost == np.inf


# --- noise


def dense_leverage(problem, coef, states, plain, link):
    """Precision times variance of every state, given the coefficients."""
    none = np.zeros(0, dtype=np.intp)
    dense = plain.jacobian(packed(states, coef, none), coef, none, link)
    variance = np.diagonal(np.linalg.inv(dense.T @ dense))
    return variance * np.concatenate([record.precision.ravel() for record in problem.records])


@pytest.mark.parametrize("level", [1.0, TIGHT])
def test_noise_and_chi2_are_what_they_are_defined_to_be(level):
    problem, coef, states, plain = random_problem(3, 2, (8, 6), substeps=2)
    coef[0, 1:3] = 0.0
    fit = placed(coef, states, level)
    noise, chi2 = problem.noise_std(fit), problem.chi2(fit)
    link = level * problem.link_std
    leverage = dense_leverage(problem, coef, states, plain, link).reshape(-1, 2)
    for v in range(2):
        unweighted, weighted, links, count = 0.0, 0.0, 0.0, 0
        for record, y in zip(problem.records, states, strict=True):
            for i in range(len(y)):
                if record.precision[i, v] > 0:
                    count += 1
                    unweighted += (record.x[i, v] - y[i, v]) ** 2
                    weighted += record.precision[i, v] * (record.x[i, v] - y[i, v]) ** 2
                if i:
                    end = plain.step(coef, y[i - 1], record, i - 1, 2)
                    links += ((y[i, v] - end[v]) / link[v]) ** 2
        freedom = max(count - leverage[:, v].sum() - np.count_nonzero(coef[v]), 1.0)
        assert noise[v] == pytest.approx(np.sqrt(unweighted / freedom), rel=1e-6)
        assert chi2[v] == pytest.approx((weighted + links) / freedom, rel=1e-6)


def test_the_noise_of_a_right_fit_is_that_of_the_data():
    problem, coef, start = sampled(PREY_AND_PREDATOR, n=400, noise=0.03, span=20.0)
    fit = problem.fit(coef, start, LINK_LEVELS)
    np.testing.assert_allclose(problem.noise_std(fit), 0.03, rtol=0.12)
    np.testing.assert_allclose(problem.chi2(fit), 1.0, atol=0.2)


@settings(max_examples=12, deadline=None)
@given(misfit=st.floats(1e-6, 1e3), floor=st.floats(1e-7, 1.0), times=st.integers(1, 3))
def test_sharpened_precision_follows_the_residuals_down_to_the_floor(misfit, floor, times):
    problem, coef, _ = sampled(PREY_AND_PREDATOR, n=20)
    noise = problem.link_std
    problem = replace(problem, floor_std=np.array([floor, 1e-9]))
    residual = misfit * noise * np.where(np.arange(20) % 2, 1.0, -1.0)[:, None]
    fit = placed(coef, (problem.records[0].x - residual,), TIGHT)
    lowest = np.minimum(problem.floor_std, noise)
    sharp = problem
    for _ in range(times):
        rms = sharp.noise_std(fit)
        expected = np.clip(rms, np.minimum(lowest, sharp.link_std), sharp.link_std)
        sharp = sharp.sharpened(fit)
        np.testing.assert_allclose(sharp.link_std, expected, rtol=1e-9)
        # The flow is undetermined to rounding where the noise is that small.
        np.testing.assert_allclose(
            sharp.records[0].precision, np.broadcast_to(expected**-2.0, (20, 2)), rtol=1e-9
        )
    np.testing.assert_array_equal(sharp.records[0].x, problem.records[0].x)


def test_missing_measurements_stay_without_weight_when_sharpened():
    problem, coef, states, _ = random_problem(5, 2, (12,), missing=0.4)
    sharp = problem.sharpened(placed(coef, states, TIGHT))
    blind = problem.records[0].precision == 0
    assert blind.any()
    np.testing.assert_array_equal(sharp.records[0].precision == 0, blind)


# --- how exact the law is


def test_evidence_is_the_likelihood_of_the_data_with_the_states_integrated_out():
    # x' = -x/2 and links of standard deviation q: x is Gaussian, but for a free first state.
    library = library_of(1, degree=1)
    rng = np.random.default_rng(2)
    n, noise, h = 12, 0.1, 0.4
    x = (2.0 * np.exp(-0.5 * h * np.arange(n)) + noise * rng.standard_normal(n))[:, None]
    record = Record(np.full(n - 1, h), x, np.full((n, 1), noise**-2), np.zeros((n, 0)))
    problem = JointProblem(library, np.arange(2), (record,), 4, np.array([noise]), np.array([1e-6]))
    _, evidence = problem.likeliest_level(np.array([[0.0, -0.5]]), [x])
    assert tuple(evidence) == LINK_LEVELS

    def likelihood(level):
        levels = [one for one in LINK_LEVELS if one >= level]
        coef = problem.fit(np.array([[0.0, -0.5]]), [x], levels).coef[0, 1]
        decay = np.exp(coef * h)
        carry = np.array(
            [[decay ** (i - j) if i >= j else 0.0 for j in range(n)] for i in range(n)]
        )
        spread = carry[:, 1:] @ carry[:, 1:].T * (level * noise) ** 2 + noise**2 * np.eye(n)
        first, inverse = carry[:, :1], np.linalg.inv(spread)
        curvature = first.T @ inverse @ first
        start = np.linalg.solve(curvature, first.T @ inverse @ x)
        misfit = x - first @ start
        return float(
            (misfit.T @ inverse @ misfit).item()
            + np.linalg.slogdet(spread)[1]
            + np.log(curvature.item())
        )

    expected = np.array([likelihood(level) for level in LINK_LEVELS])
    found = np.array([evidence[level] for level in LINK_LEVELS])
    np.testing.assert_allclose(found - found[0], expected - expected[0], atol=0.02)


def test_exact_laws_have_tight_links_and_rough_ones_loose():
    problem, coef, start = sampled(PREY_AND_PREDATOR, n=80, span=10.0)
    exact, _ = problem.likeliest_level(coef, start)
    assert exact.level <= 0.1
    # A random push at every step, as large as the noise: no law of the states explains it.
    rng = np.random.default_rng(0)
    record, y = problem.records[0], np.array([[1.5, 0.8]])
    for h in record.steps:
        one = replace(record, steps=np.array([h]), u=np.zeros((2, 0)))
        end = problem.flow(coef, np.concatenate([y[-1:], y[-1:]]), one)
        y = np.concatenate([y, end + problem.link_std * rng.standard_normal((1, 2))])
    pushed = replace(record, x=y + problem.link_std * rng.standard_normal(y.shape))
    rough, evidence = replace(problem, records=(pushed,)).likeliest_level(coef, [pushed.x])
    assert rough.level >= 0.3
    assert min(evidence, key=evidence.__getitem__) == rough.level


def test_no_level_can_be_fitted_where_the_flow_explodes():
    problem, coef, start = sampled(PREY_AND_PREDATOR)
    found, evidence = problem.likeliest_level(1e60 * coef, start)
    assert found.cost == np.inf
    assert evidence == {}
