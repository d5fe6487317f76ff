"""One gateway in front of recorded upstreams: an alias for each recording."""

import importlib.util
import os
from pathlib import Path

import pytest

import replay as recorded

SHARED = Path(__file__).resolve().parents[1] / "python" / "gateway.py"
_spec = importlib.util.spec_from_file_location("gateway", SHARED)
tollgate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tollgate)

# What is asked of every target: words, a call of a tool, and a call or words after thinking.
SCENARIOS = {"words": ["stream", "usage"], "tools": ["stream", "tool-call"], "thinking": ["stream", "reasoning"]}


@pytest.fixture(scope="session")
def replay():
    if not recorded.WIRE.is_dir() and "CI" not in os.environ:
        pytest.skip(f"{recorded.WIRE} is not there; set TOLLGATE_WIRE_DIR to the recorded traffic")
    server = recorded.Replay()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def picked(replay):
    """(dialect, scenario) -> its recordings."""
    return {
        (dialect, scenario): replay.pick(dialect, *kinds)
        for dialect in recorded.TARGETS
        for scenario, kinds in SCENARIOS.items()
    }


@pytest.fixture(scope="session")
def aliases(picked):
    """Recording -> its alias. A recording's own name may hold a model's, for which clients have habits (LiteLLM asks
    the internet for the tokeniser of a `llama`)."""
    exchanges = dict.fromkeys([one for some in picked.values() for one in some] + list(recorded.SIGNED.values()))
    return {one: f"recorded-{number}" for number, one in enumerate(exchanges)}


@pytest.fixture(scope="session")
def gateway(replay, aliases, tmp_path_factory):
    providers = "".join(replay.provider(alias, one) for one, alias in aliases.items())
    models = "".join(f"  {alias}: {{ targets: [{{ provider: {alias}, model: recorded }}] }}\n" for alias in aliases.values())
    # On a busy machine the gateway would shed load for lateness that is not its own.
    patient = "load: { max_lag: 0s }\n"
    text = f"{patient}providers:\n{providers}models:\n{models}keys:\n  - {{ name: app, key: {tollgate.APP} }}\n"
    running = tollgate.Gateway(tmp_path_factory.mktemp("gateway"), text)
    yield running
    code = running.stop()
    assert code == 0 and "panicked" not in running.output(), running.output()


@pytest.fixture
def key():
    return tollgate.APP
