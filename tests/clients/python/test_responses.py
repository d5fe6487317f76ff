"""OpenAI's Python SDK on the Responses API: against the echo, and against an upstream that only has chat."""

import openai
import pydantic
import pytest

import gateway as tollgate
from gateway import APP
from upstream import calls_tool, piece, refuses, says, stops_after

TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "Tells the weather.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
FORCED = {"type": "function", "name": "get_weather"}


@pytest.fixture(scope="module")
def house(upstream, tmp_path_factory):
    """A gateway whose upstream is a vendor without a Responses API of its own."""
    text = tollgate.config(upstream).replace("dialect: openai", "dialect: compatible")
    running = tollgate.Gateway(tmp_path_factory.mktemp("responses"), text)
    yield running
    assert running.stop() == 0, running.output()


@pytest.fixture(scope="module")
def client(house):
    return openai.OpenAI(base_url=house.base_url, api_key=APP, max_retries=0)


def test_a_response_is_whole_and_says_what_was_asked(client):
    answer = client.responses.create(
        model="echo", input="one two three", instructions="be brief", temperature=0.5, metadata={"a": "b"}
    )
    assert answer.output_text == "one two three"
    assert (answer.status, answer.error, answer.incomplete_details) == ("completed", None, None)
    assert (answer.instructions, answer.temperature, answer.metadata) == ("be brief", 0.5, {"a": "b"})
    usage = answer.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens > 0
    assert usage.input_tokens_details.cached_tokens == usage.output_tokens_details.reasoning_tokens == 0
    assert answer.store is False, "nothing is kept"


def test_a_stream_opens_tells_pieces_and_ends_with_the_whole(client):
    items = [{"role": "user", "content": [{"type": "input_text", "text": "one two three"}]}]
    events = list(client.responses.create(model="echo", input=items, stream=True))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == "one two three" and len(deltas) == 3
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == "one two three"
    assert len({event.response.id for event in events if hasattr(event, "response")}) == 1


def test_the_sdks_own_accumulation_agrees_with_the_end(client):
    with client.responses.stream(model="echo", input="x y", tools=[TOOL], tool_choice=FORCED) as stream:
        snapshots = [e.snapshot for e in stream if e.type == "response.function_call_arguments.delta"]
        final = stream.get_final_response()
    (call,) = final.output
    assert snapshots[-1] == call.arguments
    assert (call.name, call.parsed_arguments) == ("get_weather", {"city": "x y"})


def test_a_tool_round_trip_goes_on_with_the_output_as_input(client):
    ask = [{"role": "user", "content": "weather?"}]
    first = client.responses.create(model="echo", input=ask, tools=[TOOL], tool_choice=FORCED)
    call = first.output[0]
    more = ask + [item.model_dump(exclude_unset=True) for item in first.output]
    more.append({"type": "function_call_output", "call_id": call.call_id, "output": "sunny"})
    second = client.responses.create(model="echo", input=more, tools=[TOOL])
    assert second.output_text == "weather?" and second.status == "completed"


def test_a_schema_is_parsed_whole_and_from_a_stream(client):
    class Person(pydantic.BaseModel):
        name: str
        age: int

    answer = client.responses.parse(model="echo", input="make one", text_format=Person)
    assert isinstance(answer.output_parsed, Person)
    with client.responses.stream(model="echo", input="make one", text_format=Person) as stream:
        stream.until_done()
        assert stream.get_final_response().output_parsed == answer.output_parsed


def test_an_answer_that_was_cut_is_incomplete(client):
    answer = client.responses.create(model="echo", input="one two three", max_output_tokens=1)
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    events = list(client.responses.create(model="echo", input="one two", max_output_tokens=1, stream=True))
    assert events[-1].type == "response.incomplete"


def test_a_chat_upstream_answers_with_text_and_calls(client, upstream, model):
    upstream.script(model, says("bonjour le monde"))
    answer = client.responses.create(model=f"fake/{model}", input="hi", instructions="be kind")
    assert answer.output_text == "bonjour le monde" and answer.usage.input_tokens == 7
    assert [m["role"] for m in upstream.seen(model)[0].body["messages"]] == ["system", "user"]
    upstream.script(model, calls_tool())
    events = list(client.responses.create(model=f"fake/{model}", input="hi", tools=[TOOL], stream=True))
    (call,) = events[-1].response.output
    assert (call.call_id, call.arguments) == ("call_1", '{"city":"Paris","unit":"c"}')


def test_a_chat_upstreams_thoughts_are_reasoning(client, upstream, model):
    async def thinks(exchange):
        await exchange.open_stream()
        await exchange.event(piece(exchange, {"role": "assistant", "reasoning_content": "hm, "}))
        await exchange.event(piece(exchange, {"reasoning_content": "so"}))
        await exchange.event(piece(exchange, {"content": "yes"}, "stop"))
        await exchange.event("[DONE]")
        await exchange.close_stream()

    upstream.script(model, thinks)
    events = list(client.responses.create(model=f"fake/{model}", input="hi", stream=True))
    deltas = [event.delta for event in events if event.type == "response.reasoning_text.delta"]
    assert "".join(deltas) == "hm, so"
    reasoning, message = events[-1].response.output
    assert (reasoning.type, reasoning.content[0].text, message.type) == ("reasoning", "hm, so", "message")


def test_a_failure_before_content_is_a_status(client, upstream, model):
    upstream.script(model, refuses(429, "slow down"))
    with pytest.raises(openai.RateLimitError):
        client.responses.create(model=f"fake/{model}", input="hi", stream=True)


def test_a_stream_that_breaks_off_raises_and_never_completes(client, upstream, model):
    upstream.script(model, stops_after(2, cut=True))
    seen = []
    with pytest.raises(openai.APIError) as failed:
        for event in client.responses.create(model=f"fake/{model}", input="hi", stream=True):
            seen.append(event.type)
    assert failed.value.code == "stream_interrupted"
    assert "response.output_text.delta" in seen and "response.completed" not in seen


def test_nothing_is_kept(client):
    with pytest.raises(openai.NotFoundError, match="keeps none"):
        client.responses.retrieve("resp_123")
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="echo", input="hi", previous_response_id="resp_123")
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "previous_response_id")


def test_the_tokens_of_a_request_are_counted(client):
    count = client.responses.input_tokens.count(model="echo", input="one two three")
    assert (count.object, count.input_tokens >= 3) == ("response.input_tokens", True)
