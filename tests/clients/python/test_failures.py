"""Each SDK raises its own class for what an upstream did, whatever dialect the upstream speaks."""

import anthropic
import openai
import pytest

from gateway import APP
from upstream import refuses, stops_after

ASK = [{"role": "user", "content": "hello"}]


def by_chat(gateway, model, stream):
    client = openai.OpenAI(base_url=gateway.base_url, api_key=APP, max_retries=0, timeout=60)
    list(client.chat.completions.create(model=model, messages=ASK, stream=stream))


def by_responses(gateway, model, stream):
    client = openai.OpenAI(base_url=gateway.base_url, api_key=APP, max_retries=0, timeout=60)
    list(client.responses.create(model=model, input="hello", stream=stream))


def by_messages(gateway, model, stream):
    client = anthropic.Anthropic(base_url=f"http://{gateway.host}", api_key=APP, max_retries=0, timeout=60)
    list(client.messages.create(model=model, max_tokens=10, messages=ASK, stream=stream))


CALLERS = {by_chat: openai, by_responses: openai, by_messages: anthropic}
# What the upstream answers, and the name of the class in both SDKs. An upstream that refuses the gateway's own key is the
# gateway's failure, not the caller's. A 404 is a refusal of the request; it is told with its own status to callers of the
# upstream's own dialect only, who are quoted what it said.
CLASSES = {
    400: {"BadRequestError"},
    401: {"InternalServerError"},
    404: {"NotFoundError", "BadRequestError"},
    429: {"RateLimitError"},
    500: {"InternalServerError"},
    503: {"InternalServerError", "OverloadedError"},
    529: {"InternalServerError", "OverloadedError"},
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", CLASSES)
@pytest.mark.parametrize("ask", CALLERS)
def test_a_refusal_has_the_sdks_class(ask, status, stream, gateway, upstream, model):
    upstream.script(model, refuses(status))
    sdk = CALLERS[ask]
    with pytest.raises(sdk.APIStatusError) as failed:
        ask(gateway, f"plain/{model}", stream)
    assert type(failed.value).__name__ in CLASSES[status], repr(failed.value)


@pytest.mark.parametrize("ask", CALLERS)
def test_a_stream_that_breaks_is_raised(ask, gateway, upstream, model):
    upstream.script(model, stops_after(1, cut=True))
    with pytest.raises(CALLERS[ask].APIError):
        ask(gateway, f"plain/{model}", True)
