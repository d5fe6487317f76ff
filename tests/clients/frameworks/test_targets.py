"""Every official client, unmodified, against every target: all are told the same."""

import pytest

import replay as recorded
from clients import CLIENTS
from conftest import SCENARIOS


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("dialect", recorded.TARGETS)
def test_all_clients_are_told_the_same(dialect, scenario, gateway, aliases, key):
    recordings = aliases[dialect, scenario]
    if not recordings:
        assert scenario == "thinking" or scenario == "tools", f"no recording of {dialect} for {scenario}"
        pytest.skip(f"nobody recorded {scenario} of {dialect}")
    for alias in recordings:
        answers = {name: ask(f"http://{gateway.host}", key, alias) for name, ask in CLIENTS.items()}
        first = answers["openai_chat"]
        assert first[0] or first[1], f"{alias}: an empty answer"
        if scenario == "tools":
            assert first[1], f"{alias}: no call"
        different = {name: answer for name, answer in answers.items() if answer != first}
        assert not different, f"{alias}: openai_chat was told {first}"
