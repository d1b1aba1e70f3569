"""`train_structured`, pykan's route and the baselines, on tiny trainings."""

import os

import numpy as np
import pandas as pd
import pytest
import sympy
import torch
from sklearn.base import clone

from discoverers.networks import (
    MLP,
    ANODEBaseline,
    S3NODEBaseline,
    SONODEBaseline,
    train_structured,
)
from discoverers.networks.pykan import extract, multkan
from discoverers.shooting import Record
from tests.networks.oscillators import ACCELERATION, duffing, duffing_record

CHAIN = {"order": 2, "state_names": ("x", "v"), "input_names": ("u",)}


@pytest.fixture(scope="module")
def learnt():
    record, states = duffing_record(60)
    found = train_structured(
        "deep",
        [record],
        ACCELERATION,
        **CHAIN,
        x0=[[0.0, 0.0]],
        start=[states],
        pilot=False,
        max_epochs=12,
    )
    return found, record, states


def test_a_deep_kan_started_well_stays_near_the_truth(learnt):
    found, _, states = learnt
    assert np.mean((found.states[0] - states) ** 2) < 1e-3
    assert found.noise_std[0] < 0.1
    assert found.x0.tolist() == [[0.0, 0.0]]


def test_rates_and_acceleration_belong_together(learnt):
    found, record, _ = learnt
    acceleration = found.acceleration(found.states[0], record.u)
    np.testing.assert_allclose(acceleration[:, 0], found.rates[0][:, 1], atol=1e-12)
    np.testing.assert_allclose(found.rates[0][:, 0], found.states[0][:, 1])
    residual = record.y[:, 0] - acceleration[:, 0]
    assert found.noise_std[0] == pytest.approx(np.sqrt(np.mean(residual**2)))


def test_a_free_run_over_the_training_record_gives_its_states(learnt):
    found, record, _ = learnt
    np.testing.assert_allclose(found.simulate(record, found.x0[0]), found.states[0], atol=1e-6)


def test_edges_of_the_first_layer_read_states_and_inputs(learnt):
    found, record, _ = learnt
    first = [edge for edge in found.edges if edge.layer == 0]
    assert {edge.name for edge in first} == {"x", "v", "u"}
    force = next(edge for edge in first if edge.name == "u")
    assert force.grid[[0, -1]] == pytest.approx([record.u.min(), record.u.max()])
    assert found.formula is None


def test_a_module_of_ones_own_may_be_trained():
    record, states = duffing_record(30)
    network = MLP(3, 1, 1, 4)
    found = train_structured(
        network, [record], ACCELERATION, **CHAIN, x0=[[0, 0]], start=[states], max_epochs=2
    )
    assert found.ode.network is network
    assert isinstance(found.history, pd.DataFrame)
    assert found.edges == ()


def test_what_does_not_fit_together_is_refused():
    record, _ = duffing_record(30)
    with pytest.raises(ValueError, match='network must be "deep", "pykan"'):
        train_structured("kan", [record], ACCELERATION, **CHAIN)
    with pytest.raises(ValueError, match="records is empty"):
        train_structured("deep", [], ACCELERATION, **CHAIN)
    with pytest.raises(ValueError, match="`order` names for every degree of freedom, got 3"):
        train_structured("deep", [record], ACCELERATION, order=2, state_names=("a", "b", "c"))
    with pytest.raises(ValueError, match="1 input"):
        train_structured("deep", [record], ACCELERATION, order=2, state_names=("x", "v"))
    with pytest.raises(ValueError, match="at least 3"):
        train_structured("deep", [Record.make([0, 1], [0, 1], [0, 1])], ACCELERATION, **CHAIN)


