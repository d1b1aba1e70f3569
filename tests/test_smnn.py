"""`SMNNDiscoverer` finds the equations of systems whose equations are known."""

import time
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import odeint
from sklearn.base import clone

from discoverers import (
    ConvergenceWarning,
    CustomLibrary,
    EmptyEquationWarning,
    FourierLibrary,
    IdentifiabilityWarning,
    MisfitWarning,
    PerStateLibrary,
    PolynomialLibrary,
    SMNNDiscoverer,
    refinement,
)
from discoverers.datasets import (
    duffing,
    generate,
    logistic,
    lorenz,
    lotka_volterra,
    pendulum,
    van_der_pol,
)

CLASSICS = [lorenz, lotka_volterra, van_der_pol, duffing, pendulum, logistic]


def fit(record, **parameters):
    library = parameters.pop("library", "poly3")
    frame = record.to_frame()
    return SMNNDiscoverer(library, **parameters).fit(
        frame["t"], frame[list(record.system.state_names)]
    )


def test_lorenz_in_the_papers_setting_has_its_seven_terms_to_1e_5():
    t = 0.01 * np.arange(10_000)

    def rate(state, _):
        x, y, z = state
        return 10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z

    X = odeint(rate, (1.0, 1.0, 1.0), t)
    found = SMNNDiscoverer().fit(t, X).equations_
    compared = found.compare(["10*x1 - 10*x0", "28*x0 - x1 - x0*x2", "x0*x1 - 8/3*x2"])
    assert compared.exact
    assert sum(map(len, found.terms().values())) == 7
    assert compared.max_coefficient_error < 1e-5


def library_of(make):
    return "poly3+fourier" if make is pendulum else "poly3"


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("make", CLASSICS, ids=lambda make: make.__name__)
def test_classics_with_1000_samples_are_exact(make, noise):
    system = make()
    exact = 0
    for seed in range(3):
        found = fit(
            generate(system, 1000, noise=noise, seed=seed), library=library_of(make)
        ).equations_
        exact += found.compare(system.equations).exact
        true_terms = sum(map(len, system.equations.terms().values()))
        assert sum(map(len, found.terms().values())) <= 2 * true_terms
    assert exact >= (3 if noise == 0.0 else 2)


def test_standard_errors_cover_the_truth():
    system = lotka_volterra()
    truth = [system.equations.terms()[name] for name in system.state_names]
    inside = total = 0
    for seed in range(25):
        model = fit(generate(system, 300, noise=0.02, seed=seed), library="poly2")
        for v, expected in enumerate(truth):
            for name, value, error in zip(
                model.terms_, model.coef_[v], model.coef_std_[v], strict=True
            ):
                match = [c for term, c in expected.items() if str(term) == name]
                if match and error > 0:
                    inside += abs(value - match[0]) < 1.96 * error
                    total += 1
    assert total > 80
    assert 0.85 <= inside / total <= 1.0


def test_noise_level_and_states_are_recovered():
    clean = generate(lotka_volterra(), 1000, noise=0.0, seed=0).to_frame()
    noisy = generate(lotka_volterra(), 1000, noise=0.05, seed=0).to_frame()
    model = SMNNDiscoverer("poly2").fit(noisy["t"], noisy[["x", "y"]])
    true_std = 0.05 * clean[["x", "y"]].std().to_numpy()
    np.testing.assert_allclose(model.noise_std_, true_std, rtol=0.1)
    error = (model.solution_[0].X - clean[["x", "y"]].to_numpy()).std(axis=0)
    assert (error < 0.35 * true_std).all()
    assert (np.abs(model.chi2_ - 1.0) < 0.15).all()


def test_missing_irregular_and_shuffled_samples_do_not_matter():
    rng = np.random.default_rng(3)
    t = np.sort(rng.uniform(0.0, 20.0, 800))
    system = lotka_volterra()
    X = generate(system, t=t, noise=0.01, seed=1).X.copy()
    X[rng.random(X.shape) < 0.3] = np.nan
    order = rng.permutation(len(t))
    model = SMNNDiscoverer("poly3").fit(t[order], pd.DataFrame(X[order], columns=["x", "y"]))
    assert model.equations_.compare(system.equations).exact


