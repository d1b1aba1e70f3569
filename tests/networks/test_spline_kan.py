"""Spline layers and deep KANs against SciPy, finite differences and pykan."""

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from discoverers.networks import SplineKAN, SplineLayer
from discoverers.networks.edges import spline_edges
from discoverers.networks.spline_layer import segment_matrix


def rows(n, k, seed=0, reach=1.0):
    random = np.random.default_rng(seed)
    return torch.from_numpy(reach * random.uniform(-1.0, 1.0, (n, k)))


@pytest.mark.parametrize("degree", [1, 2, 3, 5])
def test_splines_are_scipys(degree):
    layer = SplineLayer(2, 3, 7, degree=degree, base="none")
    knots = -1.0 + (2.0 / 7.0) * np.arange(-degree, 8 + degree)
    x = rows(60, 2)
    with torch.no_grad():
        found = layer.edges(x).numpy()
        for i in range(2):
            for j in range(3):
                spline = BSpline(knots, layer.coef[i, :, j].numpy(), degree)
                np.testing.assert_allclose(found[:, i, j], spline(x[:, i].numpy()), atol=1e-14)


def test_pieces_add_up_to_one():
    np.testing.assert_allclose(segment_matrix(3).sum(axis=0), [1, 0, 0, 0], atol=1e-15)


def test_outside_of_the_grid_a_spline_goes_on_along_its_tangent():
    layer = SplineLayer(1, 1, 5, base="none")
    edge = torch.tensor([[1.0]], dtype=torch.float64)
    h = 1e-6
    with torch.no_grad():
        slope = (layer(edge) - layer(edge - h)) / h
        found = layer(edge + 3.0)
        expected = layer(edge) + 3.0 * slope
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("base", ["silu", "none"])
def test_gradients_are_those_of_finite_differences(base):
    network = SplineKAN([2, (1, 1), 1], 4, base=base, noise=0.3)
    x = rows(4, 2, reach=1.3).requires_grad_(True)
    assert torch.autograd.gradcheck(network, (x,), atol=1e-6)

    def by_coefficients(coef):
        return torch.func.functional_call(network, {"layers.0.coef": coef}, (x.detach(),))

    coef = network.layer(0).coef.detach().clone().requires_grad_(True)
    assert torch.autograd.gradcheck(by_coefficients, (coef,), atol=1e-6)


def test_a_layer_with_pykans_coefficients_is_pykans():
    from discoverers.networks.pykan import quiet

    with quiet():
        from kan.KANLayer import KANLayer

        theirs = KANLayer(in_dim=2, out_dim=3, num=5, k=3).double()
    # pykan lays its grid out in single precision.
    theirs.grid.data = (-1.0 + 0.4 * torch.arange(-3, 9, dtype=torch.float64)).repeat(2, 1)
    ours = SplineLayer(2, 3, 5, base="silu")
    with torch.no_grad():
        ours.coef.copy_((theirs.coef * theirs.scale_sp[:, :, None]).transpose(1, 2))
        ours.base_weight.copy_(theirs.scale_base)
        x = rows(50, 2, reach=0.999)
        np.testing.assert_allclose(ours(x).numpy(), theirs(x)[0].numpy(), atol=1e-12)


def test_the_network_is_the_sum_and_product_of_its_edges():
    network = SplineKAN([2, (1, 1), 1], noise=0.5)
    x = rows(9, 2).numpy()
    sums = [sum(network.edge(0, i, j)(x[:, i]) for i in range(2)) for j in range(3)]
    nodes = [sums[0], sums[1] * sums[2]]
    expected = sum(network.edge(1, i, 0)(nodes[i]) for i in range(2))
    with torch.no_grad():
        np.testing.assert_allclose(network(torch.from_numpy(x))[:, 0], expected, atol=1e-13)


def test_adapting_moves_the_grid_and_keeps_the_function():
    layer = SplineLayer(1, 2, 12, base="none", noise=1.0)
    x = rows(200, 1, reach=0.5)
    with torch.no_grad():
        before = layer(x)
        layer.adapt(x)
        after = layer(x)
    assert float(layer.upper) == pytest.approx(float(x.max() + 0.1 * (x.max() - x.min())))
    assert float((after - before).abs().max()) < 0.05 * float(before.abs().max())


def test_roughness_rows_give_the_roughness():
    network = SplineKAN([2, (1, 1), 1], 5, noise=0.5)
    theta = np.concatenate(
        [p.detach().numpy().ravel() for p in network.parameters() if p.requires_grad]
    )
    squared = float(np.sum((network.roughness_rows() @ theta) ** 2))
    assert squared == pytest.approx(float(network.roughness().detach()))


def test_a_linear_layer_is_the_sum_of_its_inputs():
    layer = SplineLayer(3, 1)
    layer.make_linear()
    x = rows(20, 3)
    with torch.no_grad():
        np.testing.assert_allclose(layer(x)[:, 0], x.sum(dim=1), atol=1e-14)


def test_edges_are_in_the_users_units():
    network = SplineKAN([2, 1])
    inputs = np.random.default_rng(0).uniform([2.0, -1.0], [6.0, 9.0], (50, 2))
    edges = spline_edges(network, inputs, np.array([4.0, 4.0]), np.array([2.0, 5.0]), ["x", "v"])
    edge = next(e for e in edges if e.name == "v")
    assert edge.grid[[0, -1]] == pytest.approx([inputs[:, 1].min(), inputs[:, 1].max()])
    assert edge(4.0 + 5.0 * 0.3) == pytest.approx(float(network.edge(0, 1, 0)(0.3)))
    assert edge.values == pytest.approx(edge(edge.grid))


def test_seeds_are_respected_and_the_global_random_state_is_left_alone():
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first, again, other = (SplineKAN([2, 3, 1], random_state=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.layer(0).coef, again.layer(0).coef)
    assert not torch.equal(first.layer(0).coef, other.layer(0).coef)


def test_not_a_number_passes_through():
    network = SplineKAN([1, 1])
    x = torch.tensor([[np.nan], [0.0]], dtype=torch.float64)
    found = network(x)
    assert bool(torch.isnan(found[0, 0]))
    assert bool(torch.isfinite(found[1, 0]))


@pytest.mark.parametrize(
    ("widths", "message"), [([2], "inputs and outputs"), ([(2, 1), 1], r"widths\[0\]")]
)
def test_widths_are_checked(widths, message):
    with pytest.raises(ValueError, match=message):
        SplineKAN(widths)


def test_edges_are_checked():
    with pytest.raises(IndexError, match="source must be from 0 to 1, got 2"):
        SplineKAN([2, 1]).edge(0, 2, 0)
    with pytest.raises(ValueError, match="x must be finite"):
        SplineKAN([1, 1]).adapt(torch.tensor([[np.nan]], dtype=torch.float64))
