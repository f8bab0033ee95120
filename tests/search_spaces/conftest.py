import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def nas_table() -> dict[str, np.ndarray]:
    path = Path(os.environ.get("AUTOSEARCH_DATA", "data")) / "nas" / "nasbench201.npz"
    if not path.is_file():
        pytest.skip(f"needs the NAS-Bench-201 table, {path}: set AUTOSEARCH_DATA to the folder of datasets")
    with np.load(path) as table:
        return {name: table[name] for name in table.files}