def test_several_runs_of_different_length_are_one_regression():
    system = van_der_pol()
    runs = [
        generate(system, t=np.linspace(0.0, span, n), x0=x0, noise=0.02, seed=i).to_frame()
        for i, (span, n, x0) in enumerate([(6.0, 150, (2.0, 0.0)), (9.0, 300, (0.1, 1.0))])
    ]
    model = SMNNDiscoverer().fit([run["t"] for run in runs], [run[["x", "y"]] for run in runs])
    assert model.equations_.compare(system.equations).exact
    assert [len(fitted.t) for fitted in model.solution_] == [150, 300]


def test_units_of_time_and_states_change_nothing_but_the_units():
    record = generate(lotka_volterra(), 400, noise=0.01, seed=0).to_frame()
    t, X = record["t"].to_numpy(), record[["x", "y"]].to_numpy()
    plain = SMNNDiscoverer("poly2").fit(t, X)
    scaled = SMNNDiscoverer("poly2").fit(1e6 * t + 5e7, 1e-4 * X)
    assert plain.terms_ == scaled.terms_
    degree = np.array([0, 1, 1, 2, 2, 2])
    expected = plain.coef_ * 1e-6 * 1e-4 ** (1.0 - degree)
    np.testing.assert_allclose(scaled.coef_, expected, rtol=1e-4)


def test_inputs_drive_the_equations():
    t = np.linspace(0.0, 20.0, 800)
    u = np.sin(1.3 * t) + 0.5 * np.cos(3.1 * t)

    def rate(state, time):
        force = np.sin(1.3 * time) + 0.5 * np.cos(3.1 * time)
        return state[1], -2.0 * state[0] - 0.3 * state[1] + 1.5 * force

    X = odeint(rate, (1.0, 0.0), t, rtol=1e-10, atol=1e-12)
    X += 0.01 * X.std(axis=0) * np.random.default_rng(0).standard_normal(X.shape)
    model = SMNNDiscoverer("poly2").fit(t, X, u=u)
    assert model.equations_.compare(["x1", "-2*x0 - 0.3*x1 + 1.5*u0"]).exact
    held_out = model.simulate(t[:200], x0=(0.5, 0.5), u=u[:200])
    truth = odeint(rate, (0.5, 0.5), t[:200])
    assert np.abs(held_out - truth).max() < 0.03


def test_libraries_per_state_and_of_callables():
    record = generate(pendulum(), 600, noise=0.005, seed=0)
    library = PerStateLibrary(
        {"theta": PolynomialLibrary(1), "omega": PolynomialLibrary(1) + FourierLibrary(1)}
    )
    model = fit(record, library=library)
    assert model.equations_.compare(pendulum().equations).exact
    assert not any("sin" in str(term) for term in model.equations_.terms()["theta"])
    custom = fit(record, library=PolynomialLibrary(1) + CustomLibrary([np.sin]))
    assert custom.equations_.compare(pendulum().equations).exact


def test_known_noise_and_known_start_are_used():
    record = generate(logistic(), 100, noise=0.02, seed=4)
    frame = record.to_frame()
    x0 = record.system.x0
    model = SMNNDiscoverer("poly2", noise_std=0.5).fit(frame["t"], frame["x"], x0=x0)
    np.testing.assert_allclose(model.noise_std_, 0.5)
    free = SMNNDiscoverer("poly2").fit(frame["t"], frame["x"], x0=x0)
    assert abs(free.x0_[0, 0] - x0[0]) < 1e-3


def test_pareto_front_marks_the_chosen_equations():
    model = fit(generate(duffing(), 1000, noise=0.01, seed=0))
    front = model.pareto_front_
    assert list(front.columns[:6]) == [
        *("complexity", "loss", "score", "equation", "sympy_format", "lambda_format")
    ]
    chosen = front[front["selected"]]
    assert len(chosen) == 1
    assert chosen.iloc[0]["sympy_format"] == tuple(model.equations_)
    assert front["complexity"].is_monotonic_increasing
    assert (np.diff(front["loss"]) < 0).all()
    np.testing.assert_array_equal(
        chosen.iloc[0]["lambda_format"]([[0.3, 0.4]]), model.derivative([[0.3, 0.4]])
    )


def test_a_law_outside_the_library_is_warned_of_and_one_inside_is_not():
    # A square wave of a force, unknown to the library: no smooth law of x and y explains it.
    t = np.linspace(0.0, 30.0, 1000)

    def rate(state, time):
        return state[1], -state[0] - 0.2 * state[1] + np.sign(np.sin(1.7 * time))

    X = odeint(rate, (1.0, 0.0), t, hmax=0.01)
    X += 0.002 * np.random.default_rng(0).standard_normal(X.shape)
    with pytest.warns(MisfitWarning, match="x1"):
        SMNNDiscoverer("poly1").fit(t, X)
    with warnings.catch_warnings():
        warnings.simplefilter("error", MisfitWarning)
        fit(generate(lotka_volterra(), 400, noise=0.01, seed=0), library="poly2")


