"""Memory and threads that calls use one after the other, never at the same time."""

import gc
import os
import threading

import numpy as np
import pytest
import torch

from gpu_solver.fused import buffers, threads

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
