"""What every test may rely on: no window is opened, and figures do not pile up."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

os.environ["MPLBACKEND"] = "Agg"

# Continuous integration tries the same examples every time; elsewhere they are drawn anew.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    """Close what a test has drawn, if Matplotlib was imported at all."""
    import sys

    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that need a CUDA device where there is none."""
    marked = [item for item in items if "gpu" in item.keywords]
    if not marked:
        return
    import torch

    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device; torch sees none here")
    for item in marked:
        item.add_marker(skip)
