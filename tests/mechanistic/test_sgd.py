"""The neural route: gradients, structures, outer functions, seeds, interruptions."""

import warnings

import numpy as np
import pytest
import sympy
import torch
from scipy.integrate import solve_ivp
from sklearn.base import clone

from discoverers import (
    ConvergenceWarning,
    EmptyEquationWarning,
    IdentifiabilityWarning,
    SMNNDiscoverer,
    load,
)
from discoverers.constraints import Bounded, Forbidden, Known
from discoverers.datasets import generate, lorenz, lotka_volterra
from discoverers.denoising import denoise
from discoverers.libraries import CustomLibrary, PolynomialLibrary
from discoverers.mechanistic import SGDEngine
from discoverers.mechanistic.cycles import _saliency
from discoverers.mechanistic.network import MechanisticNetwork
from discoverers.mechanistic.outer import OuterFunction, resolve_outer
from discoverers.mechanistic.training import Progress, loss_of, train
from discoverers.mechanistic.windows import cut
from discoverers.trajectories import as_trajectories


def solve(rate, x0, t):
    return solve_ivp(
        lambda _, x: rate(x), (t[0], t[-1]), x0, t_eval=t, rtol=1e-10, atol=1e-12, method="DOP853"
    ).y.T


def record(system, n, noise, seed=0):
    return generate(system, n, noise=noise, seed=seed).to_frame()


def small_network(outer="identity", order=1, encoder=None):
    rng = np.random.default_rng(0)
    t = np.cumsum(rng.uniform(0.03, 0.06, 90))
    X = np.column_stack([np.cos(t), np.sin(2.0 * t)]) + 0.02 * rng.standard_normal((90, 2))
    X[17, 0] = np.nan
    runs = as_trajectories(t, X)
    denoised = denoise(runs)
    library = PolynomialLibrary(2).bind(["a", "b"])
    batches = cut(runs, denoised, denoised.states, [0, 1], order, 30, 2)
    coef = 0.3 * rng.standard_normal((2, 6))
    network = MechanisticNetwork(
        library,
        [OuterFunction(outer)] * 2,
        np.ones((2, 6), dtype=bool),
        coef,
        denoised.time_scale**order,
        encoder,
        np.zeros(2),
        np.ones(2),
        denoised.noise_std,
    )
    return network, batches, coef


@pytest.mark.parametrize("outer", ["identity", "tanh"])
@pytest.mark.parametrize("order", [1, 2])
def test_gradient_through_the_solver_is_that_of_finite_differences(outer, order):
    network, batches, coef = small_network(outer, order)
    loss = sum(network.misfit(batch)[0] for batch in batches)
    loss.backward()
    found = network.point.grad.numpy()

    def value(flat):
        network.recentre(flat.reshape(coef.shape), network.active)
        return loss_of(network, batches)

    count = sum(int((batch.precision > 0).sum()) for batch in batches)
    step, flat = 1e-6, coef.ravel()
    for k in (0, 4, 7, 11):
        shift = step * (np.arange(12) == k)
        slope = count * (value(flat + shift) - value(flat - shift)) / (2 * step)
        assert found[k] == pytest.approx(slope, rel=1e-5, abs=1e-4 * np.abs(found).max())


def test_training_reaches_the_closed_form():
    network, batches, _ = small_network()
    # Affine in the coefficients: columns by unit coefficients, then ordinary least squares.
    rows = []
    for flat in [np.zeros(12), *np.eye(12)]:
        network.recentre(flat.reshape(2, 6), network.active)
        parts = []
        for batch in batches:
            states = network.states(batch)
            rates = network.time_scale * network.rates(network.features(batch, states))
            left = batch.free_of_start(batch.data - batch.integrate(rates), batch.precision)
            parts.append((batch.precision.sqrt() * left).detach().numpy().ravel())
        rows.append(np.concatenate(parts))
    expected = np.linalg.lstsq(rows[0][:, None] - np.array(rows[1:]).T, rows[0], rcond=None)[0]

    network.recentre(np.zeros((2, 6)), network.active)
    trained = train(
        network,
        batches,
        learning_rate=0.05,
        max_epochs=2000,
        patience=8,
        generator=np.random.default_rng(0),
        progress=Progress(iter(range(10_000))),
    )
    assert trained.settled
    np.testing.assert_allclose(network.coef().ravel(), expected, rtol=2e-2, atol=2e-3)