def test_a_constant_record_has_an_empty_equation():
    t = np.linspace(0.0, 1.0, 60)
    noise = 0.1 * np.random.default_rng(0).standard_normal(60)
    with pytest.warns(EmptyEquationWarning, match="x0"):
        model = SMNNDiscoverer("poly2").fit(t, 3.0 + noise)
    assert model.equations_[0] == 0
    assert np.abs(model.predict(t) - 3.0).max() < 0.2


def test_a_channel_that_reads_zero_throughout_has_an_empty_equation_beside_the_others():
    # Its noise had no size, and the search for terms never ended.
    t = np.linspace(0.0, 6.0, 80)
    X = np.column_stack([np.exp(-0.5 * t), np.zeros(80)])
    with pytest.warns(EmptyEquationWarning, match="x1"):
        model = SMNNDiscoverer("poly2").fit(t, X)
    assert model.equations_[1] == 0
    assert float(model.equations_[0].coeff("x0")) == pytest.approx(-0.5, abs=1e-4)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"window": 2}, "'window' parameter"),
        ({"gamma": -1.0}, "'gamma' parameter"),
        ({"library": 3}, "'library' parameter"),
        ({"library": "polynomials"}, "polynomials"),
        ({"noise_std": [0.1, 0.2, 0.3]}, r"noise_std .* \(3,\)"),
        ({"noise_std": [0.1, -0.2]}, "noise_std must be positive"),
    ],
)
def test_wrong_parameters_are_named(parameters, message):
    record = generate(lotka_volterra(), 50, noise=0.01, seed=0).to_frame()
    with pytest.raises(ValueError, match=message):
        SMNNDiscoverer(**parameters).fit(record["t"], record[["x", "y"]])


def test_terms_that_are_not_finite_are_named():
    t = np.linspace(0.0, 5.0, 100)
    with pytest.raises(ValueError, match=r"log\(x0\)"):
        SMNNDiscoverer(CustomLibrary(["log(x0)"])).fit(t, np.sin(3.0 * t))


def test_same_data_same_answer_and_a_clone_is_as_good():
    record = generate(lorenz(), 800, noise=0.02, seed=0).to_frame()
    model = SMNNDiscoverer()
    first = model.fit(record["t"], record[["x", "y", "z"]]).coef_
    again = clone(model).fit(record["t"], record[["x", "y", "z"]]).coef_
    np.testing.assert_array_equal(first, again)


def test_without_a_joint_fit_the_regression_stands_and_says_so(monkeypatch):
    def singular(*arguments):
        raise FloatingPointError("the states' normal matrix is singular")

    monkeypatch.setattr("discoverers.joint.JointProblem.linearise", singular)
    with pytest.warns(ConvergenceWarning, match="joint fit"):
        model = fit(generate(lotka_volterra(), 400, noise=0.01, seed=0), library="poly2")
    assert not model.converged_
    assert model.equations_.compare(lotka_volterra().equations).exact


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_good_record_gives_no_warning_of_any_kind(noise):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fit(generate(lotka_volterra(), 400, noise=noise, seed=0), library="poly2")
    assert model.converged_
    assert model.identifiable_


