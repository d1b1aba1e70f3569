"""Gross errors are found, and nothing else is taken for one."""

import numpy as np
import pytest

import discoverers.datasets as datasets
from discoverers import MNNDenseBaseline, OutlierWarning, SMNNDiscoverer
from discoverers.datasets import generate, lotka_volterra, rossler
from discoverers.outliers import find_outliers
from discoverers.smoothing import smooth_channels

CLASSICS = (
    "lorenz rossler van_der_pol duffing lotka_volterra sir pendulum brusselator selkov "
    "fitzhugh_nagumo logistic"
).split()


def found_in(t, X, weight=None):
    steps = [np.diff(t) / np.median(np.diff(t))]
    weights = [np.ones(X.shape) if weight is None else weight]
    return find_outliers(steps, [X], weights, smooth_channels(steps, [X], weights))[0]


def contaminated(record, share=0.05, seed=1):
    rng = np.random.default_rng(seed)
    bad = rng.uniform(size=record.X.shape) < share
    size = rng.choice([-1.0, 1.0], record.X.shape) * rng.uniform(1.0, 5.0, record.X.shape)
    return record.X + bad * size * record.clean.std(axis=0), bad


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("name", CLASSICS)
def test_nothing_is_taken_for_an_error_where_there_is_none(name, noise):
    for n in (150, 400):
        record = generate(getattr(datasets, name)(), n, noise=noise, seed=0)
        assert not found_in(record.t, record.X).any()


@pytest.mark.parametrize("name", CLASSICS)
def test_gross_errors_are_found(name):
    record = generate(getattr(datasets, name)(), 300, noise=0.01, seed=0)
    X, bad = contaminated(record)
    found = found_in(record.t, X)
    assert (found & bad).sum() >= 0.95 * bad.sum()
    assert (found & ~bad).sum() <= 0.01 * bad.size


def test_errors_among_spikes_are_found_before_the_ends_are_judged():
    # Errors that are left in make the smoother rough, and rough extrapolations blame good ends.
    clean = generate(rossler(), 1000).clean
    rng = np.random.default_rng(1917805646)
    noise = 0.01 * rng.standard_normal(clean.shape)
    bad = rng.random(clean.shape) < 0.05
    size = rng.uniform(3.0, 6.0, clean.shape) * rng.choice([-1.0, 1.0], clean.shape)
    X = (clean + (noise + bad * size) * clean.std(axis=0))[:, 2:]
    found = found_in(np.arange(1000.0), X)[:, 0]
    assert (found & bad[:, 2]).sum() >= 0.95 * bad[:, 2].sum()
    assert not (found & ~bad[:, 2]).any()


@pytest.mark.parametrize("place", [0, 1, 2, -1])
def test_gross_errors_at_the_ends_are_found(place):
    found = expected = others = 0
    for name in CLASSICS[:6]:
        record = generate(getattr(datasets, name)(), 200, noise=0.02, seed=0)
        X = record.X.copy()
        X[place] += np.array([1.5, -3.0, 1.5])[: X.shape[1]] * record.clean.std(axis=0)
        mask = found_in(record.t, X)
        expected += X.shape[1]
        found += int(mask[place].sum())
        others += int(mask.sum() - mask[place].sum())
    assert found >= 0.9 * expected
    assert others <= 1


def test_a_fast_start_of_several_samples_is_no_error():
    t = np.linspace(0.0, 10.0, 200)
    for seed in range(3):
        noise = 0.01 * np.random.default_rng(seed).normal(size=200)
        assert not found_in(t, (np.sin(t) + 2.0 * np.exp(-t / 0.1) + noise)[:, None]).any()


@pytest.mark.parametrize("width", [0.04, 0.08, 0.2])
def test_a_fast_event_of_a_few_samples_is_no_error(width):
    t = np.linspace(0.0, 10.0, 200)
    pulse = np.exp(-0.5 * ((t - 5.0) / width) ** 2)
    for seed in range(3):
        noise = 0.005 * np.random.default_rng(seed).normal(size=200)
        assert not found_in(t, (np.sin(t) + pulse + noise)[:, None]).any()


