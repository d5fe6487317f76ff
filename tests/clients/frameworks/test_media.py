"""Pictures and documents from official SDKs: each target is sent the very bytes in its own form."""

import base64

import anthropic
import openai
import pytest

import replay as recorded

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(64))).decode()
PDF = base64.b64encode(b"%PDF-1.4\n" + bytes(range(64))).decode()
WORDS = "What is this?"


def by_chat(gateway, key, alias, stream):
    client = openai.OpenAI(base_url=f"http://{gateway.host}/v1", api_key=key, max_retries=0, timeout=20)
    content = [
        {"type": "text", "text": WORDS},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
    ]
    answer = client.chat.completions.create(model=alias, messages=[{"role": "user", "content": content}], stream=stream)
    return list(answer)


def by_responses(gateway, key, alias, stream):
    client = openai.OpenAI(base_url=f"http://{gateway.host}/v1", api_key=key, max_retries=0, timeout=20)
    content = [
        {"type": "input_text", "text": WORDS},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
        {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
    ]
    return list(client.responses.create(model=alias, input=[{"role": "user", "content": content}], stream=stream))


def by_messages(gateway, key, alias, stream):
    client = anthropic.Anthropic(base_url=f"http://{gateway.host}", api_key=key, max_retries=0, timeout=20)
    content = [
        {"type": "text", "text": WORDS},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
    ]
    messages = [{"role": "user", "content": content}]
    return list(client.messages.create(model=alias, max_tokens=100, messages=messages, stream=stream))


def anthropics(body):
    blocks = body["messages"][0]["content"]
    return [block["source"]["data"] for block in blocks if block["type"] in ("image", "document")]


def geminis(body):
    return [part["inlineData"]["data"] for part in body["contents"][0]["parts"] if "inlineData" in part]


def bedrocks(body):
    blocks = body["messages"][0]["content"]
    return [block[kind]["source"]["bytes"] for block in blocks for kind in ("image", "document") if kind in block]


def openais(body):
    parts = body["input"][0]["content"]
    urls = [part.get("image_url") or part.get("file_data") for part in parts if part["type"] != "input_text"]
    return [url.partition("base64,")[2] for url in urls]


READ = {"anthropic": anthropics, "gemini": geminis, "bedrock": bedrocks, "openai": openais}


@pytest.mark.parametrize("ask", [by_chat, by_responses, by_messages])
@pytest.mark.parametrize("family", READ)
def test_the_bytes_arrive_in_the_targets_form(ask, family, gateway, replay, aliases, key):
    recording = recorded.SIGNED[family]
    assert ask(gateway, key, aliases[recording], family not in recorded.UNARY)
    assert READ[family](replay.asked(recording)[-1]) == [PNG, PDF]