def test_windows_cover_every_measurement_once():
    _, batches, _ = small_network()
    assert sum(int((batch.precision > 0).sum()) for batch in batches) == 2 * 90 - 1


@pytest.mark.parametrize("start", ["warm", "cold"])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_lotka_volterra_is_found(start, noise):
    data = record(lotka_volterra(), 300, noise)
    model = SMNNDiscoverer(library="poly2", engine=SGDEngine(start=start))
    found = model.fit(data["t"], data[["x", "y"]]).equations_.compare(lotka_volterra().equations)
    assert found.exact
    assert found.relative_coefficient_error < (1e-4 if noise == 0.0 else 0.01)


def test_a_short_lorenz_record_is_found_from_a_cold_start():
    data = record(lorenz(), 600, 0.0)
    model = SMNNDiscoverer(library="poly2", engine=SGDEngine(start="cold"))
    found = model.fit(data["t"], data[["x", "y", "z"]]).equations_.compare(lorenz().equations)
    assert found.exact
    assert found.relative_coefficient_error < 1e-4
    history = model.history_
    assert history["n_terms"].iloc[0] == 30  # all candidates, then pruned
    assert history["n_terms"].is_monotonic_decreasing
    assert history["selected"].sum() == 1
    assert len(model.pareto_front_) == history["n_terms"].nunique()


