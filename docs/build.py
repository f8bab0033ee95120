"""The API reference as a folder of HTML pages that need no network: `python docs/build.py FOLDER`.

A warning (a docstring that cannot be read, a module that cannot be imported) ends the build.
"""

import pkgutil
import sys
import warnings
from importlib import import_module
from pathlib import Path

import pdoc

import autosearch
import search_spaces

# How it works inside: nothing here is imported, subclassed or named in a study file.
LEFT_OUT = (
    "autosearch.cli",
    "autosearch.record",
    "autosearch.reporting",
    "autosearch.runners.ray.",
    "autosearch.spec",
)


def modules() -> list[str]:
    """Every module of both packages that the reference shows."""
    found = [autosearch.__name__, search_spaces.__name__]
    for package in (autosearch, search_spaces):
        found += [m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return [name for name in found if not name.startswith(LEFT_OUT) and "._" not in name]


def build(folder: Path) -> int:
    """Write the pages; how many there are."""
    names = modules()
    for module in map(import_module, names):
        for name in getattr(module, "__all__", ()):  # some load when first used: pdoc shows what is there
            vars(module).setdefault(name, getattr(module, name))
    pdoc.render.configure(
        docformat="google", show_source=True, footer_text=f"autosearch {autosearch.__version__}"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # as which pdoc reports
        # A package without `__all__` names its modules as well.
        warnings.filterwarnings("ignore", message="The module specification")
        pdoc.pdoc(*names, output_directory=folder)
    return len(list(folder.rglob("*.html")))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    target = Path(sys.argv[1])
    sys.stdout.write(f"{build(target)} pages: {target.resolve() / 'index.html'}\n")