def test_pykan_stays_quiet_writes_nothing_and_leaves_the_random_states(
    tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    expected = (torch.rand(1), np.random.rand())  # noqa: NPY002
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    x = np.linspace(-1.0, 1.0, 15)
    found = extract(np.column_stack([x, np.cos(9 * x)]), 2.0 * x[:, None], ("x", "v"), steps=4)
    assert (torch.rand(1), np.random.rand()) == expected  # noqa: NPY002
    assert os.listdir(tmp_path) == []
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
    assert found.formula is not None
    law = sympy.lambdify(sympy.symbols("x v"), found.formula[0])
    assert np.sqrt(np.mean((law(x, np.cos(9 * x)) - 2.0 * x) ** 2)) < 0.5
    assert found.edges[0].symbol is not None


def test_pykans_network_is_differentiable_in_double_precision():
    network = multkan(2, 1, random_state=0)
    x = torch.linspace(-0.9, 0.9, 10, dtype=torch.float64).reshape(5, 2).requires_grad_(True)
    assert torch.autograd.gradcheck(network, (x,), atol=1e-5)
    assert any(p.requires_grad for p in network.parameters())


BASELINES = [S3NODEBaseline, SONODEBaseline, ANODEBaseline]


@pytest.mark.parametrize("baseline", BASELINES)
def test_baselines_answer_with_their_own_free_run(baseline):
    t, _, y, u = duffing(40)
    model = baseline(n_layers=1, width=5, max_epochs=2)
    model.fit(t[:30], y[:30], u=u[:30])
    again = clone(model).fit(t[:30], y[:30], u=u[:30])
    predicted = model.predict(t, u=u)
    assert predicted.shape == (40,)
    np.testing.assert_array_equal(predicted, again.predict(t, u=u))
    latent = model.latent(t[:30], u=u[:30])
    np.testing.assert_allclose(latent, model.latent_[0], atol=1e-6)
    residual = y[:30] - model.predict(t[:30], u=u[:30])
    assert model.noise_std_[0] == pytest.approx(np.sqrt(np.mean(residual**2)), rel=1e-4)
    explained = 1.0 - np.mean(residual**2) / np.var(y[:30])
    assert model.score(t[:30], y[:30], u=u[:30]) == pytest.approx(explained, rel=1e-6)


def test_latent_states_of_each_baseline_are_what_it_says():
    t, _, y, u = duffing(30)
    options = {"n_layers": 1, "width": 5, "max_epochs": 1}
    structured = S3NODEBaseline(initial_state="rest", **options).fit(t, y, u=u)
    assert structured.states_ is not None
    assert structured.x0_.tolist() == [[0.0, 0.0]]
    second = SONODEBaseline(**options).fit(t, y, u=u)
    assert second.states_ is None
    np.testing.assert_allclose(second.predict(t, u=u), second.latent(t, u=u)[:, 0])
    augmented = ANODEBaseline(n_augmented=2, **options).fit(t, y, u=u)
    assert augmented.latent_[0].shape == (30, 3)
    assert augmented.x0_[0, 1:].tolist() == [0.0, 0.0]


def test_baselines_take_runs_and_report_progress():
    t, _, y, u = duffing(30)
    seen = []

    def callback(phase, epoch):
        seen.append((phase, epoch))
        return epoch >= 1

    model = S3NODEBaseline(n_layers=1, width=4, callback=callback)
    model.fit([t, t[:20]], [y, y[:20]], u=[u, u[:20]])
    assert [len(X) for X in model.latent_] == [30, 20]
    assert max(epoch for _, epoch in seen) == 1
    assert model.predict(t[:20], u=u[:20], run=1).shape == (20,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, t, y, u: m.fit(t, y[:-1], u=u), r"y has 29 row\(s\) but t has 30"),
        (lambda m, t, y, u: m.fit(t[::-1], y, u=u), "increasing order"),
        (lambda m, t, y, u: m.fit(t, y, u=np.full(30, np.nan)), "u must be finite"),
        (lambda m, t, y, u: m.fit([t, t], [y], u=[u, u]), "must list the same runs"),
        (lambda m, t, y, u: m.fit(t, y, u=u).predict(t), r"the 1 column\(s\) of fit, got 0"),
        (lambda m, t, y, u: m.fit(t, y, u=u).predict(t, u=u, run=1), "run must be from 0 to 0"),
        (lambda m, t, y, u: m.fit(t, np.full(30, np.nan), u=u), r"no measured value.*\[0\]"),
        (lambda m, t, y, u: m.fit(t, y, u=u).score(t, np.c_[y, y], u=u), r"1 column\(s\).*got 2"),
        (lambda m, t, y, u: m.set_params(width=0).fit(t, y, u=u), "width"),
    ],
)
def test_what_baselines_refuse(call, message):
    t, _, y, u = duffing(30)
    model = S3NODEBaseline(n_layers=1, width=4, max_epochs=1)
    with pytest.raises(ValueError, match=message):
        call(model, t, y, u)


def test_importing_the_room_brings_no_torch():
    import subprocess
    import sys

    code = "import sys, discoverers.networks; print('torch' in sys.modules, 'kan' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