def test_two_laws_that_do_as_well_are_a_tie_and_a_longer_record_settles_it():
    record = generate(van_der_pol(), 900, noise=0.01, seed=1).to_frame()
    with pytest.warns(IdentifiabilityWarning, match="alternatives_"):
        model = SMNNDiscoverer().fit(record["t"][:150], record[["x", "y"]][:150])
    assert not model.identifiable_
    assert any(
        system.compare(van_der_pol().equations).exact for system in model.alternatives_["equations"]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", IdentifiabilityWarning)
        assert SMNNDiscoverer().fit(record["t"], record[["x", "y"]]).identifiable_


def test_process_noise_is_not_explained_by_terms():
    rng = np.random.default_rng(0)
    step, x, rows = 0.002, np.array([10.0, 5.0]), []
    for _ in range(25_000):
        rows.append(x)
        drift = np.array([1.1 * x[0] - 0.4 * x[0] * x[1], -0.4 * x[1] + 0.1 * x[0] * x[1]])
        x = x + step * drift + 0.02 * x * np.sqrt(step) * rng.standard_normal(2)
    X = np.array(rows)[::100]
    X += 0.03 * X.std(axis=0) * rng.standard_normal(X.shape)
    with pytest.warns(MisfitWarning):
        model = SMNNDiscoverer().fit(100 * step * np.arange(len(X)), X)
    assert model.equations_.compare(["1.1*x0 - 0.4*x0*x1", "-0.4*x1 + 0.1*x0*x1"]).exact
    assert model.history_["link_level"][0] >= 0.1


@pytest.mark.slow
def test_time_grows_linearly_with_the_record():
    system = lotka_volterra()
    seconds = []
    for n in (20_000, 200_000):
        t = np.linspace(0.0, n * 0.02, n)
        frame = generate(system, t=t, noise=0.01, seed=0).to_frame()
        began = time.process_time()
        model = SMNNDiscoverer().fit(frame["t"], frame[["x", "y"]])
        seconds.append(time.process_time() - began)
        assert model.equations_.compare(system.equations).exact
    assert seconds[1] < 25.0 * seconds[0]


# --- the joint fit, seen from outside


def term_errors(model, truth):
    """Coefficients less their true values, in standard errors, where the structure is exact."""
    return [
        (value - truth[v][term]) / error
        for v in range(len(truth))
        for term, value, error in zip(model.terms_, model.coef_[v], model.coef_std_[v], strict=True)
        if error > 0
    ]


def test_95_per_cent_intervals_cover_the_truth_on_two_systems():
    inside, n_fits = [], 0
    for system, t, seeds in (
        (lotka_volterra(), np.linspace(0.0, 10.0, 60), 20),
        (logistic(), np.linspace(0.0, 8.0, 60), 42),
    ):
        truth = [
            {str(term): float(value) for term, value in system.equations.terms()[name].items()}
            for name in system.state_names
        ]
        for seed in range(seeds):
            noise = (0.01, 0.02, 0.03, 0.05)[seed % 4]
            model = fit(generate(system, t=t, noise=noise, seed=seed), library="poly2")
            n_fits += 1
            if model.equations_.compare(system.equations).exact:
                inside.extend(abs(z) < 1.96 for z in term_errors(model, truth))
    assert n_fits >= 60
    assert len(inside) > 140
    assert 0.88 <= np.mean(inside) <= 0.99


def test_records_of_150_points_are_exact_in_five_of_six():
    exact = [
        fit(generate(make(), 150, noise=noise, seed=0)).equations_.compare(make().equations).exact
        for make in (lotka_volterra, van_der_pol, duffing)
        for noise in (0.01, 0.05)
    ]
    assert sum(exact) >= 5


@pytest.mark.parametrize("make", [lotka_volterra, van_der_pol], ids=lambda make: make.__name__)
def test_clean_data_are_explained_without_a_joint_fit(make):
    clean = fit(generate(make(), 300, noise=0.0, seed=0))
    assert "systems_fitted" not in clean.history_
    assert (clean.chi2_ < 0.01).all()
    assert clean.equations_.compare(make().equations).exact
    assert len(clean.alternatives_) == 1
    noisy = fit(generate(make(), 300, noise=0.01, seed=0))
    assert (noisy.history_["systems_fitted"] > 0).all()


def test_records_too_long_to_search_whole_are_searched_in_blocks_and_fitted_whole(monkeypatch):
    system = lotka_volterra()
    lengths = (200, 2300, 700)
    runs = [
        generate(system, t=0.05 * np.arange(n), x0=system.x0 * (1.0 + 0.2 * i), noise=0.02, seed=i)
        for i, n in enumerate(lengths)
    ]

    def fitted():
        return SMNNDiscoverer("poly2").fit([run.t for run in runs], [run.X for run in runs])

    blocks = fitted()
    monkeypatch.setattr(refinement, "SEARCH_NODES", 10**6)
    whole = fitted()
    truth = ["x0 - 0.5*x0*x1", "0.25*x0*x1 - x1"]
    assert blocks.equations_.compare(truth).exact
    assert whole.equations_.compare(truth).exact
    assert [part.X.shape for part in blocks.solution_] == [(n, 2) for n in lengths]
    for run, part in zip(runs, blocks.solution_, strict=True):
        assert (np.abs(part.X - run.clean).max(axis=0) < run.noise_std).all()
    # All samples are in the last fit: coefficients are as good as without blocks.
    active = whole.coef_ != 0
    off = np.abs(blocks.coef_ - whole.coef_)[active] / whole.coef_std_[active]
    assert (off < 0.5).all()
    np.testing.assert_allclose(blocks.coef_std_[active], whole.coef_std_[active], rtol=0.2)


def test_one_run_of_6000_samples_is_cut_and_put_together_again():
    record = generate(lotka_volterra(), t=0.02 * np.arange(6000), noise=0.02, seed=0)
    model = fit(record, library="poly2")
    assert model.equations_.compare(record.system.equations).exact
    assert model.solution_[0].X.shape == (6000, 2)
    assert (np.abs(model.solution_[0].X - record.clean).max(axis=0) < record.noise_std).all()
    np.testing.assert_allclose(model.noise_std_, record.noise_std, rtol=0.05)


def test_two_noisy_fits_agree_bit_by_bit():
    record = generate(van_der_pol(), 150, noise=0.05, seed=4)
    first, second = fit(record), fit(record)
    for name in ("coef_", "coef_std_", "noise_std_", "chi2_", "x0_"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    np.testing.assert_array_equal(first.solution_[0].X, second.solution_[0].X)
    assert first.equations_ == second.equations_
    for frame in ("pareto_front_", "alternatives_"):
        ours, theirs = getattr(first, frame), getattr(second, frame)
        assert list(ours["equation"]) == list(theirs["equation"])
    np.testing.assert_array_equal(first.pareto_front_["loss"], second.pareto_front_["loss"])


def test_alternatives_are_weighed_and_the_chosen_one_leads():
    model = fit(generate(lotka_volterra(), 100, noise=0.05, seed=0))
    table = model.alternatives_
    assert table["equations"][0] == model.equations_
    assert table["score_behind"].is_monotonic_increasing
    assert table["score_behind"][0] == 0.0
    assert table["weight"].sum() == pytest.approx(1.0)


def test_inputs_and_gaps_reach_the_joint_fit():
    t = np.linspace(0.0, 25.0, 250)
    u = np.sin(1.1 * t) + 0.5 * np.cos(2.3 * t)

    def rate(state, time):
        force = np.sin(1.1 * time) + 0.5 * np.cos(2.3 * time)
        return state[1], -2.0 * state[0] - 0.4 * state[1] + 1.5 * force

    rng = np.random.default_rng(1)
    X = odeint(rate, (1.0, 0.0), t, rtol=1e-10, atol=1e-12)
    noise = 0.03 * X.std(axis=0)
    X += noise * rng.standard_normal(X.shape)
    X[rng.random(X.shape) < 0.25] = np.nan
    X[100:106] = np.nan
    model = SMNNDiscoverer("poly2").fit(t, X, u=u)
    assert "systems_fitted" in model.history_
    assert model.equations_.compare(["x1", "-2*x0 - 0.4*x1 + 1.5*u0"]).exact
    assert np.isfinite(model.solution_[0].X).all()
    np.testing.assert_allclose(model.noise_std_, noise, rtol=0.2)


def test_a_run_that_never_measures_a_state_does_not_spoil_the_regression():
    # What stands for y in the second run is no state: products with it would explain nothing.
    whole, part = (generate(lorenz(), 400, noise=0.02, seed=seed) for seed in (0, 1))
    X = part.X.copy()
    X[:, 1] = np.nan
    model = SMNNDiscoverer().fit([whole.t, part.t], [whole.X, X])
    truth = ["-10*x0 + 10*x1", "28*x0 - x1 - x0*x2", "x0*x1 - 2.6666666666666665*x2"]
    assert model.equations_.compare(truth).exact
    assert (model.chi2_ < 1.3).all()


def test_a_run_that_never_measures_a_state_of_its_own_does_not_end_the_fit():
    # Nothing in the second run tells its x1, which no other state depends on.
    t, rng = np.linspace(0.0, 4.0, 60), np.random.default_rng(9)
    runs = [
        np.column_stack([a * np.exp(-t), b * np.exp(-0.5 * t)])
        + 0.02 * rng.standard_normal((60, 2))
        for a, b in ((2.0, 1.0), (1.0, 2.0))
    ]
    runs[1][:, 1] = np.nan
    model = SMNNDiscoverer("poly1").fit([t, t], runs)
    assert model.equations_.compare(["-x0", "-0.5*x1"]).exact
