"""OpenAI's own API description: what we answer fits it, and nothing drawn from it breaks us."""

import base64
import copy
import json
import os
import random
import struct

import pytest

from gateway import APP
from schemas import SCHEMAS, validate
from upstream import calls_tool, refuses, stops_after
from wire import post

AUTH = {"authorization": f"Bearer {APP}"}
ASK = [{"role": "user", "content": "one two three"}]
CASES = int(os.environ.get("TOLLGATE_FUZZ_CASES", "300"))
SEED = os.environ.get("TOLLGATE_FUZZ_SEED", "tollgate")


def ask(gateway, path, body=None, method="POST"):
    return post(gateway.host, path, b"" if body is None else body, AUTH, method=method)


def events_of(answer):
    """The data of each event of a stream that must be whole."""
    frames = answer.body.decode().split("\n\n")
    assert frames.pop() == "", "a stream ends with a blank line"
    frames = [frame for frame in frames if not frame.startswith(":")]
    assert all(frame.startswith("data: ") and "\n" not in frame for frame in frames), frames
    return [frame[6:] for frame in frames]


@pytest.mark.parametrize("name", ["echo", "fake/{}"])
def test_a_chat_answer_fits_openais_schema(gateway, model, name):
    answer = ask(gateway, "/v1/chat/completions", {"model": name.format(model), "messages": ASK})
    assert answer.status == 200
    validate("CreateChatCompletionResponse", answer.json())


def test_a_tool_call_answer_fits_openais_schema(gateway, upstream, model):
    upstream.script(model, calls_tool())
    answer = ask(gateway, "/v1/chat/completions", {"model": f"fake/{model}", "messages": ASK})
    validate("CreateChatCompletionResponse", answer.json())


