"""Anthropic's Python SDK, unmodified but for `base_url`."""

import anthropic
import httpx2 as httpx
import pytest

from gateway import APP, EXPIRED, ONLY_ECHO, ONLY_MODELS, POOR
from upstream import Gate, calls_tool, refuses, says, stops_after

ASK = [{"role": "user", "content": "one two three"}]
TOOLS = [
    {
        "name": "get_weather",
        "description": "Tells the weather.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]


@pytest.fixture(scope="module")
def client(gateway):
    return anthropic.Anthropic(base_url=f"http://{gateway.host}", api_key=APP)


@pytest.fixture(scope="module")
def patient(gateway):
    """A client that never retries by itself."""
    return anthropic.Anthropic(base_url=f"http://{gateway.host}", api_key=APP, max_retries=0)


def test_echo_answers_with_the_prompt_and_counts_it(client):
    answer = client.messages.create(model="echo", max_tokens=100, messages=ASK)
    assert [block.text for block in answer.content] == ["one two three"]
    assert (answer.type, answer.role, answer.stop_reason) == ("message", "assistant", "end_turn")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 3)
    assert answer.id.startswith("msg_") and answer._request_id in answer.id


def test_a_stream_arrives_in_pieces_and_ends_with_the_message(client):
    with client.messages.stream(model="echo", max_tokens=100, messages=ASK) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert "".join(pieces) == "one two three" and len(pieces) == 3
    assert final.content[0].text == "one two three"
    assert final.stop_reason == "end_turn"
    assert (final.usage.input_tokens, final.usage.output_tokens) == (3, 3)


def test_events_come_in_anthropics_order_with_their_names(gateway):
    body = {"model": "echo", "max_tokens": 9, "messages": ASK, "stream": True}
    response = httpx.post(f"http://{gateway.host}/v1/messages?beta=true", json=body, headers={"x-api-key": APP})
    names = [line[7:] for line in response.text.splitlines() if line.startswith("event: ")]
    deltas = ["content_block_delta"] * 3
    assert names == ["message_start", "content_block_start", *deltas, "content_block_stop", "message_delta", "message_stop"]
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["request-id"] == response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("more", "reason", "text"),
    [
        ({"max_tokens": 2}, "max_tokens", "one two"),
        ({"stop_sequences": ["three"]}, "stop_sequence", "one two "),
    ],
)
def test_the_end_of_an_answer_is_told_in_anthropics_words(client, more, reason, text):
    asked = {"model": "echo", "max_tokens": 100, "messages": ASK} | more
    answer = client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    for message in (answer, streamed):
        assert (message.stop_reason, message.content[0].text) == (reason, text)
        assert message.stop_sequence == ("three" if reason == "stop_sequence" else None)


def test_a_forced_tool_is_called_whole_and_streamed(client):
    asked = {"model": "echo", "max_tokens": 100, "messages": ASK, "tools": TOOLS, "tool_choice": {"type": "any"}}
    answer = client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    for message in (answer, streamed):
        [call] = message.content
        assert (message.stop_reason, call.type, call.name) == ("tool_use", "tool_use", "get_weather")
        assert isinstance(call.input["city"], str)


def test_a_conversation_with_tools_system_and_images_reaches_an_openai_upstream(client, upstream, model):
    upstream.script(model, says("done"))
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": pixel}}
    answer = client.messages.create(
        model=f"fake/{model}",
        max_tokens=50,
        system=[{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "look"}, image]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"city": "Rome"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}]},
        ],
        tools=TOOLS,
        metadata={"user_id": "u-1"},
    )
    assert answer.content[0].text == "done"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 1)
    sent = upstream.seen(model)[0].body
    assert [message["role"] for message in sent["messages"]] == ["system", "user", "assistant", "tool"]
    assert sent["messages"][1]["content"][1]["image_url"]["url"] == f"data:image/png;base64,{pixel}"
    assert sent["messages"][2]["tool_calls"][0]["function"]["name"] == "get_weather"
    assert sent["messages"][3] == {"role": "tool", "tool_call_id": "t1", "content": "sunny"}
    assert sent["tools"][0]["function"]["parameters"] == TOOLS[0]["input_schema"]


def test_a_streamed_tool_call_of_an_openai_upstream_accumulates(client, upstream, model):
    upstream.script(model, calls_tool())
    with client.messages.stream(model=f"fake/{model}", max_tokens=50, messages=ASK, tools=TOOLS) as stream:
        final = stream.get_final_message()
    [call] = final.content
    assert (call.id, call.name, call.input) == ("call_1", "get_weather", {"city": "Paris", "unit": "c"})
    assert final.stop_reason == "tool_use"


