"""Terms judged by the joint fit: from wrong starts to the truth, whole and in blocks."""

from dataclasses import replace

import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp

from discoverers import refinement, term_search
from discoverers.datasets import duffing, generate, lotka_volterra, make_system, van_der_pol
from discoverers.denoising import denoise
from discoverers.integration import MechanisticIntegral
from discoverers.libraries import resolve_library
from discoverers.refinement import refine
from discoverers.selection import select_terms
from discoverers.trajectories import as_trajectories


def select(t, X, library="poly2", *, u=None, max_terms=None, noise_std=None):
    """Stages 1 and 2."""
    trajectories = as_trajectories(t, X, u=u)
    bound = resolve_library(library).bind(trajectories.state_names, trajectories.input_names)
    known = None if noise_std is None else np.broadcast_to(noise_std, bound.allowed.shape[:1])
    return select_terms(
        trajectories,
        denoise(trajectories, known),
        bound,
        MechanisticIntegral(),
        window=30,
        gamma=1.0,
        max_terms=max_terms,
    )


def selection_of(record, library="poly2", **options):
    return select(record.t, record.X, library, **options)


def starting_from(selection, *supports):
    """The same regression, had it chosen these terms (by name) for each equation."""
    names = [selection.library.names[k] for k in selection.kept]
    fits = []
    for fit, support in zip(selection.fits, supports, strict=True):
        best = tuple(sorted(names.index(name) for name in support))
        search = replace(fit.search, best=best)
        fits.append(replace(fit, search=search, coef=fit.coef_of(best)))
    return replace(selection, fits=tuple(fits))


def terms_of(selection, coef):
    names = [selection.library.names[k] for k in selection.kept]
    return tuple({names[k] for k in np.flatnonzero(row)} for row in coef)


def test_a_better_law_far_from_the_regressions_choice_is_come_upon():
    # One species dies out early, so that cubic terms pass for its law in the regression; moves of
    # single terms lead nowhere from there.
    def rate(_, s):
        x, y = s
        return 3.0 * x - x**2 - 2.0 * x * y, 2.0 * y - x * y - y**2

    t = np.linspace(0.0, 10.0, 150)
    clean = solve_ivp(rate, (0, 10), (0.3, 0.25), t_eval=t, rtol=1e-10, atol=1e-12).y.T
    rng = np.random.default_rng(2)
    X = clean + 0.01 * clean.std(axis=0) * rng.standard_normal(clean.shape)
    selection = select(t, X, "poly3")
    assert terms_of(selection, selection.coef)[0] == {"x1", "x1**2", "x0*x1**2"}
    refined = refine(selection, None, known_noise=False)
    assert terms_of(selection, refined.coef) == (
        {"x0", "x0**2", "x0*x1"},
        {"x1", "x0*x1", "x1**2"},
    )


PREY = {"x0", "x0*x1"}
PREDATOR = {"x1", "x0*x1"}


@pytest.fixture(scope="module")
def noisy():
    return selection_of(generate(lotka_volterra(), 200, noise=0.03, seed=1))


@pytest.fixture(scope="module")
def refined(noisy):
    return refine(noisy, None, known_noise=False)


# --- which terms


@pytest.mark.parametrize(
    ("prey", "predator"),
    [
        (PREY, PREDATOR),
        (PREY | {"x1"}, PREDATOR),
        (PREY | {"x0**2"}, PREDATOR | {"1"}),
        pytest.param({"x0*x1"}, PREDATOR),
        pytest.param({"x0*x1"}, {"x0*x1"}),
        ({"x0", "x1"}, PREDATOR),
    ],
    ids=["truth", "one too many", "two too many", "one too few", "two too few", "a wrong one"],
)
def test_the_truth_is_found_from_wrong_starts(noisy, refined, prey, predator):
    found = refine(starting_from(noisy, prey, predator), None, known_noise=False)
    assert terms_of(noisy, found.coef) == (PREY, PREDATOR)
    # The way there leaves no trace: the minimum is the same to a small part of the error.
    active = found.coef != 0
    off = np.abs(found.coef - refined.coef)[active] / refined.coef_std[active]
    assert (off < 0.2).all()
    assert found.n_fitted >= 1


