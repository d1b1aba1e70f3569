"""The search does not hang on the polynomial it starts from."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from discoverers import SMNNDiscoverer


def chemostat(_, state):
    cells, food = state
    eaten = 0.8 * food * cells / (0.5 + food)
    return [eaten - 0.3 * cells, 0.3 * (4.0 - food) - 2.0 * eaten]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_law_is_found_where_a_wrong_polynomial_can_be_followed():
    t = np.linspace(0.0, 30.0, 200)
    path = solve_ivp(
        chemostat, (0.0, 30.0), [0.1, 4.0], t_eval=t, method="LSODA", rtol=1e-10, atol=1e-12
    )
    model = SMNNDiscoverer("auto").fit(t, path.y.T)
    assert (model.chi2_ < 0.01).all()
    points = np.array([[0.3, 3.0], [1.0, 1.0], [1.3, 0.4]])
    rates = np.array([chemostat(0.0, point) for point in points])
    np.testing.assert_allclose(model.equations_.lambdify()(points), rates, rtol=1e-3)
