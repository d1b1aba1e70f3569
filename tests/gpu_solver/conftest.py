"""Oracles written out from the papers' equations in plain loops, without the package's help."""

from math import factorial

import numpy as np
import pytest
import torch


def _smnn(c, d, u, s, w_governing=1.0, w_initial=1.0, w_smooth=1.0):
    """A, w, b of one problem, equations 5 to 8 row by row; NaN in u drops the row."""
    steps = len(s) + 1
    _, equations, variables, size = c.shape
    index = {
        (t, v, r): (t * variables + v) * size + r
        for t in range(steps)
        for v in range(variables)
        for r in range(size)
    }
    w_governing = np.broadcast_to(w_governing, (steps, equations))
    w_initial = np.broadcast_to(w_initial, u.shape)
    w_smooth = np.broadcast_to(w_smooth, (steps - 1, variables, size))
    rows, weights, values = [], [], []
    for t in range(steps):
        for q in range(equations):
            row = np.zeros(len(index))
            for v in range(variables):
                for r in range(size):
                    row[index[t, v, r]] = c[t if len(c) > 1 else 0, q, v, r]
            rows.append(row)
            weights.append(w_governing[t, q])
            values.append(d[t if len(d) > 1 else 0, q])
    for t, v, r in np.ndindex(*u.shape):
        if np.isnan(u[t, v, r]):
            continue
        row = np.zeros(len(index))
        row[index[t, v, r]] = 1.0
        rows.append(row)
        weights.append(w_initial[t, v, r])
        values.append(u[t, v, r])
    for here, there, sign in ((0, 1, 1.0), (1, 0, -1.0)):
        for t in range(steps - 1):
            for v in range(variables):
                for r in range(size):
                    row = np.zeros(len(index))
                    row[index[t + there, v, r]] += 1.0
                    for k in range(r, size):
                        row[index[t + here, v, k]] -= (sign * s[t]) ** (k - r) / factorial(k - r)
                    rows.append(row)
                    weights.append(w_smooth[t, v, r] * s[t] ** r)
                    values.append(0.0)
    return np.array(rows), np.array(weights), np.array(values)


def _least_squares(c, d, u, s, *weights):
    a, w, b = _smnn(c, d, u, s, *weights)
    y = np.linalg.lstsq(w[:, None] * a, w * b, rcond=None)[0]
    return y.reshape(len(s) + 1, c.shape[2], c.shape[3])


def _torch_least_squares(c, d, u, s, w_governing=1.0, w_initial=1.0, w_smooth=1.0):
    """`_least_squares` of float64 tensors, by QR of A in full, which torch differentiates."""
    steps, (equations, variables, size) = len(s) + 1, c.shape[1:]
    count = steps * variables * size
    unknown = torch.eye(count, dtype=torch.float64).reshape(steps, variables, size, count)

    def weighted(rows, values, weights):
        weights = torch.as_tensor(weights, dtype=torch.float64).expand(values.shape)
        return weights.reshape(-1, 1) * rows.reshape(-1, count), (weights * values).reshape(-1)

    measured = ~torch.isnan(u)
    w_initial = torch.as_tensor(w_initial, dtype=torch.float64).expand(u.shape)[measured]
    of_u = unknown[: len(u), :, : u.shape[2]][measured]
    parts = [
        weighted(
            torch.einsum("tqvr,tvrk->tqk", c.expand(steps, -1, -1, -1), unknown),
            d.expand(steps, equations),
            w_governing,
        ),
        weighted(of_u, u[measured], w_initial),
    ]
    w_smooth = torch.as_tensor(w_smooth, dtype=torch.float64)
    w_smooth = w_smooth * s[:, None, None] ** torch.arange(float(size)).double()
    w_smooth = w_smooth.expand(steps - 1, variables, size)
    for here, there, sign in ((0, 1, 1.0), (1, 0, -1.0)):
        now, other = unknown[here : here + steps - 1], unknown[there : there + steps - 1]
        rows = [
            other[:, :, r]
            - sum(
                (sign * s[:, None, None]) ** (k - r) / factorial(k - r) * now[:, :, k]
                for k in range(r, size)
            )
            for r in range(size)
        ]
        parts.append(weighted(torch.stack(rows, 2), torch.zeros(w_smooth.shape).double(), w_smooth))
    a, b = (torch.cat(each) for each in zip(*parts, strict=True))
    q, r = torch.linalg.qr(a)
    y = torch.linalg.solve_triangular(r, (q.T @ b)[:, None], upper=True)
    return y.reshape(steps, variables, size)


def _torch_solutions(c, d, u, s, *weights):
    """`_torch_least_squares` of every problem of a batch; parts may be shared or constant."""
    s = s.expand(*s.shape[:-1], max(c.shape[-4], d.shape[-2], s.shape[-1] + 1) - 1)
    parts = [
        (part, part.ndim - core) for part, core in zip((c, d, u, s), (4, 2, 3, 1), strict=True)
    ]
    batch = torch.broadcast_shapes(*(part.shape[:lead] for part, lead in parts))
    rows = (
        part.expand(*batch, *part.shape[lead:]).reshape(-1, *part.shape[lead:])
        for part, lead in parts
    )
    y = torch.stack([_torch_least_squares(*one, *weights) for one in zip(*rows, strict=True)])
    return y.reshape(*batch, *y.shape[1:])