@pytest.mark.parametrize("prey", [{"x0"}, {"x0*x1"}, {"1"}])
def test_what_is_missing_is_found_where_the_noise_is_known(prey):
    record = generate(lotka_volterra(), 150, noise=0.02, seed=1)
    selection = selection_of(record, noise_std=record.noise_std)
    found = refine(starting_from(selection, prey, {"x0*x1"}), None, known_noise=True)
    assert terms_of(selection, found.coef) == (PREY, PREDATOR)


def test_errors_are_given_where_a_term_is_and_the_truth_is_within_them(noisy, refined):
    np.testing.assert_array_equal(refined.coef_std > 0, refined.coef != 0)
    truth = lotka_volterra().equations.terms()
    for v, name in enumerate(lotka_volterra().state_names):
        expected = sorted(truth[name].values())
        found = refined.coef[v][refined.coef[v] != 0]
        errors = refined.coef_std[v][refined.coef[v] != 0][np.argsort(found)]
        assert (np.abs(np.sort(found) - expected) < 4.0 * errors).all()


@pytest.mark.parametrize("max_terms", [1, 2])
def test_no_equation_has_more_terms_than_allowed(max_terms):
    record = generate(van_der_pol(), 200, noise=0.02, seed=0)
    selection = selection_of(record, "poly3", max_terms=max_terms)
    found = refine(selection, max_terms, known_noise=False)
    assert (np.count_nonzero(found.coef, axis=1) <= max_terms).all()
    for coef, _ in found.alternatives(50.0):
        assert (np.count_nonzero(coef, axis=1) <= max_terms).all()


def test_the_front_too_has_no_more_terms_than_allowed():
    record = generate(van_der_pol(), 200, noise=0.02, seed=0)
    found = refine(selection_of(record, "poly3", max_terms=2), 2, known_noise=False)
    for row in found.front():
        assert (np.count_nonzero(row.coef, axis=1) <= 2).all()


def test_libraries_that_forbid_a_term_never_see_it_again():
    record = generate(lotka_volterra(), 200, noise=0.02, seed=0)
    selection = selection_of(record)
    allowed = selection.library.allowed.copy()
    names = list(selection.library.names)
    allowed[0, names.index("x0")] = False
    barred = replace(selection, library=replace(selection.library, allowed=allowed))
    found = refine(starting_from(barred, {"x0*x1"}, PREDATOR), None, known_noise=False)
    for coef in (found.coef, *(row.coef for row in found.front())):
        assert coef[0, names.index("x0")] == 0


def test_many_candidates_are_cut_to_those_that_regression_liked(monkeypatch):
    selection = selection_of(generate(lotka_volterra(), 200, noise=0.02, seed=0))
    monkeypatch.setattr(term_search, "MAX_COLUMNS", 8)
    columns = term_search.columns_in_play(selection)
    assert len(columns) <= 8
    assert set(np.flatnonzero(selection.coef)) <= set(columns.tolist())
    found = refine(selection, None, known_noise=False)
    assert terms_of(selection, found.coef) == (PREY, PREDATOR)


def test_equations_that_cannot_be_integrated_leave_the_regression_alone(noisy):
    wild = starting_from(noisy, PREY | {"x0**2"}, PREDATOR)
    names = [wild.library.names[k] for k in wild.kept]
    first = wild.fits[0]
    coef = np.where(np.arange(len(names)) == names.index("x0**2"), 1e60, first.coef)
    wild = replace(wild, fits=(replace(first, coef=coef), wild.fits[1]))
    assert refine(wild, None, known_noise=False) is None


# --- noise


def test_noise_is_estimated_anew_unless_it_is_known():
    record = generate(lotka_volterra(), 300, noise=0.02, seed=2)
    anew = refine(selection_of(record), None, known_noise=False)
    np.testing.assert_allclose(anew.noise_std, record.noise_std, rtol=0.15)
    np.testing.assert_allclose(anew.chi2, 1.0, atol=0.25)
    # Told that the noise is three times what it is, errors are three times as large; left to
    # estimate it, they are what the data say.
    told = selection_of(record, noise_std=3.0 * record.noise_std)
    known = refine(told, None, known_noise=True)
    free = refine(told, None, known_noise=False)
    active = anew.coef != 0
    assert terms_of(told, known.coef) == terms_of(told, free.coef) == (PREY, PREDATOR)
    np.testing.assert_allclose(known.coef_std[active] / anew.coef_std[active], 3.0, rtol=0.25)
    np.testing.assert_allclose(free.coef_std[active] / anew.coef_std[active], 1.0, rtol=0.25)
    assert (known.chi2 < 0.2).all()


