"""What all tests share."""

from hypothesis import HealthCheck, settings

# On a busy machine drawing an example can take longer than hypothesis believes; that says nothing about the code.
settings.register_profile("autosearch", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("autosearch")
