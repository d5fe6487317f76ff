"""OpenAI's Python SDK, unmodified but for `base_url`."""

import asyncio
import time

import httpx2 as httpx
import openai
import pydantic
import pytest

from gateway import APP, EXPIRED, ONLY_ECHO, ONLY_MODELS
from timely import timely
from upstream import (
    FLOATS,
    Gate,
    answers,
    calls_tool,
    ends_without_finish,
    refuses,
    says,
    silent,
    stops_after,
)

ASK = [{"role": "user", "content": "one two three"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Tells the weather.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


@pytest.fixture(scope="module")
def client(gateway):
    return openai.OpenAI(base_url=gateway.base_url, api_key=APP)


@pytest.fixture(scope="module")
def patient(gateway):
    """A client that never retries by itself."""
    return openai.OpenAI(base_url=gateway.base_url, api_key=APP, max_retries=0)


def text_of(chunks):
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def test_echo_answers_with_the_prompt_and_counts_it(client):
    answer = client.chat.completions.create(model="echo", messages=ASK)
    assert answer.choices[0].message.content == "one two three"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert answer._request_id


def test_echo_streams_several_pieces_under_one_id(client):
    chunks = list(client.chat.completions.create(model="echo", messages=ASK, stream=True))
    assert text_of(chunks) == "one two three"
    assert sum(1 for c in chunks if c.choices and c.choices[0].delta.content) >= 3
    assert len({c.id for c in chunks}) == 1
    assert [c.choices[0].delta.role for c in chunks if c.choices and c.choices[0].delta.role] == ["assistant"]
    assert all(c.usage is None for c in chunks), "usage was not asked for"


def test_a_stream_tells_usage_in_its_last_chunk_if_asked(client):
    chunks = list(
        client.chat.completions.create(
            model="echo", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens > 0
    assert all(c.usage is None for c in chunks[:-1])


def test_an_upstreams_unary_answer_comes_through(client, upstream, model):
    upstream.script(model, says("bonjour le monde"))
    answer = client.chat.completions.create(model=f"fake/{model}", messages=ASK, temperature=0.5)
    assert answer.choices[0].message.content == "bonjour le monde"
    assert answer.usage.completion_tokens == 3
    sent = upstream.seen(model)[0]
    assert sent.body["temperature"] == 0.5
    assert sent.headers["authorization"] == "Bearer sk-upstream-secret"
    assert APP not in str(sent.headers) + sent.raw.decode()


def test_unknown_parameters_reach_an_upstream_of_the_same_dialect(client, upstream, model):
    client.chat.completions.create(
        model=f"fake/{model}", messages=ASK, extra_body={"brand_new": {"deep": [1, 2.50, None]}}
    )
    assert upstream.seen(model)[0].body["brand_new"] == {"deep": [1, 2.5, None]}


def test_the_first_word_arrives_before_the_upstream_has_said_the_second(client, upstream, model):
    gate = Gate(upstream)
    upstream.script(model, says("first second", step=gate.step))
    stream = client.chat.completions.create(model=f"fake/{model}", messages=ASK, stream=True)
    chunks = iter(stream)
    seen = ""
    while not seen:
        chunk = next(chunks)
        seen = chunk.choices[0].delta.content or ""
    assert seen == "first"
    gate.open()
    assert text_of(list(chunks)) == " second"


def test_usage_is_asked_of_the_upstream_and_kept_from_a_caller_who_did_not_ask(client, upstream, model):
    chunks = list(client.chat.completions.create(model=f"fake/{model}", messages=ASK, stream=True))
    assert upstream.seen(model)[0].body["stream_options"]["include_usage"] is True
    assert text_of(chunks) == "hello from upstream"
    assert all(c.usage is None and c.choices for c in chunks)


def test_usage_of_the_upstream_reaches_a_caller_who_asked(client, model):
    chunks = list(
        client.chat.completions.create(
            model=f"fake/{model}", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].usage.prompt_tokens == 7 and chunks[-1].usage.completion_tokens == 3


def test_a_unary_tool_call_comes_back_whole(client, upstream, model):
    upstream.script(model, calls_tool())
    answer = client.chat.completions.create(model=f"fake/{model}", messages=ASK, tools=TOOLS)
    call = answer.choices[0].message.tool_calls[0]
    assert (call.id, call.function.name) == ("call_1", "get_weather")
    assert call.function.arguments == '{"city":"Paris","unit":"c"}'
    assert upstream.seen(model)[0].body["tools"] == TOOLS


def test_a_streamed_tool_call_accumulates_without_repeats(client, upstream, model):
    upstream.script(model, calls_tool())
    with client.chat.completions.stream(model=f"fake/{model}", messages=ASK, tools=TOOLS) as stream:
        final = stream.get_final_completion()
    call = final.choices[0].message.tool_calls[0]
    assert (call.id, call.function.name) == ("call_1", "get_weather")
    assert call.function.arguments == '{"city":"Paris","unit":"c"}'
    assert final.choices[0].finish_reason == "tool_calls"


class City(pydantic.BaseModel):
    name: str
    people: int


def test_parse_returns_a_typed_object(client, upstream, model):
    upstream.script(model, says('{"name":"Paris","people":2}'))
    answer = client.chat.completions.parse(model=f"fake/{model}", messages=ASK, response_format=City)
    assert answer.choices[0].message.parsed == City(name="Paris", people=2)
    assert upstream.seen(model)[0].body["response_format"]["json_schema"]["name"] == "City"


def test_echo_answers_in_the_shape_that_a_schema_asks_for(client):
    answer = client.chat.completions.parse(model="echo", messages=ASK, response_format=City)
    assert isinstance(answer.choices[0].message.parsed, City)


def test_parse_fails_loudly_when_the_answer_was_cut_at_its_length(client, upstream, model):
    upstream.script(model, says('{"name":"Par', finish="length"))
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(model=f"fake/{model}", messages=ASK, response_format=City)


def nearly(left, right):
    return len(left) == len(right) and all(
        abs(a - b) <= 1e-6 * max(1e-6, abs(b)) for a, b in zip(left, right)
    )


def test_embeddings_are_the_same_in_the_sdks_default_base64_and_in_floats(client, upstream, model):
    by_default = client.embeddings.create(model=f"fake/{model}", input="hello")
    as_floats = client.embeddings.create(model=f"fake/{model}", input="hello", encoding_format="float")
    assert nearly(by_default.data[0].embedding, FLOATS)
    assert nearly(as_floats.data[0].embedding, FLOATS)
    assert by_default.usage.prompt_tokens == 5


def test_echo_embeds_alike_in_both_encodings(client):
    by_default = client.embeddings.create(model="echo", input=["a", "b"])
    as_floats = client.embeddings.create(model="echo", input=["a", "b"], encoding_format="float")
    assert [d.index for d in by_default.data] == [0, 1]
    for left, right in zip(by_default.data, as_floats.data):
        assert len(right.embedding) > 0 and nearly(left.embedding, right.embedding)


def test_embeddings_take_token_ids(client, model):
    answer = client.embeddings.create(model=f"fake/{model}", input=[[1, 2, 3], [4]])
    assert len(answer.data) == 2


def test_models_are_listed_and_one_with_a_slash_is_retrieved(client):
    names = [m.id for m in client.models.list()]
    assert "echo" in names and "vendor/model-with/slashes" in names
    one = client.models.retrieve("vendor/model-with/slashes")
    assert one.id == "vendor/model-with/slashes" and one.object == "model"


def test_a_key_sees_only_the_models_it_may_use(gateway):
    names = [m.id for m in openai.OpenAI(base_url=gateway.base_url, api_key=ONLY_ECHO).models.list()]
    assert names == ["echo"]


@pytest.mark.parametrize(
    "key", ["tg_unknown00000_" + "x" * 40, "not-a-key", EXPIRED, APP[:-1] + "y"], ids=["unknown", "odd", "expired", "altered"]
)
def test_a_bad_key_is_an_authentication_error_and_is_not_retried(gateway, key):
    with pytest.raises(openai.AuthenticationError) as caught:
        openai.OpenAI(base_url=gateway.base_url, api_key=key).chat.completions.create(model="echo", messages=ASK)
    assert caught.value.code == "invalid_api_key"
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert key not in caught.value.response.text


def test_a_missing_scope_is_a_permission_error(gateway):
    with pytest.raises(openai.PermissionDeniedError):
        openai.OpenAI(base_url=gateway.base_url, api_key=ONLY_MODELS).chat.completions.create(
            model="echo", messages=ASK
        )


def test_a_model_that_is_not_allowed_is_a_permission_error(gateway):
    with pytest.raises(openai.PermissionDeniedError) as caught:
        openai.OpenAI(base_url=gateway.base_url, api_key=ONLY_ECHO).chat.completions.create(
            model="priced", messages=ASK
        )
    assert caught.value.code == "model_not_allowed"


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="no-such-model", messages=ASK)
    assert caught.value.code == "model_not_found"
    assert "no-such-model" in caught.value.message


def test_an_unknown_model_cannot_be_retrieved(client):
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no/such/model")


def test_a_wrong_type_is_a_bad_request_that_names_the_field(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="echo", messages=[{"role": "user", "content": 5}])
    assert caught.value.param == "messages[0].content"


def test_an_upstreams_refusal_keeps_its_status_and_message(client, upstream, model):
    upstream.script(model, refuses(400, "temperature is too hot", code="too_hot"))
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=f"fake/{model}", messages=ASK)
    assert "temperature is too hot" in caught.value.message
    assert len(upstream.seen(model)) == 1, "a caller's mistake is not tried again"


def test_an_upstreams_429_is_a_rate_limit_error_after_our_attempts(patient, upstream, model):
    upstream.script(model, refuses(429, headers={"retry-after": "0"}))
    with pytest.raises(openai.RateLimitError):
        patient.chat.completions.create(model=f"fake/{model}", messages=ASK)
    assert 1 <= len(upstream.seen(model)) <= 3


def test_an_upstreams_denial_is_not_blamed_on_the_caller(patient, upstream, model):
    upstream.script(model, refuses(401, "Incorrect API key provided: sk-upstream-secret"))
    with pytest.raises(openai.InternalServerError) as caught:
        patient.chat.completions.create(model=f"fake/{model}", messages=ASK)
    assert caught.value.status_code == 502
    assert "sk-upstream-secret" not in caught.value.response.text


def test_the_sdk_does_not_multiply_attempts_that_tollgate_has_used_up(client, upstream, model):
    upstream.script(model, refuses(500))
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=f"pair/{model}", messages=ASK)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(upstream.seen(model)) == 3, "one for each target, and the first once more"


@pytest.mark.parametrize(
    "first", [refuses(503), refuses(429), refuses(401), answers("<html>"), ends_without_finish(0), stops_after(0, cut=True)],
    ids=["503", "429", "401", "html", "empty-stream", "reset"],
)
@pytest.mark.parametrize("streamed", [False, True], ids=["unary", "stream"])
def test_a_second_target_serves_invisibly_when_the_first_fails(client, upstream, model, first, streamed):
    upstream.script(model, first, says("second time lucky"))
    raw = client.chat.completions.with_raw_response.create(model=f"pair/{model}", messages=ASK, stream=streamed)
    told = text_of(list(raw.parse())) if streamed else raw.parse().choices[0].message.content
    assert told == "second time lucky"
    assert raw.headers["x-tollgate-provider"] == "second"
    assert raw.headers["x-tollgate-attempts"] == "2"


def test_raw_headers_name_the_provider_the_model_and_the_request(client, model):
    raw = client.chat.completions.with_raw_response.create(model=f"fake/{model}", messages=ASK)
    assert raw.headers["x-tollgate-provider"] == "fake"
    assert raw.headers["x-tollgate-model"] == model
    assert raw.headers["x-tollgate-attempts"] == "1"
    assert raw.headers["x-tollgate-upstream-request-id"] == "upstream-request-1"
    assert len(raw.headers["x-request-id"]) == 36


def test_a_priced_call_tells_its_cost(client, gateway):
    raw = client.chat.completions.with_raw_response.create(model="priced", messages=ASK)
    # 7 tokens in at 2 USD and 3 out at 8 USD a million.
    assert float(raw.headers["x-tollgate-cost-usd"]) == pytest.approx(38e-6)


@pytest.mark.parametrize(
    "behaviour",
    [
        answers("<html>Bad gateway</html>", "text/html"),
        answers("{not json"),
        answers("{}"),
        answers(b""),
        answers("[]"),
    ],
    ids=["html", "broken", "empty-object", "nothing", "list"],
)
def test_garbage_in_a_200_is_a_failure_and_not_an_answer(patient, upstream, model, behaviour):
    upstream.script(model, behaviour)
    with pytest.raises(openai.InternalServerError) as caught:
        patient.chat.completions.create(model=f"fake/{model}", messages=ASK)
    assert caught.value.status_code == 502


@pytest.mark.parametrize(
    "behaviour", [stops_after(3, cut=True), ends_without_finish(3)], ids=["reset", "clean-end"]
)
def test_a_stream_that_is_cut_raises_after_the_words_that_came(patient, upstream, model, behaviour):
    upstream.script(model, behaviour)
    words = ""
    with pytest.raises(openai.APIError):
        for chunk in patient.chat.completions.create(model=f"fake/{model}", messages=ASK, stream=True):
            words += chunk.choices[0].delta.content or ""
    assert words == "word0 word1 word2 "


def test_a_stream_that_fails_before_content_is_a_plain_error(patient, upstream, model):
    upstream.script(model, ends_without_finish(0))
    with pytest.raises(openai.InternalServerError):
        patient.chat.completions.create(model=f"fake/{model}", messages=ASK, stream=True)


@timely
def test_breaking_off_a_stream_closes_the_upstream_within_100_ms(client, upstream, model):
    upstream.script(model, stops_after(2))
    stream = client.chat.completions.create(model=f"fake/{model}", messages=ASK, stream=True)
    for chunk in stream:
        if "word1" in (chunk.choices[0].delta.content or ""):
            break
    gone = time.monotonic()
    stream.close()
    assert upstream.seen(model)[0].wait_closed() - gone < 0.1


@timely
def test_a_unary_call_that_times_out_at_the_caller_closes_the_upstream(gateway, upstream, model):
    upstream.script(model, silent)
    hasty = openai.OpenAI(base_url=gateway.base_url, api_key=APP, max_retries=0, timeout=0.3)
    with pytest.raises(openai.APITimeoutError):
        hasty.chat.completions.create(model=f"fake/{model}", messages=ASK)
    gone = time.monotonic()
    assert upstream.seen(model)[0].wait_closed() - gone < 0.1


@timely
def test_a_deadline_in_the_header_bounds_the_call(patient, upstream, model):
    upstream.script(model, silent)
    began = time.monotonic()
    with pytest.raises(openai.InternalServerError) as caught:
        patient.chat.completions.create(
            model=f"fake/{model}", messages=ASK, extra_headers={"x-tollgate-timeout-ms": "200"}
        )
    assert caught.value.status_code == 504
    assert 0.15 < time.monotonic() - began < 1
    upstream.seen(model)[0].wait_closed()


def test_the_async_client_streams_many_answers_at_once(gateway):
    async def all_of_them():
        async with openai.AsyncOpenAI(base_url=gateway.base_url, api_key=APP) as client:

            async def one(number):
                ask = [{"role": "user", "content": f"call number {number}"}]
                stream = await client.chat.completions.create(model="echo", messages=ask, stream=True)
                return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

            return await asyncio.gather(*(one(number) for number in range(50)))

    assert asyncio.run(all_of_them()) == [f"call number {number}" for number in range(50)]


@timely
def test_cancelling_an_async_task_closes_the_upstream(gateway, upstream, model):
    upstream.script(model, silent)

    async def cancel_it():
        async with openai.AsyncOpenAI(base_url=gateway.base_url, api_key=APP, max_retries=0) as client:
            task = asyncio.create_task(
                client.chat.completions.create(model=f"fake/{model}", messages=ASK, stream=True)
            )
            await asyncio.to_thread(upstream.wait_seen, model)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return time.monotonic()

    gone = asyncio.run(cancel_it())
    assert upstream.seen(model)[0].wait_closed() - gone < 0.1


def test_the_usage_of_a_call_can_be_read_by_its_request_id(client, gateway, model):
    raw = client.chat.completions.with_raw_response.create(model=f"fake/{model}", messages=ASK)
    record = httpx.get(
        f"{gateway.base_url}/usage/records/{raw.headers['x-request-id']}",
        headers={"authorization": f"Bearer {APP}"},
    ).json()
    record = record.get("record", record)
    assert record["status"] == "OK"
    assert record["requested_model"] == f"fake/{model}"
    assert record["tags"] == {"service": "tests"}
    assert record["usage"]["input_tokens"] == "7" and record["usage"]["output_tokens"] == "3"