def test_outer_function_of_a_network_is_recovered():
    t = np.linspace(0.0, 10.0, 300)

    def rate(x):
        return [np.tanh(1.0 - 2.0 * x[1]), np.tanh(1.5 * x[0] - 0.7 * x[1])]

    rng = np.random.default_rng(1)
    runs = [solve(rate, x0, t) for x0 in ([1.0, 0.0], [-1.0, 1.5])]
    X = [run + 0.01 * run.std(axis=0) * rng.standard_normal(run.shape) for run in runs]
    model = SMNNDiscoverer(library="poly2", engine=SGDEngine(g=torch.tanh)).fit([t, t], X)
    expected = np.array([[1.0, 0.0, -2.0, 0.0, 0.0, 0.0], [0.0, 1.5, -0.7, 0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(model.coef_ != 0.0, expected != 0.0)
    assert np.abs(model.coef_ - expected).max() < 0.03
    assert (
        np.abs(model.coef_ - expected)[expected != 0] < 5.0 * model.coef_std_[expected != 0]
    ).all()
    x0, x1 = sympy.symbols("x0 x1")
    assert model.equations_[0].has(sympy.tanh)
    assert model.equations_.round(2)[1] == sympy.tanh(1.5 * x0 - 0.7 * x1)


def softplus_squared(z):
    return torch.nn.functional.softplus(z) ** 2


def test_outer_function_of_the_user_for_one_state():
    t = np.linspace(0.0, 5.0, 150)

    def rate(x):
        return [np.log1p(np.exp(1.0 - 2.0 * x[0] + 0.5 * x[1])) ** 2, 1.2 * x[0] - x[1]]

    X = solve(rate, [0.0, 2.0], t)
    model = SMNNDiscoverer(library="poly1", engine=SGDEngine(g={"x0": softplus_squared})).fit(t, X)
    np.testing.assert_allclose(model.coef_, [[1.0, -2.0, 0.5], [0.0, 1.2, -1.0]], atol=1e-3)
    assert str(model.equations_[0].func) == "softplus_squared"
    assert model.score(t, X) > 0.99999
    np.testing.assert_allclose(model.derivative(X[5]), rate(X[5]), rtol=1e-3)
    with pytest.raises(TypeError, match="softplus_squared"):
        model.save("never-written.zip")


def test_encoder_corrects_the_states_and_keeps_the_law():
    data = record(lotka_volterra(), 250, 0.05)
    t, X = data["t"], data[["x", "y"]]
    engine = SGDEngine(encoder="conv", max_epochs=120)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = SMNNDiscoverer(library="poly2", engine=engine).fit(t, X)
    found = model.equations_.compare(lotka_volterra().equations)
    assert found.exact
    assert found.relative_coefficient_error < 0.02
    truth = generate(lotka_volterra(), 250).to_frame()[["x", "y"]].to_numpy()
    error = np.sqrt(((model.solution_[0].X - truth) ** 2).mean(axis=0))
    assert (error < 0.5 * model.noise_std_).all()


def test_an_encoder_of_the_user_is_trained_as_a_copy():
    network = torch.nn.Linear(4, 2)
    before = [parameter.clone() for parameter in network.parameters()]
    data = record(lotka_volterra(), 120, 0.02)
    engine = SGDEngine(encoder=network, max_epochs=5, cycles=1)
    with pytest.warns(ConvergenceWarning, match="cut short"):
        SMNNDiscoverer(library="poly2", engine=engine).fit(data["t"], data[["x", "y"]])
    for parameter, old in zip(network.parameters(), before, strict=True):
        torch.testing.assert_close(parameter, old, rtol=0.0, atol=0.0)


def test_positions_alone():
    t = np.linspace(0.0, 20.0, 500)
    X = solve(lambda x: [x[1], -0.3 * x[1] - x[0] - x[0] ** 3], [1.5, 0.0], t)[:, :1]
    model = SMNNDiscoverer(order=2, engine=SGDEngine(start="cold")).fit(t, X)
    x, v = sympy.symbols("x0 x0'")
    assert model.equations_.order == 2
    assert model.equations_.round(3)[0] == -1.0 * x - 0.3 * v - 1.0 * x**3
    assert np.abs(model.predict(t) - X).max() < 1e-3


def test_constraints_are_kept():
    data = record(lotka_volterra(), 200, 0.01)
    t, X = data["t"], data[["x", "y"]]
    engine = SGDEngine(start="cold")
    rules = [Known("x", "x", 1.0), Forbidden("y", "y**2")]
    model = SMNNDiscoverer(library="poly2", engine=engine, constraints=rules).fit(t, X)
    assert model.coef_[0, model.terms_.index("x")] == 1.0
    assert model.coef_std_[0, model.terms_.index("x")] == 0.0
    assert model.equations_.compare(lotka_volterra().equations).exact
    with pytest.raises(ValueError, match=r"Bounded and\s+Shared"):
        SMNNDiscoverer(engine=engine, constraints=[Bounded("x", "x", 0.0, 2.0)]).fit(t, X)


@pytest.mark.slow
def test_same_seed_same_answer_for_any_number_of_jobs():
    data = record(lotka_volterra(), 150, 0.02)
    t, X = data["t"], data[["x", "y"]]
    engine = SGDEngine(start="cold", n_starts=2, max_epochs=40, cycles=6, random_state=3)
    model = SMNNDiscoverer(library="poly2", engine=engine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", IdentifiabilityWarning)
        first = clone(model).fit(t, X).coef_
        second = clone(model).set_params(engine__n_jobs=2).fit(t, X).coef_
    np.testing.assert_array_equal(first, second)


class Stopper:
    """A callback that raises, or asks to stop, at one epoch."""

    def __init__(self, epoch, error=None):
        self.epoch, self.error, self.seen = epoch, error, 0

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context, **_):
        pass

    def on_fit_task_end(self, estimator, context, **_):
        self.seen += 1
        if self.seen >= self.epoch:
            if self.error is not None:
                raise self.error
            return True
        return False


def test_interrupting_leaves_the_estimator_as_it_was():
    data = record(lotka_volterra(), 150, 0.01)
    t, X = data["t"], data[["x", "y"]]
    model = SMNNDiscoverer(library="poly2").fit(t, X)
    before = dict(vars(model))
    model.set_params(engine="sgd").set_callbacks(Stopper(5, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        model.fit(t, X)
    assert model.equations_ is before["equations_"]
    assert not hasattr(model, "_callback_fit_ctx")
    model.set_callbacks(Stopper(5))
    with pytest.warns(ConvergenceWarning, match="cut short"):
        model.fit(t, X)
    assert model.history_["epochs"].sum() <= 5
    assert not model.converged_


def test_what_was_found_can_be_saved(tmp_path):
    t = np.linspace(0.0, 3.0, 100)
    model = SMNNDiscoverer(library="poly1", engine=SGDEngine(g="exp")).fit(t, np.log(1.0 + t))
    model.save(tmp_path / "model.zip")
    again = load(tmp_path / "model.zip")
    assert again.equations_ == model.equations_
    assert again.get_params()["engine__g"] == "exp"
    np.testing.assert_array_equal(again.predict(t), model.predict(t))


def test_the_closed_form_tells_its_stages_and_may_be_stopped_between_them():
    data = record(lotka_volterra(), 150, 0.02)
    t, X = data["t"], data[["x", "y"]]
    watcher = Stopper(10**6)
    model = SMNNDiscoverer(library="poly2").set_callbacks(watcher).fit(t, X)
    assert watcher.seen == 3  # regression, joint fit, and the fit as a whole
    before = model.equations_
    model.set_callbacks(Stopper(1))
    with pytest.warns(ConvergenceWarning, match="stopped the fit after the regression"):
        model.fit(t, X)
    assert not model.converged_
    model.set_callbacks(Stopper(1, KeyboardInterrupt()))
    kept = model.equations_
    with pytest.raises(KeyboardInterrupt):
        model.fit(t, X)
    assert model.equations_ is kept is not before


@pytest.mark.parametrize(
    ("engine", "library", "message"),
    [
        (SGDEngine(g="cube"), "poly1", "g must be one of"),
        (SGDEngine(g={"q": "exp"}), "poly1", "g names"),
        (SGDEngine(g=torch.sum), "poly1", "element by element"),
        (SGDEngine(g=torch.detach), "poly1", "differentiable"),
        (SGDEngine(window=2), "poly1", "window"),
        ("sgd", "auto", "engine='closed_form'"),
        (
            SGDEngine(encoder="conv"),
            CustomLibrary([np.cbrt]),
            "PyTorch can differentiate",
        ),
    ],
)
def test_what_cannot_be_is_told(engine, library, message):
    t = np.linspace(0.0, 3.0, 60)
    with pytest.raises(ValueError, match=message):
        SMNNDiscoverer(library=library, engine=engine).fit(t, np.exp(-t) + 0.1 * np.sin(9 * t))


def test_outer_functions_print_under_names_that_are_free():
    both = resolve_outer({"x": lambda z: z**2, "y": torch.tanh}, ["x", "y", "z"])
    assert [one.name for one in both] == ["g", "tanh", "identity"]
    np.testing.assert_allclose(both[0](np.array([1.0, 3.0])), [1.0, 9.0])


def test_data_at_rest_leave_no_term_and_few_data_no_law():
    t = np.linspace(0.0, 5.0, 60)
    model = SMNNDiscoverer(library="poly2", engine="sgd")
    with pytest.warns(EmptyEquationWarning):
        model.fit(t, np.ones((60, 2)))
    assert list(model.equations_) == [0, 0]
    with pytest.warns(IdentifiabilityWarning, match="Fewer than 8"):
        model.fit(t[:5], np.exp(-t[:5]))
    assert not model.identifiable_


def test_terms_that_move_nothing_are_the_first_to_go_and_have_no_error():
    network, batches, coef = small_network("tanh")
    flat = np.zeros_like(coef)
    flat[0, 0], flat[1] = 400.0, coef[1]  # the first equation's tanh is 1 whatever its terms are
    network.recentre(flat, network.active)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        saliency = _saliency(network, batches)
    assert (saliency[0] == 0.0).all()
    assert (saliency[1] > 0.0).all()