def test_a_first_fit_with_too_much_noise_does_not_hide_a_term():
    record = generate(lotka_volterra(), 200, noise=0.01, seed=3)
    poor = starting_from(selection_of(record), {"x0*x1"}, {"x0*x1"})
    found = refine(poor, None, known_noise=False)
    assert terms_of(poor, found.coef) == (PREY, PREDATOR)
    np.testing.assert_allclose(found.noise_std, record.noise_std, rtol=0.2)


# --- alternatives and front


def test_alternatives_hold_the_chosen_system_and_nothing_out_of_reach(refined):
    close, wide = refined.alternatives(6.0), refined.alternatives(np.inf)
    scores = [score for _, score in wide]
    best = [score for coef, score in wide if coef is refined.coef]
    assert len(best) == 1
    assert best[0] == pytest.approx(min(scores), abs=1e-5)
    assert sum(coef is refined.coef for coef, _ in close) == 1
    assert len(close) == sum(score <= best[0] + 6.0 for score in scores)
    assert len(wide) > 3
    supports = {tuple(np.flatnonzero(coef)) for coef, _ in wide}
    assert len(supports) == len(wide)


@pytest.mark.parametrize("noise", [0.01, 0.05])
@pytest.mark.parametrize("make", [lotka_volterra, van_der_pol], ids=lambda make: make.__name__)
def test_the_front_grows_in_size_falls_in_loss_and_holds_the_choice(make, noise):
    library = "poly2" if make is lotka_volterra else "poly3"
    found = refine(
        selection_of(generate(make(), 150, noise=noise, seed=0), library), None, known_noise=False
    )
    rows = found.front()
    assert (np.diff([row.n_terms for row in rows]) > 0).all()
    assert (np.diff([row.loss for row in rows]) < 0).all()
    assert [np.count_nonzero(row.coef) for row in rows] == [row.n_terms for row in rows]
    chosen = [row for row in rows if row.selected]
    assert len(chosen) == 1
    assert chosen[0].coef is found.coef
    assert chosen[0].n_terms == np.count_nonzero(found.coef)
    assert rows[0].n_terms == 0
    assert rows[0].loss > 10.0 * chosen[0].loss


# --- long records


def runs_of(lengths, noise=0.02):
    system = lotka_volterra()
    records = [
        generate(
            system,
            t=0.1 * np.arange(n),
            x0=np.array([1.0, 1.0]) * (1.0 + 0.4 * i),
            noise=noise,
            seed=i,
        )
        for i, n in enumerate(lengths)
    ]
    return records, [record.t for record in records], [record.X for record in records]


@pytest.fixture
def small_blocks(monkeypatch):
    """The way of long records, on records that take no time."""
    monkeypatch.setattr(refinement, "SEARCH_NODES", 200)
    monkeypatch.setattr(refinement, "BLOCK", 50)
    monkeypatch.setattr(refinement, "RECORD", 150)


def test_blocks_and_all_samples_find_the_same(request):
    _, t, X = runs_of([500])
    selection = select(t, X)
    whole = refine(selection, None, known_noise=False)
    request.getfixturevalue("small_blocks")
    blocks = refine(selection, None, known_noise=False)
    assert terms_of(selection, blocks.coef) == terms_of(selection, whole.coef) == (PREY, PREDATOR)
    active = whole.coef != 0
    # The last fit has all samples: same coefficients and errors, but for four links less.
    off = np.abs(blocks.coef - whole.coef)[active] / whole.coef_std[active]
    assert (off < 0.7).all()
    np.testing.assert_allclose(blocks.coef_std[active], whole.coef_std[active], rtol=0.25)
    np.testing.assert_allclose(blocks.noise_std, whole.noise_std, rtol=0.03)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("lengths", [[500], [30, 420, 70, 160], [151, 300], [40, 40, 150, 151]])
