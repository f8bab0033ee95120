"""Make the rivals' own virtual environments.

    python benchmarks/searchers/environments.py [FOLDER] [--only nevergrad,ax,smac]

FOLDER is `autosearch-rivals` in the system's temporary folder unless given; hand the same to `run.py --rivals`.
Optuna's samplers and the plain BoTorch loop run in the project's own environment (`pip install cmaes` for CMA-ES).
"""

import argparse
import subprocess
import venv
from pathlib import Path

from players import HOMES

PACKAGES = {
    "nevergrad": [
        "nevergrad==1.0.12",
        "numpy==2.2.6",
    ],  # its meta-model calls float() on arrays, an error since 2.4
    "ax": ["ax-platform==1.3.1", "torch==2.13.0"],
    "smac": ["smac==2.4.1"],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=HOMES)
    parser.add_argument("--only", default=",".join(PACKAGES))
    arguments = parser.parse_args()
    for name in arguments.only.split(","):
        home = arguments.folder / name
        if not (home / "bin" / "python").exists():
            venv.create(home, with_pip=True)
        pip = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-cache-dir"]
        subprocess.run([*pip, *PACKAGES[name]], check=True)
        print(f"{name}: {home}")


if __name__ == "__main__":
    main()
