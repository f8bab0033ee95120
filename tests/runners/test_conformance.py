"""The runners that work in this process through the kit that plug-in authors use."""

from autosearch.core import Runner, RunSettings
from autosearch.runners.inline import InlineRunner
from autosearch.runners.simulated import SimulatedRunner
from autosearch.testing.runner_kit import RunnerKit


class TestInline(RunnerKit):
    def runner(self, settings: RunSettings) -> Runner:
        return InlineRunner(settings)


class TestSimulated(RunnerKit):
    def runner(self, settings: RunSettings) -> Runner:
        return SimulatedRunner(settings)


class TestSimulatedInParallel(TestSimulated):
    parallel = 3