def test_states_return_to_their_runs(lengths):
    records, t, X = runs_of(lengths)
    selection = select(t, X)
    found = refine(selection, None, known_noise=False)
    assert terms_of(selection, found.coef) == (PREY, PREDATOR)
    assert [y.shape for y in found.states] == [(n, 2) for n in lengths]
    for record, y in zip(records, found.states, strict=True):
        assert (np.abs(y - record.clean).max(axis=0) < 2.5 * record.noise_std).all()


def test_blocks_are_contiguous_full_and_spread_over_the_records(monkeypatch):
    monkeypatch.setattr(refinement, "SEARCH_NODES", 200)
    monkeypatch.setattr(refinement, "BLOCK", 50)
    _, t, X = runs_of([420, 30, 260])
    selection = select(t, X)
    problem, states = refinement._problem(selection, 5000)
    blocks, chosen = refinement._blocks(problem, states)
    assert blocks.n_nodes <= 200
    assert len(blocks.records) == len(chosen) == 4
    sources = []
    for block, y in zip(blocks.records, chosen, strict=True):
        assert len(block.x) == len(block.precision) == len(block.u) == len(y)
        assert len(block.steps) == len(block.x) - 1
        for i, record in enumerate(problem.records):
            first = np.flatnonzero((record.x == block.x[0]).all(axis=1))
            if first.size:
                rows = slice(first[0], first[0] + len(block.x))
                np.testing.assert_array_equal(record.x[rows], block.x)
                np.testing.assert_array_equal(record.precision[rows], block.precision)
                np.testing.assert_array_equal(states[i][rows], y)
                sources.append((i, int(first[0])))
    assert len(set(sources)) == 4
    assert {sources[0], sources[-1]} == {(0, 0), (2, 200)}


@pytest.mark.usefixtures("small_blocks")
def test_long_runs_are_cut_into_records_that_share_no_link():
    _, t, X = runs_of([310, 20])
    selection = select(t, X)
    problem, states = refinement._problem(selection, 150)
    assert [len(record.x) for record in problem.records] == [104, 103, 103, 20]
    for record, y in zip(problem.records, states, strict=True):
        assert len(record.steps) == len(record.x) - 1 == len(y) - 1
        np.testing.assert_allclose(record.steps, 0.1, rtol=1e-9)
    joined = np.concatenate([record.x for record in problem.records])
    np.testing.assert_array_equal(joined, np.concatenate(selection.denoised.data))


@pytest.mark.usefixtures("small_blocks")
def test_many_short_runs_fill_the_samples_that_the_search_may_use():
    # Blocks shorter than they might be must not leave the search with next to nothing.
    _, t, X = runs_of([12] * 25)
    selection = select(t, X)
    problem, states = refinement._problem(selection, 150)
    blocks, _ = refinement._blocks(problem, states)
    assert blocks.n_nodes >= 150


def test_missing_samples_and_inputs_pass_through():
    t = np.linspace(0.0, 20.0, 300)
    u = np.sin(1.3 * t)[:, None]
    rng = np.random.default_rng(0)
    X = solve_ivp(
        lambda s, y: (y[1], -2.0 * y[0] - 0.3 * y[1] + 1.5 * np.sin(1.3 * s)),
        (0.0, 20.0),
        (1.0, 0.0),
        "DOP853",
        t,
        rtol=1e-10,
    ).y.T
    noise = 0.02 * X.std(axis=0)
    X = X + noise * rng.standard_normal(X.shape)
    X[rng.random(X.shape) < 0.2] = np.nan
    selection = select(t, X, "poly1", u=u)
    poor = starting_from(selection, {"x1"}, {"x0", "x1"})
    found = refine(poor, None, known_noise=False)
    assert terms_of(selection, found.coef) == ({"x1"}, {"x0", "x1", "u0"})
    np.testing.assert_allclose(found.noise_std, noise, rtol=0.15)
    assert np.isfinite(found.states[0]).all()


