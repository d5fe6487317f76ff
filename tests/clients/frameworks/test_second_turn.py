"""A second turn with the blocks of the first answer: each upstream gets its own state back, and nobody else's."""

import re

import anthropic
import openai
import pytest

import replay as recorded

ASK = {"role": "user", "content": "Which city is the capital?"}
SCHEMA = {"type": "object", "properties": {}, "additionalProperties": True}
# The member that holds an upstream's state, in its answer and in the next request.
STATE = {"anthropic": "signature", "gemini": "thoughtSignature", "bedrock": "signature", "openai": "encrypted_content"}
# This one was not recorded in a stream.
UNARY = {"openai"}


def states(replay, family):
    """What the recorded answer of a family has as its state."""
    found = re.findall(rf'"{STATE[family]}": ?"([^"]+)"', replay.text(recorded.SIGNED[family]))
    return set(found)


def placed(body, member):
    """The state in a request: (its value, the objects that it stands in, outermost first)."""

    def walk(value, above):
        if isinstance(value, dict):
            if isinstance(value.get(member), str):
                yield value[member], [*above, value]
            for inner in value.values():
                yield from walk(inner, [*above, value])
        elif isinstance(value, list):
            for inner in value:
                yield from walk(inner, above)

    return list(walk(body, []))


class Messages:
    """Anthropic's SDK; what came back goes in as it is, with a result for each call."""

    def __init__(self, gateway, key):
        self.client = anthropic.Anthropic(base_url=f"http://{gateway.host}", api_key=key, max_retries=0, timeout=20)

    def ask(self, alias, messages, unary):
        call = {
            "model": alias,
            "max_tokens": 4096,
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "tools": [{"name": name, "input_schema": SCHEMA} for name in sorted(names(messages)) or ["get_weather"]],
            "messages": messages,
        }
        if unary:
            raw = self.client.messages.with_raw_response.create(**call)
            return raw.parse(), raw.headers
        with self.client.messages.stream(**call) as stream:
            return stream.get_final_message(), stream.response.headers

    def second(self, message):
        content = [block.to_dict() for block in message.content]
        results = [
            {"type": "tool_result", "tool_use_id": block["id"], "content": "42"}
            for block in content
            if block["type"] == "tool_use"
        ]
        asked = results or [{"type": "text", "text": "And then?"}]
        return [ASK, {"role": "assistant", "content": content}, {"role": "user", "content": asked}]


class Chat:
    """OpenAI's SDK with chat; members of a message that it does not know are kept by its models."""

    def __init__(self, gateway, key):
        self.client = openai.OpenAI(base_url=f"http://{gateway.host}/v1", api_key=key, max_retries=0, timeout=20)

    def ask(self, alias, messages, unary):
        tools = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}]
        call = {"model": alias, "messages": messages, "tools": tools, "reasoning_effort": "low"}
        if unary:
            raw = self.client.chat.completions.with_raw_response.create(**call)
            return raw.parse().choices[0].message, raw.headers
        with self.client.chat.completions.stream(**call) as stream:
            return stream.get_final_completion().choices[0].message, stream._response.headers

    def second(self, message):
        said = message.to_dict()
        for call in said.get("tool_calls") or []:
            call.pop("index", None)
            call["function"].pop("parsed_arguments", None)
        said.pop("parsed", None)
        results = [{"role": "tool", "tool_call_id": call["id"], "content": "42"} for call in said.get("tool_calls") or []]
        return [ASK, said, *(results or [{"role": "user", "content": "And then?"}])]


class Responses:
    """OpenAI's SDK with Responses, stateless: the items come back as input."""

    def __init__(self, gateway, key):
        self.client = openai.OpenAI(base_url=f"http://{gateway.host}/v1", api_key=key, max_retries=0, timeout=20)

    def ask(self, alias, messages, unary):
        tools = [{"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}]
        call = {"model": alias, "input": messages, "tools": tools, "store": False, "include": ["reasoning.encrypted_content"]}
        if unary:
            raw = self.client.responses.with_raw_response.create(**call)
            return raw.parse(), raw.headers
        with self.client.responses.stream(**call) as stream:
            return stream.get_final_response(), stream._response.headers

    def second(self, response):
        items = [item.to_dict() for item in response.output]
        for item in items:
            item.pop("parsed_arguments", None)
        results = [
            {"type": "function_call_output", "call_id": item["call_id"], "output": "42"}
            for item in items
            if item["type"] == "function_call"
        ]
        return [ASK, *items, *(results or [{"role": "user", "content": "And then?"}])]


def names(messages):
    """The tools that were called."""
    blocks = [block for message in messages if isinstance(message["content"], list) for block in message["content"]]
    return {block["name"] for block in blocks if block["type"] == "tool_use"}


CLIENTS = [Messages, Chat, Responses]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("family", STATE)
def test_an_upstream_gets_its_own_state_back_in_place(client, family, gateway, replay, aliases, key):
    recording = recorded.SIGNED[family]
    caller, unary = client(gateway, key), family in UNARY
    answer, _ = caller.ask(aliases[recording], [ASK], unary)
    _, headers = caller.ask(aliases[recording], caller.second(answer), unary)
    assert "continuity" not in headers.get("x-tollgate-warnings", "")
    kept = placed(replay.asked(recording)[-1], STATE[family])
    assert kept and {value for value, _ in kept} <= states(replay, family), kept
    for _, above in kept:
        holder = above[-1]
        if family == "gemini":
            assert "functionCall" in holder or "text" in holder
        elif family == "openai":
            assert holder["type"] == "reasoning"
        elif family == "bedrock":
            assert "reasoningContent" in above[-3] and "text" in holder
        else:
            assert holder["type"] == "thinking"


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("first", "second"), [("gemini", "openai"), ("gemini", "anthropic"), ("anthropic", "gemini"), ("bedrock", "openai")]
)
def test_the_state_of_another_is_dropped_with_a_warning(client, first, second, gateway, replay, aliases, key):
    caller = client(gateway, key)
    answer, _ = caller.ask(aliases[recorded.SIGNED[first]], [ASK], first in UNARY)
    target = recorded.SIGNED[second]
    _, headers = caller.ask(aliases[target], caller.second(answer), second in UNARY)
    assert "continuity_dropped" in headers["x-tollgate-warnings"]
    sent = repr(replay.asked(target)[-1])
    assert not [state for state in states(replay, first) if state in sent] and "tollgate." not in sent