def test_errors_side_by_side_are_found_where_no_smooth_event_could_be():
    # The middle ones agree with the outer two, which agree with nothing.
    t = np.linspace(0.0, 10.0, 200)
    for seed in range(3):
        x = np.sin(t) + 0.02 * np.random.default_rng(seed).normal(size=200)
        x[[40, 41, 42]] += [2.0, 2.2, 2.0]
        x[[90, 91, 92]] -= [3.0, 3.1, 3.2]
        x[150] += 1.0
        assert np.flatnonzero(found_in(t, x[:, None])[:, 0]).tolist() == [
            40,
            41,
            42,
            90,
            91,
            92,
            150,
        ]


def test_noise_that_grows_with_the_state_is_no_error():
    t = np.linspace(0.0, 10.0, 300)
    level = np.exp(1.5 * np.sin(t))
    found = 0
    for seed in range(10):
        noise = 0.1 * np.random.default_rng(seed).normal(size=300)
        found += int(found_in(t, (level * (1.0 + noise))[:, None]).sum())
    assert found <= 1


def test_what_is_not_measured_is_not_judged():
    t = np.linspace(0.0, 10.0, 120)
    X = np.sin(t)[:, None].copy()
    X[50] = 1e6
    weight = np.ones(X.shape)
    weight[50] = 0.0
    assert not found_in(t, X, weight).any()


def test_a_record_too_short_to_tell_is_left_alone():
    X = np.arange(15.0)[:, None].copy()
    X[7] = 100.0
    assert not found_in(np.arange(15.0), X).any()


def test_the_law_is_found_in_spite_of_them_and_they_are_reported():
    record = generate(lotka_volterra(), 300, noise=0.01, seed=0)
    X, bad = contaminated(record)
    with pytest.warns(OutlierWarning, match=r"of 600 measurements contradict.*outliers='keep'"):
        model = SMNNDiscoverer().fit(record.t, X)
    assert model.equations_.compare(
        [e.subs({"x": "x0", "y": "x1"}) for e in record.system.equations]
    ).exact
    assert len(model.outliers_) >= 0.95 * bad.sum()
    row = model.outliers_.iloc[0]
    i = int(np.argmin(np.abs(record.t - row["t"])))
    v = model.state_names_.index(row["state"])
    assert row["value"] == X[i, v]
    assert row["expected"] == pytest.approx(record.clean[i, v], abs=0.1 * record.clean[:, v].std())
    np.testing.assert_allclose(model.noise_std_, record.noise_std, rtol=0.3)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_they_stay_if_the_user_says_so():
    record = generate(lotka_volterra(), 200, noise=0.01, seed=0)
    X, _ = contaminated(record)
    kept = SMNNDiscoverer("poly2", outliers="keep").fit(record.t, X)
    assert kept.outliers_.empty
    assert np.all(kept.noise_std_ > 5.0 * record.noise_std)


def test_clean_data_give_no_warning(recwarn):
    record = generate(lotka_volterra(), 200, noise=0.01, seed=0)
    SMNNDiscoverer("poly2").fit(record.t, record.X)
    assert not [w for w in recwarn if issubclass(w.category, OutlierWarning)]


def test_the_baseline_leaves_them_out_too():
    record = generate(lotka_volterra(), 200, noise=0.0, seed=0)
    X = record.X.copy()
    X[60, 0] += 30.0
    model = MNNDenseBaseline("poly2").fit(record.t, X)
    assert model.equations_.compare(
        [e.subs({"x": "x0", "y": "x1"}) for e in record.system.equations]
    ).exact


@pytest.mark.parametrize(
    "errors", [{100: 4.0, 99: -0.045}, {96: 3.0, 100: -4.0, 101: -3.5, 102: -4.0}]
)
def test_large_errors_are_found_beside_a_bad_sample_and_beside_each_other(errors):
    # A neighbour that chance throws off by 4.5 deviations is no sign of an event of 400.
    x = np.sin(0.05 * np.arange(200)) + 0.01 * np.random.default_rng(0).normal(size=200)
    for place, size in errors.items():
        x[place] = np.sin(0.05 * place) + size
    runs = [np.ones(199)], [x[:, None]], [np.ones((200, 1))]
    (found,) = find_outliers(*runs, smooth_channels(*runs))
    assert np.flatnonzero(found[:, 0]).tolist() == sorted(
        k for k, one in errors.items() if abs(one) > 1
    )
