"""Memory and threads that calls use one after the other, never at the same time."""

import gc
import os
import threading

import numpy as np
import pytest
import torch

from gpu_solver import LinearODEProblem, solve
from gpu_solver.fused import buffers, threads
from gpu_solver.fused.backend import FusedSolve

#: Problems are drawn at random: least squares as such, not equations that their steps resolve.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:.*{status} .see the status:RuntimeWarning")
    for status in ("initial_values_missed", "underdetermined")
]

LARGE = (1000, 100)


@pytest.fixture(autouse=True)
def nothing_kept():
    gc.collect()
    buffers.release_buffers()
    yield
    buffers.release_buffers()


def address(array):
    return array.__array_interface__["data"][0]


def test_memory_is_used_again_when_the_last_view_is_gone_and_not_before():
    first = buffers.empty(LARGE)
    place = address(first)
    tensor = torch.from_numpy(first[1:].reshape(-1))
    del first
    other = buffers.empty(LARGE)
    assert address(other) != place
    del tensor
    again = buffers.empty((LARGE[1], LARGE[0]))
    assert address(again) == place
    assert again.flags.writeable
    assert again.flags.c_contiguous
    assert place % 64 == 0


def test_memory_far_larger_than_asked_for_is_not_taken():
    large = buffers.empty(LARGE)
    place = address(large)
    del large
    small = buffers.empty((LARGE[0] // 2, LARGE[1]))
    assert address(small) != place
    same = buffers.empty(LARGE, np.float32)
    assert same.dtype == np.float32
    assert same.nbytes == small.nbytes


def test_no_more_than_the_limit_is_kept(monkeypatch):
    monkeypatch.setattr(buffers, "KEPT", 2_000_000)
    arrays = [buffers.empty(LARGE) for _ in range(5)]
    del arrays
    assert 0 < buffers.release_buffers() <= 2_000_000
    assert buffers.release_buffers() == 0


def test_threads_never_share_memory():
    wrong = []

    def work(mark):
        for _ in range(200):
            mine = buffers.empty((10_000,))
            mine.fill(mark)
            other = buffers.empty((10_000,))
            other.fill(-mark)
            if not ((mine == mark).all() and (other == -mark).all()):
                wrong.append(mark)

    others = [threading.Thread(target=work, args=(k + 1.0,)) for k in range(8)]
    for thread in others:
        thread.start()
    for thread in others:
        thread.join()
    assert not wrong


def test_every_part_is_done_once_even_if_all_workers_are_busy():
    release, started = threading.Event(), threading.Event()

    def block(first, stop):
        started.set()
        release.wait(10)

    blocked = threading.Thread(target=threads.run_in_threads, args=(block, 3, 3))
    blocked.start()
    assert started.wait(10)
    done = []
    threads.run_in_threads(lambda first, stop: done.extend(range(first, stop)), 50, 3)
    release.set()
    blocked.join()
    assert sorted(done) == list(range(50))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_and_memory_of_its_own():
    threads.run_in_threads(lambda first, stop: None, 4, 2)
    child = os.fork()
    if child == 0:
        done = []
        threads.run_in_threads(lambda first, stop: done.extend(range(first, stop)), 20, 2)
        buffers.empty(LARGE).fill(1.0)
        os._exit(0 if sorted(done) == list(range(20)) else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    ("batch", "steps", "shared"), [(20, 12, True), (3, 12, False), (1, 600, False)]
)
def test_dl_dy_of_single_precision_is_read_where_it_lies(batch, steps, shared, monkeypatch):
    seen = []
    gradients = FusedSolve.gradients

    def watched(self, y, incoming, *rest):
        seen.append(incoming)
        return gradients(self, y, incoming, *rest)

    monkeypatch.setattr(FusedSolve, "gradients", watched)
    generator = torch.Generator().manual_seed(1)
    c = torch.rand((1 if shared else batch, steps, 1, 1, 3), generator=generator) + 0.5
    d = torch.rand((batch, steps, 1), generator=generator, requires_grad=True)
    u, s = torch.rand((batch, 1, 1, 2), generator=generator), torch.full((1,), 0.3)
    y = solve(LinearODEProblem(c, d, u, s), "fused").y
    upstream = torch.rand(y.shape, generator=generator)
    (found,) = torch.autograd.grad(y, d, upstream)
    assert seen[0].dtype == np.float32
    assert address(seen[0]) == upstream.data_ptr()
    exact = d.detach().double().requires_grad_()
    answer = solve(LinearODEProblem(c.double(), exact, u.double(), s.double()), "fused").y
    (wanted,) = torch.autograd.grad(answer, exact, upstream.double())
    torch.testing.assert_close(found, wanted.float())