def test_two_calls_agree_bit_by_bit_but_for_the_time(noisy, refined):
    again = refine(noisy, None, known_noise=False)
    for name in ("coef", "coef_std", "noise_std", "chi2"):
        np.testing.assert_array_equal(getattr(again, name), getattr(refined, name))
    np.testing.assert_array_equal(again.states[0], refined.states[0])
    assert again.n_fitted == refined.n_fitted
    assert [row.loss for row in again.front()] == [row.loss for row in refined.front()]


def test_duffing_needs_no_luck_with_its_start():
    record = generate(duffing(), 200, noise=0.02, seed=0)
    selection = selection_of(record, "poly3")
    for extra in ({"1"}, {"x1**3"}):
        start = starting_from(selection, {"x1"}, {"x0", "x1", "x0**3"} | extra)
        found = refine(start, None, known_noise=False)
        assert terms_of(selection, found.coef) == ({"x1"}, {"x0", "x1", "x0**3"})


@pytest.mark.parametrize(
    ("make", "library", "noise", "start", "truth"),
    [
        (van_der_pol, "poly3", 0.2, ({"x1"}, {"x0"}), ({"x1"}, {"x0", "x1", "x0**2*x1"})),
        (lotka_volterra, "poly2", 0.1, ({"x0"}, {"x1"}), ({"x0", "x0*x1"}, {"x1", "x0*x1"})),
    ],
)
def test_laws_that_seem_rough_are_tried_again(make, library, noise, start, truth):
    # With a single term in the equation links are loose, and there the true terms gain nothing.
    selection = selection_of(generate(make(), 200, noise=noise, seed=0), library)
    found = refine(starting_from(selection, *start), None, known_noise=False)
    assert terms_of(selection, found.coef) == truth
    assert found.link_level <= 0.01
    assert (found.chi2 < 1.3).all()


def test_what_seems_a_little_rough_is_tried_again_too():
    # On the limit cycle a law of two terms does, its links at a tenth of the noise.
    x, y = sympy.symbols("x0 x1")
    turned, square = (x - 0.5 * y, 0.5 * x + y), x**2 + y**2
    system = make_system(
        "Stuart-Landau",
        {"x0": sympy.expand(x - y - turned[0] * square), "x1": x + y - turned[1] * square},
        t=0.03 * np.arange(500),
        x0=(0.1, 0.05),
        parameters={},
        source="normal form of a Hopf bifurcation, amplitude and frequency coupled",
    )
    selection = selection_of(generate(system, 500, noise=0.05, seed=2), "poly3")
    found = refine(selection, None, known_noise=False)
    cubic = {"x0", "x1", "x0**3", "x0**2*x1", "x0*x1**2", "x1**3"}
    assert terms_of(selection, found.coef) == (cubic, cubic)
    assert found.link_level <= 0.01


def test_standard_errors_are_at_the_cramer_rao_bound():
    """Of the coefficients and the initial state, by differences of SciPy's runs of the truth."""
    truth = np.array([1.1, 0.4, 0.1, 0.4, 10.0, 5.0])
    t = np.linspace(0, 40, 800)

    def run(values):
        a, b, c, d, *start = values

        def rate(_, s):
            return a * s[0] - b * s[0] * s[1], c * s[0] * s[1] - d * s[1]

        return solve_ivp(rate, t[[0, -1]], start, t_eval=t, rtol=1e-10, atol=1e-12).y.T

    clean = run(truth)
    noise = 0.05 * clean.std(axis=0)
    shifts = 1e-5 * np.eye(6)
    slopes = [((run(truth + h) - run(truth - h)) / 2e-5 / noise).ravel() for h in shifts]
    normal = np.array(slopes) @ np.array(slopes).T
    x_own, x_both, y_both, y_own = np.sqrt(np.diagonal(np.linalg.inv(normal)))[:4]

    data = clean + noise * np.random.default_rng(0).normal(size=clean.shape)
    selection = select(t, data)
    refined = refine(selection, None, known_noise=False)
    names = [selection.library.names[k] for k in selection.kept]
    x_std, y_std = (dict(zip(names, row, strict=True)) for row in refined.coef_std)
    found = [x_std["x0"], x_std["x0*x1"], y_std["x0*x1"], y_std["x1"]]
    bound = [x_own, x_both, y_both, y_own]
    np.testing.assert_allclose(found, refinement.AFTER_SELECTION * np.array(bound), rtol=0.035)