def test_the_first_word_arrives_before_the_upstream_has_said_the_second(client, upstream, model):
    gate = Gate(upstream)
    upstream.script(model, says("first second", step=gate.step))
    with client.messages.stream(model=f"fake/{model}", max_tokens=50, messages=ASK) as stream:
        pieces = stream.text_stream
        assert next(pieces) == "first"
        gate.open()
        assert "".join(pieces) == " second"


def test_tokens_are_counted_without_an_answer(client):
    few = client.messages.count_tokens(model="echo", messages=ASK).input_tokens
    many = client.messages.count_tokens(model="echo", messages=ASK, system="word " * 200, tools=TOOLS).input_tokens
    assert 0 < few < many


def test_a_count_needs_no_budget(gateway):
    poor = anthropic.Anthropic(base_url=f"http://{gateway.host}", api_key=POOR, max_retries=0)
    assert poor.messages.count_tokens(model="priced", messages=ASK, system="word " * 2000).input_tokens > 1000


def test_models_are_listed_in_anthropics_shape(client):
    names = [model.id for model in client.models.list(limit=2)]
    assert "echo" in names and len(names) > 2, "pages are followed"
    one = client.models.retrieve("echo")
    assert (one.type, one.id, one.display_name) == ("model", "echo", "echo")
    assert one.created_at.year >= 2025


def test_errors_have_the_sdks_classes_and_anthropics_envelope(gateway, patient):
    def fails(key=APP, **more):
        one = anthropic.Anthropic(base_url=f"http://{gateway.host}", api_key=key, max_retries=0)
        with pytest.raises(anthropic.APIStatusError) as failed:
            one.messages.create(**({"model": "echo", "max_tokens": 10, "messages": ASK} | more))
        body = failed.value.body
        assert body["type"] == "error" and body["error"]["message"]
        assert body["request_id"] == failed.value.request_id
        return type(failed.value), body["error"]["type"]

    assert fails(key=EXPIRED) == (anthropic.AuthenticationError, "authentication_error")
    assert fails(key=ONLY_MODELS) == (anthropic.PermissionDeniedError, "permission_error")
    assert fails(key=ONLY_ECHO, model="fake/x") == (anthropic.PermissionDeniedError, "permission_error")
    assert fails(model="no-such") == (anthropic.NotFoundError, "not_found_error")
    assert fails(messages=[]) == (anthropic.BadRequestError, "invalid_request_error")
    assert fails(messages=[{"role": "robot", "content": "x"}]) == (anthropic.BadRequestError, "invalid_request_error")
    assert fails(key=POOR, model="priced", max_tokens=10_000) == (anthropic.RateLimitError, "billing_error")


def test_a_missing_key_and_unknown_paths_are_told_in_anthropics_envelope(gateway):
    url = f"http://{gateway.host}"
    for response, status, kind in [
        (httpx.post(f"{url}/v1/messages", json={}), 401, "authentication_error"),
        (httpx.post(f"{url}/v1/messages/batches", json={}), 404, "not_found_error"),
        (httpx.get(f"{url}/v1/messages"), 405, "not_found_error"),
        (httpx.get(f"{url}/v1/nothing", headers={"anthropic-version": "2023-06-01"}), 404, "not_found_error"),
    ]:
        assert response.status_code == status
        assert (response.json()["type"], response.json()["error"]["type"]) == ("error", kind)
    assert httpx.head(url).status_code == 200


def test_an_upstreams_failures_have_anthropics_statuses(patient, upstream, model):
    for status, expected, kind in [
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (503, anthropic.OverloadedError, "overloaded_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (401, anthropic.InternalServerError, "api_error"),
    ]:
        name = f"{model}-{status}"
        upstream.script(name, *[refuses(status)] * 4)
        with pytest.raises(expected) as failed:
            patient.messages.create(model=f"fake/{name}", max_tokens=10, messages=ASK)
        assert failed.value.body["error"]["type"] == kind, status


def test_a_full_context_is_told_in_the_words_that_claude_code_looks_for(patient, upstream, model):
    words = "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens."
    upstream.script(model, refuses(400, words, code="context_length_exceeded"))
    with pytest.raises(anthropic.BadRequestError) as failed:
        patient.messages.create(model=f"fake/{model}", max_tokens=10, messages=ASK)
    assert failed.value.body["error"]["message"] == "prompt is too long: 9000 tokens > 8192 maximum"


def test_a_stream_that_is_cut_raises_after_the_words_that_came(patient, upstream, model):
    upstream.script(model, stops_after(1, cut=True))
    seen = ""
    with pytest.raises(anthropic.APIStatusError) as failed:
        with patient.messages.stream(model=f"fake/{model}", max_tokens=10, messages=ASK) as stream:
            for piece in stream.text_stream:
                seen += piece
    assert seen == "word0 "
    assert failed.value.body["error"]["type"] == "api_error"
