"""The parts of `make soak` in small, so that the long run is known to work before anybody waits for it."""

import pytest

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize(
    ("name", "faults"), [("kills", 2), ("queued", 6), ("two_drivers", 1), ("full_disk", 2)]
)
def test_a_part_of_the_long_run_passes(name: str, faults: int) -> None:
    from benchmarks.soak import parts

    said: list[str] = []
    try:
        found = getattr(parts, name)(0, said.append, faults=faults)
    except parts.SkippedError as reason:
        pytest.skip(str(reason))
    assert found["passed"], (found, said)


def test_a_stopped_database_is_waited_for() -> None:
    from benchmarks.soak import database, parts

    said: list[str] = []
    try:
        found = database.stopped(0, said.append, faults=2)
    except parts.SkippedError as reason:
        pytest.skip(str(reason))
    assert found["passed"], (found, said)
