"""The generator of KdV fields."""

import numpy as np
import pytest

from discoverers.datasets import kdv
from discoverers.datasets.kdv import integrate_kdv


def test_mass_is_conserved():
    for record in kdv(2, seed=5, substeps=8):
        mass = record.clean.mean(axis=1)
        assert np.abs(mass - mass[0]).max() < 1e-12


def test_energy_is_conserved_to_the_integrators_error():
    record = kdv(easy=True, seed=1, substeps=10)[0]
    energy = (record.clean**2).mean(axis=1)
    np.testing.assert_allclose(energy, energy[0], rtol=1e-5)


def test_half_the_step_gives_a_sixteenth_of_the_error():
    x = 40.0 * np.arange(128) / 128
    start = np.sin(2 * np.pi * x / 40.0)[None]
    length, step = np.array([40.0]), np.array([0.5])
    fields = {n: integrate_kdv(start, length, step, 21, n)[0, -1] for n in (4, 8, 16, 64)}
    errors = [np.abs(fields[n] - fields[64]).max() for n in (4, 8, 16)]
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 4.0, atol=0.6)


def test_soliton_travels_at_its_speed():
    x = 60.0 * np.arange(256) / 256

    # u_t = -u u_x - u_xxx has 3 c sech((x - c t) sqrt(c) / 2)**2.
    def wave(t):
        return 3.0 / np.cosh(0.5 * (x - 20.0 - t)) ** 2

    fields = integrate_kdv(wave(0.0)[None], np.array([60.0]), np.array([2.0]), 6, 80)
    np.testing.assert_allclose(fields[0, -1], wave(10.0), atol=2e-5)


def test_settings_and_noise_are_as_published():
    records = kdv(4, noise=0.1, seed=3, substeps=2)
    assert len(records) == 4
    for record in records:
        assert record.X.shape == (140, 256)
        assert 0.9 * 128 < record.x[1] * 256 < 1.1 * 128
        assert 90 < record.t[-1] < 110
        assert record.noise_std == pytest.approx(0.1 * record.clean.std())
        assert (record.X - record.clean).std() == pytest.approx(record.noise_std, rel=0.05)
    assert 45 < kdv(easy=True, substeps=2)[0].t[-1] < 55


def test_the_same_seed_gives_the_same_fields():
    first, second = (kdv(2, noise=0.1, easy=True, substeps=2)[1].X for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("wrong", "name"),
    [({"n_runs": 0}, "n_runs"), ({"n_kept": 300}, "n_kept"), ({"noise": -1.0}, "noise")],
)
def test_impossible_settings_are_refused(wrong, name):
    with pytest.raises(ValueError, match=name):
        kdv(**wrong)
