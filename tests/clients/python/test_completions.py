"""OpenAI's Python SDK on legacy completions: as they are where the upstream has them, as chat elsewhere."""

import json

import openai
import pytest

import gateway as tollgate
from gateway import APP
from upstream import refuses


@pytest.fixture(scope="module")
def client(gateway):
    return openai.OpenAI(base_url=gateway.base_url, api_key=APP, max_retries=0)


def completes(*words):
    """Answers as a legacy completion, streamed if asked."""

    async def behave(exchange):
        def part(text, finish=None):
            choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}
            return {"id": "cmpl-up", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}

        usage = {"prompt_tokens": 4, "completion_tokens": len(words), "total_tokens": 4 + len(words)}
        if not exchange.body.get("stream"):
            await exchange.reply(200, {**part("".join(words), "stop"), "usage": usage, "brand_new": 1})
            return
        await exchange.open_stream()
        for word in words:
            await exchange.event(part(word))
        await exchange.event(part("", "stop"))
        if (exchange.body.get("stream_options") or {}).get("include_usage"):
            await exchange.event({**part(""), "choices": [], "usage": usage})
        await exchange.event("[DONE]")
        await exchange.close_stream()

    return behave


def test_a_prompt_is_answered_whole(client):
    answer = client.completions.create(model="echo", prompt="one two three")
    assert (answer.object, answer.choices[0].text) == ("text_completion", "one two three")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


def test_a_prompt_is_answered_in_a_stream_with_usage_only_if_asked(client):
    chunks = list(client.completions.create(model="echo", prompt=["one two three"], stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == "one two three"
    assert len(chunks) >= 4 and chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    asked = {"include_usage": True}
    *chunks, last = client.completions.create(model="echo", prompt="a b", stream=True, stream_options=asked)
    assert last.choices == [] and last.usage.completion_tokens == 2
    assert all(chunk.usage is None for chunk in chunks)


def test_several_answers_and_a_stop(client):
    answer = client.completions.create(model="echo", prompt="a b STOP c", n=2, best_of=2, stop="STOP")
    assert [choice.text.strip() for choice in answer.choices] == ["a b", "a b"]


@pytest.mark.parametrize("field, value", [("prompt", ["a", "b"]), ("prompt", [1, 2]), ("echo", True), ("suffix", "x")])
def test_what_chat_cannot_say_is_refused_by_name(client, field, value):
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="echo", **{"prompt": "a", field: value})
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", field)


def test_an_upstream_with_completions_gets_them_as_they_are(client, upstream, model):
    upstream.script(model, completes("bon", "jour"))
    raw = client.completions.with_raw_response.create(
        model=f"fake/{model}", prompt=[1, 2], echo=True, extra_body={"brand_new": {"x": 1.50}}
    )
    assert json.loads(raw.text)["brand_new"] == 1
    sent = upstream.seen(model)[0]
    assert sent.path == "/v1/completions"
    assert sent.body == {"model": model, "prompt": [1, 2], "echo": True, "brand_new": {"x": 1.5}}


def test_an_upstreams_stream_is_watched_for_usage_and_passed(client, upstream, model):
    upstream.script(model, completes("bon", "jour"))
    chunks = list(client.completions.create(model=f"fake/{model}", prompt="x", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == "bonjour"
    assert all(chunk.usage is None for chunk in chunks)
    assert upstream.seen(model)[0].body["stream_options"] == {"include_usage": True}


def test_a_completion_falls_back_to_a_target_that_only_has_chat(upstream, model, tmp_path):
    targets = '[{ provider: fake, model: "*" }, { provider: echo, model: echo }]'
    text = tollgate.config(upstream).replace("models:\n", f'models:\n  "first/*": {{ targets: {targets} }}\n', 1)
    upstream.script(model, refuses(503), refuses(503))
    running = tollgate.Gateway(tmp_path, text)
    try:
        client = openai.OpenAI(base_url=running.base_url, api_key=APP, max_retries=0)
        for streamed in (False, True):
            answer = client.completions.create(model=f"first/{model}", prompt="a b", stream=streamed)
            parts = list(answer) if streamed else [answer]
            assert "".join(part.choices[0].text for part in parts) == "a b"
    finally:
        assert running.stop() == 0, running.output()
    assert {sent.path for sent in upstream.seen(model)} == {"/v1/completions"}
