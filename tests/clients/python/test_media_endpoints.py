"""Images, sound, moderation and ranking through OpenAI's Python SDK: passed through, and recorded with what they used."""

import json

import httpx2 as httpx
import openai
import pytest

from gateway import ADMIN, APP
from upstream import answers, refuses

SOUND = bytes(range(256)) * 400
PNG = "iVBORw0KGgo="


@pytest.fixture(scope="module")
def client(gateway):
    return openai.OpenAI(base_url=gateway.base_url, api_key=APP, max_retries=0, timeout=20)


def record(gateway, request_id):
    """What was recorded of a call."""
    answer = httpx.get(f"{gateway.base_url}/usage/records/{request_id}", headers={"authorization": f"Bearer {ADMIN}"})
    assert answer.status_code == 200, answer.text
    return answer.json()["record"]


def streams(pieces, content_type):
    """Answers in pieces as they are."""

    async def behave(exchange):
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
        await exchange.write(head.encode())
        for one in pieces:
            await exchange.chunk(one)
        await exchange.close_stream()

    return behave


def test_images_are_generated(client, gateway, upstream, model):
    usage = {"input_tokens": 9, "output_tokens": 272, "total_tokens": 281}
    usage["input_tokens_details"] = {"text_tokens": 9, "image_tokens": 0}
    upstream.script(model, answers(json.dumps({"created": 1, "data": [{"b64_json": PNG}], "usage": usage})))
    raw = client.images.with_raw_response.generate(model=f"fake/{model}", prompt="a gate", size="1024x1024")
    made = raw.parse()
    assert (made.data[0].b64_json, made.usage.output_tokens) == (PNG, 272)
    assert upstream.wait_seen(model).path == "/v1/images/generations"
    kept = record(gateway, raw.headers["x-request-id"])
    assert (kept["usage"]["input_tokens"], kept["usage"]["output_tokens"], kept["status"]) == ("9", "272", "OK")


def test_sound_is_transcribed_from_a_form(client, gateway, upstream, model):
    usage = {"type": "tokens", "input_tokens": 14, "output_tokens": 3, "total_tokens": 17}
    upstream.script(model, answers(json.dumps({"text": "open the gate", "usage": usage})))
    raw = client.audio.transcriptions.with_raw_response.create(model=f"fake/{model}", file=("gate.wav", SOUND))
    assert raw.parse().text == "open the gate"
    sent = upstream.wait_seen(model)
    assert sent.path == "/v1/audio/transcriptions" and SOUND in sent.raw
    assert record(gateway, raw.headers["x-request-id"])["usage"]["input_tokens"] == "14"


def test_a_transcription_is_streamed(client, upstream, model):
    done = {"type": "transcript.text.done", "text": "open up"}
    events = [{"type": "transcript.text.delta", "delta": piece} for piece in ["open", " up"]] + [done]
    pieces = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]
    upstream.script(model, streams(pieces, "text/event-stream"))
    stream = client.audio.transcriptions.create(model=f"fake/{model}", file=("gate.wav", SOUND), stream=True)
    assert [event.type for event in stream] == [event["type"] for event in events]


def test_speech_arrives_in_pieces(client, gateway, upstream, model):
    upstream.script(model, streams([SOUND[:100], SOUND[100:]], "audio/mpeg"))
    with client.audio.speech.with_streaming_response.create(model=f"fake/{model}", voice="alloy", input="hello") as spoken:
        assert b"".join(spoken.iter_bytes()) == SOUND
        assert spoken.headers["content-type"] == "audio/mpeg"
    assert record(gateway, spoken.headers["x-request-id"])["usage"]["billable_units"] == {"characters": "5"}


def test_inputs_are_moderated(client, upstream, model):
    result = {"flagged": True, "categories": {"violence": True}, "category_scores": {"violence": 0.9}}
    upstream.script(model, answers(json.dumps({"id": "modr-1", "model": model, "results": [result]})))
    assert client.moderations.create(model=f"fake/{model}", input="a blow").results[0].flagged


def test_documents_are_ranked(gateway, upstream, model):
    told = {"results": [{"index": 1, "relevance_score": 0.9}], "meta": {"billed_units": {"search_units": 1}}}
    upstream.script(model, answers(json.dumps(told)))
    body = {"model": f"fake/{model}", "query": "gates", "documents": ["walls", "gates"], "top_n": 1}
    answer = httpx.post(f"{gateway.base_url}/rerank", json=body, headers={"authorization": f"Bearer {APP}"})
    assert (answer.status_code, answer.json()) == (200, told)
    assert upstream.wait_seen(model).body == {**body, "model": model}
    assert record(gateway, answer.headers["x-request-id"])["usage"]["billable_units"] == {"search_units": "1"}


def test_a_refusal_has_the_sdks_class(client, upstream, model):
    upstream.script(model, refuses(400, "bad size", code="invalid_size"))
    with pytest.raises(openai.BadRequestError) as failed:
        client.images.generate(model=f"fake/{model}", prompt="x", size="1024x1024")
    assert failed.value.code == "invalid_size"
