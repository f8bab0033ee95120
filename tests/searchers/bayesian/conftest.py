import pytest


def pytest_configure(config: pytest.Config) -> None:
    # linear_operator, which BoTorch imports, still uses torch.jit.
    config.addinivalue_line("filterwarnings", "ignore:`torch.jit:DeprecationWarning")