def _mnn(c, d, u, s):
    """G and b of the original MNN; unknowns are eps and then y in the order t, v, r."""
    steps = len(s) + 1
    _, equations, variables, size = c.shape
    top = size - 1
    count = 1 + steps * variables * size

    def at(t, v, r):
        return 1 + (t * variables + v) * size + r

    rows, values = [], []
    for t in range(steps):
        for q in range(equations):
            row = np.zeros(count)
            for v in range(variables):
                for r in range(size):
                    row[at(t, v, r)] = c[t if len(c) > 1 else 0, q, v, r]
            rows.append(row)
            values.append(d[t if len(d) > 1 else 0, q])
    for t, v, r in np.ndindex(*u.shape):
        row = np.zeros(count)
        row[at(t, v, r)] = 1.0
        rows.append(row)
        values.append(u[t, v, r])
    for t in range(steps - 1):
        for v in range(variables):
            for r in range(top):
                forward, backward = np.zeros(count), np.zeros(count)
                forward[0] = backward[0] = 1.0
                for k in range(r, size):
                    forward[at(t, v, k)] += s[t] ** k / factorial(k - r)
                    backward[at(t + 1, v, k)] += (-s[t]) ** k / factorial(k - r)
                forward[at(t + 1, v, r)] -= s[t] ** r
                backward[at(t, v, r)] -= (-s[t]) ** r
                rows += [forward, backward]
                values += [0.0, 0.0]
    for t in range(1, steps - 1):
        for v in range(variables):
            width = s[t - 1] + s[t]
            row = np.zeros(count)
            row[0] = 1.0
            row[at(t + 1, v, top - 1)] = width ** (top - 1) / width
            row[at(t - 1, v, top - 1)] = -(width ** (top - 1)) / width
            row[at(t, v, top)] = -(width ** (top - 1))
            rows.append(row)
            values.append(0.0)
    return np.array(rows), np.array(values)


def _complex_exponential(rate, amplitude, constant, t):
    """constant + Re(amplitude exp(rate t)) and its first two derivatives."""
    parts = [(amplitude * rate**r * np.exp(rate * t)).real for r in range(3)]
    parts[0] = parts[0] + constant
    return np.array(parts)


def _validation_odes():
    """The six ODEs of appendix B.1 on 1000 times of step 0.01: name -> c, d, u, (y, y', y'')."""
    t = 0.01 * np.arange(1000)
    damped = np.sqrt(4 * 4.5 - 0.43**2)
    fixed = 0.32 / 0.6
    return {
        "rc circuit": (
            [1 / 1.2, 2.31],
            0.7,
            [10.0],
            _complex_exponential(-1 / (1.2 * 2.31), 10 - 0.84, 0.84, t),
        ),
        "population growth": (
            [0.23, -1.0],
            0.0,
            [4.78],
            _complex_exponential(0.23, 4.78, 0.0, t),
        ),
        "language death": (
            [0.6, 1.0],
            0.32,
            [0.14],
            _complex_exponential(-0.6, 0.14 - fixed, fixed, t),
        ),
        "harmonic": (
            [2.1, 0.0, 1.0],
            0.0,
            [0.4, -0.03],
            _complex_exponential(1j * np.sqrt(2.1), 0.4 + 0.03j / np.sqrt(2.1), 0.0, t),
        ),
        "damped harmonic": (
            [4.5, 0.43, 1.0],
            0.0,
            [0.12, 0.043],
            _complex_exponential(
                -0.215 + 0.5j * damped,
                0.12 - 1j * (0.43 * 0.12 + 2 * 0.043) / damped,
                0.0,
                t,
            ),
        ),
        "third order": (
            [0.0, 1.0, 1.0, 1.0],
            0.0,
            [0.0, -1.0, 1.0],
            _complex_exponential(-0.5 + 0.5j * np.sqrt(3), 2j / np.sqrt(3), 0.0, t),
        ),
    }


def _random_problem(seed, steps=6, equations=2, variables=2, order=2, n_init=2, orders=2, batch=()):
    """Arrays c, d, u, s of a well-posed random problem."""
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(*batch, steps, equations, variables, order + 1)),
        rng.normal(size=(*batch, steps, equations)),
        rng.normal(size=(*batch, n_init, variables, orders)),
        rng.uniform(0.3, 0.7, size=(*batch, steps - 1)),
    )


def _random_system(seed, batch=(), steps=5, n=3):
    """Blocks of a symmetric positive definite block-tridiagonal matrix."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(*batch, steps, n, n))
    diagonal = root @ np.swapaxes(root, -1, -2) + 3 * n * np.eye(n)
    # Blocks of norm n at most beside diagonal ones of 3 n at least: definite for every seed.
    return diagonal, rng.uniform(-1.0, 1.0, size=(*batch, steps - 1, n, n))


class Oracle:
    smnn = staticmethod(_smnn)
    least_squares = staticmethod(_least_squares)
    torch_solutions = staticmethod(_torch_solutions)
    mnn = staticmethod(_mnn)
    random_problem = staticmethod(_random_problem)
    random_system = staticmethod(_random_system)
    validation_odes = _validation_odes()


@pytest.fixture(scope="session")
def oracle():
    return Oracle()
