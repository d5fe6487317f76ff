"""What all client tests share: one scripted upstream and one gateway in front of it."""

import os
import sys
import uuid

import pytest

import gateway as tollgate
from upstream import Upstream

STUBS = os.environ.get("TOLLGATE_STUBS", str(tollgate.ROOT / "target" / "clients" / "python-stubs"))
assert os.path.isdir(STUBS), f"no generated stubs in {STUBS}: run tests/run once"
sys.path.insert(0, STUBS)


@pytest.fixture(scope="session")
def upstream():
    server = Upstream()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def gateway(upstream, tmp_path_factory):
    running = tollgate.Gateway(tmp_path_factory.mktemp("gateway"), tollgate.config(upstream))
    yield running
    assert running.alive(), f"the gateway died during the tests:\n{running.output()}"
    code = running.stop()
    output = running.output()
    assert code == 0, f"exit code {code} after SIGTERM:\n{output}"
    assert "panicked" not in output, output
    for secret in tollgate.SECRETS:
        assert secret not in output, "a secret stands in the gateway's output"


@pytest.fixture
def model():
    """A model name of the test's own, so that scripts, breakers and counts do not meet."""
    return f"m-{uuid.uuid4().hex[:12]}"
