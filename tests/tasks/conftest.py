import os
from pathlib import Path

import pytest
import torch


@pytest.fixture
def data_dir() -> Path:
    """The folder of real datasets; a test that asks for it is skipped where there is none."""
    folder = os.environ.get("AUTOSEARCH_DATA")
    if not folder:
        pytest.skip("needs real data: set AUTOSEARCH_DATA to a folder of datasets")
    return Path(folder)


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small are slower on several threads, and on a busy machine very much slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
