"""The API reference builds without a warning and without a network."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_reference_builds_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("pdoc", reason="needs `pip install -e .[docs]`")
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "build.py", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    page = (tmp_path / "autosearch.html").read_text(encoding="utf-8")
    assert 'id="Study.ask"' in page
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 50
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r'<(?:script|link|img)[^>]+(?:src|href)="https?:', text), path
