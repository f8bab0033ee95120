"""The one-way imports, the fences and the absence of cycles, read from the source with `ast`."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BRACE = ("searchers", "schedulers", "learning", "runners", "record", "reporting", "testing", "embedding")
LAYERS = [
    ("space",),
    ("core",),
    BRACE,
    ("tasks", "search_spaces"),
    ("methods",),
    ("spec",),
    ("compose",),
    ("cli",),
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
METHOD_WORDS = ("autolrs", "stn", "robot", "evonorm", "metaprune")
FENCES = {
    "ray": ("runners",),
    "optuna": (
        "record",
        "searchers/optuna_bridge",
        "searchers/optuna_sampler",
        "tasks/optuna_objective",
        "cli",
    ),
    "optuna_dashboard": ("record", "reporting", "cli"),
    "plotly": ("reporting",),
    "botorch": ("searchers/bayesian",),
    "gpytorch": ("searchers/bayesian",),
}
NO_TORCH = ("space", "core", "spec", "cli")


def modules() -> dict[str, Path]:
    """Every module of the two packages by dotted name."""
    found = {}
    for package in ("autosearch", "search_spaces"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str, *, top_level_only: bool = False) -> list[tuple[str, int]]:
    """(imported module, line) of everything that `name` imports, type-checking imports left out."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            skipped.update(child for part in node.body for child in ast.walk(part))
        if top_level_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            skipped.update(ast.walk(node))
    found = []
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{name}:{node.lineno} imports relatively"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.append((inner if inner in MODULES else node.module, node.lineno))
    return found


def room(name: str) -> str | None:
    """`space` for autosearch.space.parameters; None for autosearch itself."""
    parts = name.split(".")
    return parts[0] if parts[0] == "search_spaces" else (parts[1] if len(parts) > 1 else None)


def test_imports_point_one_way() -> None:
    breaches = []
    for name in MODULES:
        here = room(name)
        if here is None:
            continue
        for target, line in imports(name):
            there = room(target) if target.split(".")[0] in ("autosearch", "search_spaces") else None
            if there is None or there == here:
                continue
            if LEVEL[there] >= LEVEL[here] and not (here == "tasks" and there == "search_spaces"):
                breaches.append(f"{name}:{line} imports {target}")
    assert not breaches, "\n".join(breaches)


def test_every_room_has_its_place() -> None:
    unknown = {room(name) for name in MODULES} - set(LEVEL) - {None}
    assert not unknown, f"rooms without a layer: {unknown}"


def test_method_folders_do_not_import_each_other() -> None:
    breaches = []
    for name in MODULES:
        parts = name.split(".")
        if parts[1:2] != ["methods"] or len(parts) < 3:
            continue
        for target, line in imports(name):
            other = target.split(".")
            foreign = other[:2] == ["autosearch", "methods"] and len(other) > 2 and other[2] != parts[2]
            if foreign and (parts[2], other[2]) != ("metaprune", "pruning"):
                breaches.append(f"{name}:{line} imports {target}")
    assert not breaches, "\n".join(breaches)


@pytest.mark.parametrize("library", sorted(FENCES))
def test_libraries_stay_behind_their_fences(library: str) -> None:
    allowed = tuple(f"autosearch/{place}" for place in FENCES[library])
    breaches = [
        f"{name}:{line}"
        for name, path in MODULES.items()
        for target, line in imports(name)
        if target.split(".")[0] == library and not str(path.relative_to(ROOT)).startswith(allowed)
    ]
    assert not breaches, f"{library} is imported in {breaches}"


def test_torch_stays_out_of_the_light_rooms() -> None:
    breaches = [
        f"{name}:{line}"
        for name in MODULES
        if room(name) in NO_TORCH
        for target, line in imports(name)
        if target.split(".")[0] == "torch"
    ]
    assert not breaches, breaches


def test_pandas_loads_inside_functions_only() -> None:
    breaches = [
        f"{name}:{line}"
        for name in MODULES
        for target, line in imports(name, top_level_only=True)
        if target.split(".")[0] == "pandas"
    ]
    assert not breaches, breaches


def test_there_is_no_import_cycle() -> None:
    graph = {
        name: {
            target for target, _ in imports(name, top_level_only=True) if target in MODULES and target != name
        }
        for name in MODULES
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, "cycle: " + " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        for target in sorted(graph[name]):
            visit(target, (*path, name))
        done.add(name)

    for name in graph:
        visit(name, ())


def test_the_engine_names_no_method() -> None:
    breaches = []
    for name, path in MODULES.items():
        if room(name) in ("core", "runners", "spec", "compose"):
            text = path.read_text(encoding="utf-8").lower()
            named = (word for word in METHOD_WORDS if re.search(rf"(?<![a-z]){word}(?![a-z])", text))
            breaches += [f"{name}: {word}" for word in named]
    assert not breaches, breaches


def test_importing_autosearch_loads_nothing_heavy() -> None:
    import subprocess
    import sys

    heavy = "('torch', 'ray', 'optuna', 'botorch', 'pandas', 'plotly', 'pydantic', 'numpy')"
    code = f"import sys, autosearch; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
