"""Every official client, unmodified, against every target: all are told the same."""

import pytest

import replay as recorded
from clients import CLIENTS
from conftest import SCENARIOS


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("dialect", recorded.TARGETS)
def test_all_clients_are_told_the_same(dialect, scenario, gateway, picked, aliases, key):
    recordings = picked[dialect, scenario]
    if not recordings:
        assert scenario != "words", f"no recording of {dialect} for {scenario}"
        pytest.skip(f"nobody recorded {scenario} of {dialect}")
    for recording in recordings:
        answers = {name: ask(f"http://{gateway.host}", key, aliases[recording]) for name, ask in CLIENTS.items()}
        first = answers["openai_chat"]
        assert first[0] or first[1], f"{recording}: an empty answer"
        if scenario == "tools":
            assert first[1], f"{recording}: no call"
        different = {name: answer for name, answer in answers.items() if answer != first}
        assert not different, f"{recording}: openai_chat was told {first}"
