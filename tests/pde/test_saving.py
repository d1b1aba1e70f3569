"""A fitted field estimator comes back from its file."""

import json

import numpy as np
import pytest

import discoverers
from discoverers import PDEDiscoverer, SMNNDiscoverer
from discoverers.codec import Decoder, Encoder
from discoverers.pde import PDEEquations


def test_what_was_saved_comes_back(tmp_path):
    t, x = np.linspace(0.0, 2.0, 40), np.arange(48) * np.pi / 24
    X = 1 + np.exp(-0.3 * t)[:, None] * np.sin(x) + np.exp(-1.2 * t)[:, None] * np.cos(2 * x)
    model = PDEDiscoverer(forbidden=["u*u_xx"], gamma=0.5).fit([t], [X], x=x)
    model.save(tmp_path / "field.zip")
    for copy in (
        PDEDiscoverer.load(tmp_path / "field.zip"),
        discoverers.load(tmp_path / "field.zip"),
    ):
        assert copy.get_params() == model.get_params()
        assert vars(copy).keys() == vars(model).keys()
        assert copy.equations_ == model.equations_
        assert copy.alternatives_["equations"].tolist() == model.alternatives_["equations"].tolist()
        assert copy.pareto_front_["sympy_format"].tolist() == [
            tuple(row) for row in model.pareto_front_["sympy_format"]
        ]
        np.testing.assert_array_equal(copy.coef_std_, model.coef_std_)
        np.testing.assert_array_equal(copy.predict([t])[0], model.predict([t])[0])
        assert copy.score([t], [X], x=[x]) == model.score([t], [X], x=[x])
    with pytest.raises(ValueError, match="holds a PDEDiscoverer"):
        SMNNDiscoverer.load(tmp_path / "field.zip")


def test_expressions_of_several_fields_come_back():
    system = PDEEquations(["0.5*u_xx - u*v", "v_x*u"], ["u", "v"], "x", "tau")
    encoder = Encoder()
    stored = json.loads(json.dumps(encoder.encode([system, *system], "it")))
    assert Decoder(encoder.arrays).decode(stored) == [system, *system]