@pytest.mark.parametrize("usage", [True, False])
@pytest.mark.parametrize("name", ["echo", "fake/{}"])
def test_every_chunk_of_a_stream_fits_openais_schema(gateway, model, name, usage):
    body = {"model": name.format(model), "messages": ASK, "stream": True, "stream_options": {"include_usage": usage}}
    answer = ask(gateway, "/v1/chat/completions", body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert "content-encoding" not in answer.headers
    events = events_of(answer)
    assert events.pop() == "[DONE]"
    for event in events:
        validate("CreateChatCompletionStreamResponse", json.loads(event))
    assert (json.loads(events[-1])["choices"] == []) == usage


def test_a_failed_stream_ends_with_an_error_and_without_done(gateway, upstream, model):
    upstream.script(model, stops_after(2, cut=True))
    answer = ask(gateway, "/v1/chat/completions", {"model": f"fake/{model}", "messages": ASK, "stream": True})
    assert answer.status == 200
    events = events_of(answer)
    assert "[DONE]" not in events
    validate("ErrorResponse", {"error": json.loads(events[-1])["error"]})


@pytest.mark.parametrize("encoding", [None, "float"])
@pytest.mark.parametrize("name", ["echo", "fake/{}"])
def test_embeddings_fit_openais_schema(gateway, model, name, encoding):
    body = {"model": name.format(model), "input": ["a", "b"]}
    if encoding:
        body["encoding_format"] = encoding
    answer = ask(gateway, "/v1/embeddings", body)
    assert answer.status == 200
    validate("CreateEmbeddingResponse", answer.json())


def test_the_list_of_models_and_one_model_fit_openais_schema(gateway):
    listed = ask(gateway, "/v1/models", method="GET").json()
    validate("ListModelsResponse", listed)
    for entry in listed["data"]:
        if "*" not in entry["id"]:
            validate("Model", ask(gateway, f"/v1/models/{entry['id']}", method="GET").json())


@pytest.mark.parametrize(
    "path, body, method",
    [
        ("/v1/chat/completions", "{", "POST"),
        ("/v1/chat/completions", {"model": "no-such", "messages": ASK}, "POST"),
        ("/v1/embeddings", {"model": "echo"}, "POST"),
        ("/v1/models/no-such", None, "GET"),
        ("/v1/nothing", None, "GET"),
    ],
)
def test_an_error_fits_openais_schema(gateway, path, body, method):
    answer = ask(gateway, path, body, method)
    assert answer.status >= 400
    validate("ErrorResponse", answer.json())


def test_an_upstreams_error_fits_openais_schema(gateway, upstream, model):
    upstream.script(model, refuses(422, "no"))
    answer = ask(gateway, "/v1/chat/completions", {"model": f"fake/{model}", "messages": ASK})
    assert answer.status == 422
    validate("ErrorResponse", answer.json())


WILD = [None, True, 0, -1, 1, 0.5, 2**31, 2**53 + 1, 2**63, -(2**63), 10**30, 1e308, "", "x", "\u0000", "\ud83d\ude00",
        "x" * 5000, [], [[]], [None], {}, {"": None}, {"type": "text"}, {"type": None}]


class Drawing:
    """Draws requests from a schema, and spoils some of them."""

    def __init__(self, seed):
        self.rng = random.Random(seed)

    def draw(self, schema, depth=0):
        rng = self.rng
        if schema is True or not schema:
            return rng.choice(WILD)
        if "$ref" in schema:
            return self.draw(SCHEMAS[schema["$ref"].rsplit("/", 1)[1]], depth)
        for kind in ("anyOf", "oneOf"):
            if kind in schema:
                return self.draw(rng.choice(schema[kind]), depth)
        if "allOf" in schema:
            drawn = [self.draw(part, depth) for part in schema["allOf"]]
            if all(isinstance(part, dict) for part in drawn):
                return {name: value for part in drawn for name, value in part.items()}
            return drawn[0]
        if "enum" in schema:
            return rng.choice(schema["enum"])
        if "const" in schema:
            return schema["const"]
        return self.of_type(schema, depth)

    def of_type(self, schema, depth):
        rng = self.rng
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            kind = rng.choice(kind)
        if kind == "object":
            wanted = set(schema.get("required", ()))
            chance = 0.25 if depth < 3 else 0.05
            return {
                name: self.draw(part, depth + 1)
                for name, part in schema.get("properties", {}).items()
                if name in wanted or rng.random() < chance
            }
        if kind == "array":
            most = min(schema.get("maxItems", 3), 3 if depth < 4 else 1)
            count = rng.randint(min(schema.get("minItems", 0), most), most)
            return [self.draw(schema.get("items", {}), depth + 1) for _ in range(count)]
        if kind == "integer":
            return rng.randint(int(schema.get("minimum", -5)), int(schema.get("maximum", 200)))
        if kind == "number":
            return rng.uniform(schema.get("minimum", -2), schema.get("maximum", 2))
        if kind == "boolean":
            return rng.random() < 0.5
        if kind == "null":
            return None
        return rng.choice(["", "a", "hello there", "data:image/png;base64,AAAA", "é\n\t", "{}", "{broken", "7"])

    def spoil(self, value):
        """Puts something wild into one place of a request."""
        value = copy.deepcopy(value)
        place, key = value, None
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                return value
            key = self.rng.choice(keys)
            if not isinstance(place[key], (dict, list)) or self.rng.random() < 0.4:
                break
            place = place[key]
        if self.rng.random() < 0.3 and isinstance(place, dict):
            del place[key]
        else:
            place[key] = self.rng.choice(WILD)
        return value

    def request(self, schema):
        body = self.draw({"$ref": f"#/components/schemas/{schema}"})
        if self.rng.random() < 0.9:
            body["model"] = "echo"
        for _ in range(self.rng.choice([0, 0, 1, 1, 2, 5])):
            body = self.spoil(body)
        text = json.dumps(body, ensure_ascii=self.rng.random() < 0.5).encode("utf-8", "surrogatepass")
        if self.rng.random() < 0.05:
            text = text[: self.rng.randrange(len(text))]
        if self.rng.random() < 0.03:
            at = self.rng.randrange(len(text) or 1)
            text = text[:at] + bytes([self.rng.randrange(256)]) + text[at:]
        return text


def check(answer, response, request):
    assert answer.status < 500, (answer.status, answer.body[:500], request)
    if answer.status >= 300:
        assert answer.error, request
        return "refused"
    if answer.headers["content-type"].startswith("text/event-stream"):
        events = events_of(answer)
        assert events[-1] == "[DONE]" or "error" in json.loads(events[-1]), request
        return "streamed"
    told = answer.json()
    for embedding in told["data"] if "Embedding" in response else []:
        # OpenAI answers in base64 when asked to, and its description does not say so.
        if isinstance(embedding["embedding"], str):
            embedding["embedding"] = [number for (number,) in struct.iter_unpack("<f", base64.b64decode(embedding["embedding"]))]
    validate(response, told)
    return "answered"


@pytest.mark.parametrize(
    "path, schema, response, share",
    [
        ("/v1/chat/completions", "CreateChatCompletionRequest", "CreateChatCompletionResponse", 0.7),
        ("/v1/embeddings", "CreateEmbeddingRequest", "CreateEmbeddingResponse", 0.2),
    ],
)
def test_no_request_drawn_from_the_schema_breaks_the_gateway(gateway, path, schema, response, share):
    drawing = Drawing(f"{SEED} {path}")
    count = {"answered": 0, "refused": 0, "streamed": 0}
    for _ in range(int(CASES * share)):
        request = drawing.request(schema)
        count[check(ask(gateway, path, request), response, request)] += 1
    print(f"{path}: {count}")
    assert gateway.alive()
    assert count["answered"] and count["refused"], count


def test_no_name_of_a_model_breaks_the_gateway(gateway):
    rng = random.Random(f"{SEED} models")
    letters = "abc/%2F%00..;?#:@!$&'()*+,=~\\|[]{}^`\"<>é"
    for _ in range(max(1, int(CASES * 0.1))):
        name = "".join(rng.choice(letters) for _ in range(rng.randint(0, 40)))
        raw = name.encode().decode("latin-1")
        answer = ask(gateway, f"/v1/models/{raw}", method="GET")
        assert answer.status < 500, name
        assert answer.status < 300 or answer.body == b"" or answer.error, name
