"""`MNNDenseBaseline`: the same discovery on the original solver."""

import numpy as np
import pytest

from discoverers import (
    ConvergenceWarning,
    IdentifiabilityWarning,
    MNNDenseBaseline,
    SMNNDiscoverer,
)
from discoverers.datasets import generate, lorenz, lotka_volterra
from discoverers.mnn_dense import MNNIntegral


@pytest.fixture(scope="module")
def record():
    return generate(lorenz(), t=np.arange(10.0, 12.0, 0.01), noise=0.0, seed=0).to_frame()


@pytest.mark.parametrize("parameters", [{}, {"segment": 50}], ids=["whole", "segments of 50"])
def test_lorenz_from_200_points(record, parameters):
    truth = lorenz().equations
    states = record[["x", "y", "z"]]
    baseline = MNNDenseBaseline(**parameters).fit(record["t"], states)
    compared = baseline.equations_.compare(truth)
    assert compared.exact
    assert compared.relative_coefficient_error < 0.05
    scalable = SMNNDiscoverer().fit(record["t"], states)
    # One call compares the two; the baseline's second-order quadrature is the difference.
    assert baseline.equations_.compare(scalable.equations_).exact
    assert scalable.equations_.compare(truth).max_coefficient_error < 1e-4


def test_conjugate_gradients_agree_and_report_how_they_ended(record):
    short = record.iloc[:60]
    states = short[["x", "y", "z"]]
    dense = MNNDenseBaseline("poly2").fit(short["t"], states)
    assert dense.converged_
    assert dense.n_iter_ == 1
    assert dense.residual_ == 0.0
    loose = MNNDenseBaseline("poly2", solver="cg", tolerance=1e-9, max_iter=3000)
    loose.fit(short["t"], states)
    assert loose.converged_
    assert 1 < loose.n_iter_ < 3000
    assert loose.residual_ <= 1e-9
    np.testing.assert_allclose(loose.coef_, dense.coef_, rtol=1e-3, atol=1e-3)
    with pytest.warns(ConvergenceWarning, match="5 iterations .* raise max_iter"):
        poor = MNNDenseBaseline("poly2", solver="cg", max_iter=5).fit(short["t"], states)
    assert not poor.converged_


@pytest.mark.parametrize("solver", ["dense", "cg"])
def test_integral_is_second_order(solver):
    errors = []
    for n in (21, 41):
        t = np.linspace(0.0, 2.0, n)
        scale = n - 1
        integral = MNNIntegral(solver, None, 1e-12, 20_000)
        found = integral(np.full(n - 1, 1.0), np.cos(t)[:, None] * 2.0 / scale)[:, 0]
        errors.append(np.abs(found - np.sin(t)).max())
    assert 1.7 < np.log2(errors[0] / errors[1]) < 2.5


def test_segments_cover_every_row_once():
    integral = MNNIntegral("dense", 50, 1e-12, 200)
    rows = np.concatenate([np.arange(part.start, part.stop) for part in integral.segments(173)])
    np.testing.assert_array_equal(rows, np.arange(173))
    assert max(part.stop - part.start for part in integral.segments(173)) <= 50


def test_too_long_a_record_is_refused_with_the_memory_it_needs():
    t = np.arange(200_000) * 0.01
    with pytest.raises(ValueError, match=r"T = 200000 samples: .* GB .* segment=200"):
        MNNDenseBaseline("poly1").fit(t, np.sin(t))


def test_noisy_lotka_volterra():
    system = lotka_volterra()
    frame = generate(system, 200, noise=0.01, seed=0).to_frame()
    model = MNNDenseBaseline("poly2").fit(frame["t"], frame[["x", "y"]])
    assert model.equations_.compare(system.equations).exact


def test_too_few_samples_are_told():
    t = np.linspace(0.0, 1.0, 5)
    with pytest.warns(IdentifiabilityWarning, match="Fewer than 8"):
        model = MNNDenseBaseline("poly1").fit(t, np.exp(-t))
    assert not model.identifiable_
