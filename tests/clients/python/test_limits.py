"""Limits and budgets of keys, as the SDKs and generated clients are told of them."""

import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import openai
import pytest

from gateway import ONE_AT_A_TIME, POOR, TWO_A_MINUTE
from test_grpc import bearer, chat_pb2_grpc, complete, details, reason
from upstream import stops_after

ASK = [{"role": "user", "content": "one two three"}]


def client_of(gateway, key):
    return openai.OpenAI(base_url=gateway.base_url, api_key=key, max_retries=0)


def test_the_third_call_of_a_minute_is_refused_on_every_surface(gateway):
    client = client_of(gateway, TWO_A_MINUTE)
    for _ in range(2):
        client.chat.completions.create(model="echo", messages=ASK)
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="echo", messages=ASK)
    assert caught.value.code == "rate_limit_exceeded"
    headers = caught.value.response.headers
    assert 1 <= int(headers["retry-after"]) <= 60 and headers["x-should-retry"] == "true"
    with grpc.insecure_channel(gateway.host) as channel, pytest.raises(grpc.RpcError) as told:
        chat_pb2_grpc.ChatServiceStub(channel).Complete(complete("echo"), metadata=bearer(TWO_A_MINUTE), timeout=60)
    assert told.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason(told.value) == "RATE_LIMITED"
    found = details(told.value)
    assert found["QuotaFailure"].violations[0].quota_metric == "requests"
    # A window of a minute is counted in whole seconds.
    assert 0 < found["RetryInfo"].retry_delay.ToMilliseconds() <= 61_000


def test_a_place_is_free_again_when_a_stream_was_broken_off(gateway, upstream, model):
    upstream.script(model, stops_after(1))
    client = client_of(gateway, ONE_AT_A_TIME)
    stream = client.chat.completions.create(model=f"fake/{model}", messages=ASK, stream=True)
    next(iter(stream))
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="echo", messages=ASK)
    stream.close()
    upstream.seen(model)[0].wait_closed()
    give_up = time.monotonic() + 60
    while True:
        try:
            client.chat.completions.create(model="echo", messages=ASK)
            return
        except openai.RateLimitError:
            assert time.monotonic() < give_up, "the place is still taken"


def test_a_budget_is_never_overspent_by_calls_at_the_same_time(gateway):
    client = client_of(gateway, POOR)

    def spend(_):
        try:
            raw = client.chat.completions.with_raw_response.create(
                model="priced", messages=ASK, max_completion_tokens=10
            )
            return float(raw.headers["x-tollgate-cost-usd"])
        except openai.RateLimitError as error:
            assert error.code == "insufficient_quota"
            assert error.response.headers["x-should-retry"] == "false"
            return 0

    with ThreadPoolExecutor(8) as pool:
        costs = list(pool.map(spend, range(60)))
    assert sum(costs) <= 0.001
    assert sum(costs) > 0.0008, "calls are refused while there is money left"
    assert 0 in costs
