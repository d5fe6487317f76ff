"""Stubs that grpcio-tools generated from proto/, as any Python program would use them."""

import threading
import time
import uuid

import grpc
import pytest
from google.protobuf import duration_pb2, field_mask_pb2, timestamp_pb2
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from tollgate.admin.v1 import key_pb2, key_pb2_grpc
from tollgate.v1 import (
    chat_pb2,
    chat_pb2_grpc,
    content_pb2,
    embed_pb2,
    embed_pb2_grpc,
    error_pb2,
    model_pb2,
    model_pb2_grpc,
    usage_pb2,
    usage_pb2_grpc,
)

from gateway import ADMIN, APP, ONLY_ECHO, ONLY_MODELS
from timely import timely
from upstream import FLOATS, Gate, calls_tool, refuses, says, silent, stops_after

WAIT = 60


def bearer(key=APP, **more):
    return [("authorization", f"Bearer {key}"), *((k.replace("_", "-"), v) for k, v in more.items())]


def chat_input(model, text="one two three", **more):
    message = content_pb2.Message(role=content_pb2.ROLE_USER, parts=[content_pb2.Part(text=text)])
    return chat_pb2.ChatInput(model=model, messages=[message], **more)


def complete(model, text="one two three", **more):
    return chat_pb2.CompleteRequest(input=chat_input(model, text), **more)


def stream(model, text="one two three", **more):
    return chat_pb2.StreamCompleteRequest(input=chat_input(model, text), **more)


def kinds(events):
    return [event.WhichOneof("event") for event in events]


def text_of(events):
    return "".join(e.text.text for e in events if e.WhichOneof("event") == "text")


def details(error):
    """The rich details of an error, by the short name of their type."""
    status = rpc_status.from_call(error)
    assert status is not None, f"no details: {error}"
    found = {}
    for detail in status.details:
        name = detail.type_url.rsplit(".", 1)[1]
        kind = getattr(error_details_pb2, name, None) or getattr(error_pb2, name)
        message = kind()
        assert detail.Unpack(message)
        found[name] = message
    return found


def reason(error):
    info = details(error)["ErrorInfo"]
    assert info.domain == "tollgate"
    assert info.reason in error_pb2.ErrorReason.keys()
    return info.reason.removeprefix("ERROR_REASON_")


@pytest.fixture(scope="module")
def channel(gateway):
    with grpc.insecure_channel(gateway.host) as channel:
        yield channel


@pytest.fixture(scope="module")
def chat(channel):
    return chat_pb2_grpc.ChatServiceStub(channel)


@pytest.fixture(scope="module")
def usage(channel):
    return usage_pb2_grpc.UsageServiceStub(channel)


@pytest.fixture(scope="module")
def keys(channel):
    return key_pb2_grpc.KeyServiceStub(channel)


def test_complete_answers_and_says_how_it_was_served(chat, model):
    answer, call = chat.Complete.with_call(complete(f"fake/{model}"), metadata=bearer(), timeout=WAIT)
    assert answer.choices[0].message.role == content_pb2.ROLE_ASSISTANT
    assert "".join(p.text for p in answer.choices[0].message.parts) == "hello from upstream"
    assert answer.choices[0].finish_reason == chat_pb2.FINISH_REASON_STOP
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 3)
    assert answer.usage.source == usage_pb2.Usage.SOURCE_PROVIDER
    assert (answer.route.provider, answer.route.model) == ("fake", model)
    assert answer.route.requested_model == f"fake/{model}"
    assert [a.outcome for a in answer.route.attempts] == ["ok"]
    assert dict(call.initial_metadata())["x-request-id"] == answer.id


def test_a_stream_follows_the_grammar_of_events(chat):
    events = list(chat.StreamComplete(stream("echo"), metadata=bearer(), timeout=WAIT))
    order = kinds(events)
    assert order[0] == "start" and order[-2:] == ["usage", "end"]
    assert order.count("start") == order.count("end") == order.count("choice_end") == 1
    assert events[-2].usage.final
    assert text_of(events) == "one two three"
    assert order.count("text") >= 1, "how the text is cut carries no meaning"


def test_the_first_text_arrives_before_the_upstream_has_said_the_second(chat, upstream, model):
    gate = Gate(upstream)
    upstream.script(model, says("first second", step=gate.step))
    events = chat.StreamComplete(stream(f"fake/{model}"), metadata=bearer(), timeout=WAIT)
    first = next(e for e in events if e.WhichOneof("event") == "text")
    assert first.text.text == "first"
    gate.open()
    assert text_of(list(events)) == " second"


def test_a_tool_call_streams_as_a_part_with_its_arguments(chat, upstream, model):
    upstream.script(model, calls_tool())
    tool = chat_pb2.Tool(function=chat_pb2.FunctionTool(name="get_weather", parameters_json_schema='{"type":"object"}'))
    request = chat_pb2.StreamCompleteRequest(input=chat_input(f"fake/{model}", tools=[tool]))
    events = list(chat.StreamComplete(request, metadata=bearer(), timeout=WAIT))
    opened = [e.part_start.initial for e in events if e.WhichOneof("event") == "part_start"]
    starts = [part.tool_call for part in opened if part.WhichOneof("kind") == "tool_call"]
    assert [(s.id, s.name) for s in starts] == [("call_1", "get_weather")]
    arguments = "".join(e.tool_call.input for e in events if e.WhichOneof("event") == "tool_call")
    assert arguments == '{"city":"Paris","unit":"c"}'
    end = next(e for e in events if e.WhichOneof("event") == "choice_end").choice_end
    assert end.finish_reason == chat_pb2.FINISH_REASON_TOOL_CALLS


@timely
def test_cancelling_a_stream_closes_the_upstream_within_100_ms(chat, upstream, model):
    upstream.script(model, stops_after(2))
    events = chat.StreamComplete(stream(f"fake/{model}"), metadata=bearer())
    next(e for e in events if e.WhichOneof("event") == "text" and "word1" in e.text.text)
    gone = time.monotonic()
    events.cancel()
    assert upstream.seen(model)[0].wait_closed() - gone < 0.1


@timely
def test_cancelling_a_unary_call_closes_the_upstream_within_100_ms(chat, upstream, model):
    upstream.script(model, silent)
    call = chat.Complete.future(complete(f"fake/{model}"), metadata=bearer())
    upstream.wait_seen(model)
    gone = time.monotonic()
    call.cancel()
    assert upstream.seen(model)[0].wait_closed() - gone < 0.1


@timely
def test_a_deadline_inside_a_stream_ends_it_on_time_and_closes_the_upstream(chat, upstream, model):
    upstream.script(model, stops_after(2))
    began = time.monotonic()
    events = []
    with pytest.raises(grpc.RpcError) as caught:
        for event in chat.StreamComplete(stream(f"fake/{model}"), metadata=bearer(), timeout=0.5):
            events.append(event)
    ended = time.monotonic()
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert text_of(events) == "word0 word1 "
    assert "end" not in kinds(events)
    assert abs(ended - began - 0.5) < 0.05
    assert upstream.seen(model)[0].wait_closed() - began - 0.5 < 0.1


@timely
def test_the_server_itself_ends_a_stream_whose_deadline_it_was_told(chat, usage, upstream, model):
    # As metadata, so that grpcio's own clock does not end it first.
    upstream.script(model, stops_after(2))
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        list(chat.StreamComplete(stream(f"fake/{model}"), metadata=bearer(x_tollgate_timeout_ms="400"), timeout=WAIT))
    assert time.monotonic() - began - 0.4 < 0.05
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert reason(caught.value) == "CALLER_DEADLINE_EXCEEDED"


def test_a_stream_cut_by_the_upstream_is_unavailable_and_has_no_end(chat, upstream, model):
    upstream.script(model, stops_after(3, cut=True))
    events = []
    with pytest.raises(grpc.RpcError) as caught:
        for event in chat.StreamComplete(stream(f"fake/{model}"), metadata=bearer(), timeout=WAIT):
            events.append(event)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert reason(caught.value) == "STREAM_INTERRUPTED"
    assert text_of(events) == "word0 word1 word2 "
    assert kinds(events)[-1] == "usage" and events[-1].usage.source == usage_pb2.Usage.SOURCE_ESTIMATED


@pytest.mark.parametrize(
    "metadata, code, expected",
    [
        ([], grpc.StatusCode.UNAUTHENTICATED, "API_KEY_MISSING"),
        (bearer("tg_unknown00000_" + "x" * 40), grpc.StatusCode.UNAUTHENTICATED, "API_KEY_INVALID"),
        (bearer(ONLY_MODELS), grpc.StatusCode.PERMISSION_DENIED, "SCOPE_DENIED"),
    ],
    ids=["missing", "unknown", "scope"],
)
def test_a_call_without_the_right_key_is_refused_with_a_reason(chat, metadata, code, expected):
    with pytest.raises(grpc.RpcError) as caught:
        chat.Complete(complete("echo"), metadata=metadata, timeout=WAIT)
    assert (caught.value.code(), reason(caught.value)) == (code, expected)


def test_a_model_that_is_not_allowed_is_denied(chat):
    with pytest.raises(grpc.RpcError) as caught:
        chat.Complete(complete("priced"), metadata=bearer(ONLY_ECHO), timeout=WAIT)
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert reason(caught.value) == "MODEL_NOT_ALLOWED"


def test_an_unknown_model_is_not_found(chat):
    with pytest.raises(grpc.RpcError) as caught:
        chat.Complete(complete("no-such-model"), metadata=bearer(), timeout=WAIT)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert reason(caught.value) == "MODEL_NOT_FOUND"


@pytest.mark.parametrize(
    "request_, field",
    [
        (chat_pb2.CompleteRequest(), "input"),
        (chat_pb2.CompleteRequest(input=chat_pb2.ChatInput(model="echo")), "input.messages"),
        (chat_pb2.CompleteRequest(input=chat_input("echo", choice_count=0)), "input.choice_count"),
        (
            chat_pb2.CompleteRequest(input=chat_input("echo", sampling=chat_pb2.Sampling(temperature=float("nan")))),
            "input.sampling.temperature",
        ),
    ],
    ids=["no-input", "no-messages", "no-choices", "nan"],
)
def test_a_bad_request_names_its_field(chat, request_, field):
    with pytest.raises(grpc.RpcError) as caught:
        chat.Complete(request_, metadata=bearer(), timeout=WAIT)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    found = details(caught.value)
    assert found["ErrorInfo"].reason == "ERROR_REASON_INVALID_REQUEST"
    assert found["BadRequest"].field_violations[0].field.startswith(field)


def test_exhausted_attempts_are_told_one_by_one(chat, upstream, model):
    upstream.script(model, refuses(503))
    with pytest.raises(grpc.RpcError) as caught:
        chat.Complete(complete(f"pair/{model}"), metadata=bearer(), timeout=WAIT)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    attempts = details(caught.value)["RouteFailure"].attempts
    told = [(a.provider, a.outcome, a.http_status) for a in attempts]
    refused = [("fake", "unavailable", 503), ("second", "unavailable", 503)]
    assert told == [*refused, refused[0]], "each target, then the first once more"
    assert len(upstream.seen(model)) == 3


def test_an_upstreams_own_words_are_a_detail(chat, upstream, model):
    upstream.script(model, refuses(400, "too hot", code="hot"))
    with pytest.raises(grpc.RpcError) as caught:
        chat.Complete(complete(f"fake/{model}"), metadata=bearer(), timeout=WAIT)
    failure = details(caught.value)["UpstreamFailure"]
    assert (failure.http_status, failure.code, failure.message) == (400, "hot", "too hot")


def test_embed_returns_the_upstreams_floats(channel, model):
    request = embed_pb2.EmbedRequest(model=f"fake/{model}", inputs=[embed_pb2.EmbedInput(text="a"), embed_pb2.EmbedInput(text="b")])
    answer = embed_pb2_grpc.EmbedServiceStub(channel).Embed(request, metadata=bearer(), timeout=WAIT)
    assert [e.index for e in answer.embeddings] == [0, 1]
    assert list(answer.embeddings[1].dense.values) == pytest.approx(FLOATS, rel=1e-6)
    assert answer.usage.input_tokens == 10


def test_models_are_listed_page_by_page(channel):
    models = model_pb2_grpc.ModelServiceStub(channel)
    names, token = [], ""
    while True:
        page = models.ListModels(
            model_pb2.ListModelsRequest(page_size=2, page_token=token), metadata=bearer(), timeout=WAIT
        )
        assert len(page.models) <= 2
        names += [m.name for m in page.models]
        token = page.next_page_token
        if not token:
            break
    assert "echo" in names and "vendor/model-with/slashes" in names
    assert len(names) == len(set(names))


def test_a_call_ends_in_exactly_one_record(chat, usage, model):
    tag = uuid.uuid4().hex
    answer = chat.Complete(complete(f"fake/{model}"), metadata=bearer(x_tollgate_tags=f"run={tag}"), timeout=WAIT)
    record = usage.GetUsageRecord(usage_pb2.GetUsageRecordRequest(id=answer.id), metadata=bearer(), timeout=WAIT).record
    assert (record.status, record.surface, record.provider) == ("OK", "grpc", "fake")
    assert (record.usage.input_tokens, record.usage.output_tokens) == (7, 3)
    assert dict(record.tags) == {"run": tag, "service": "tests"}
    listed = usage.ListUsageRecords(
        usage_pb2.ListUsageRecordsRequest(filters={"tag:run": tag}), metadata=bearer(), timeout=WAIT
    ).records
    assert [r.id for r in listed] == [answer.id]


def test_usage_is_summed_by_a_tag(chat, usage, model):
    tag = uuid.uuid4().hex
    for _ in range(3):
        chat.Complete(complete(f"fake/{model}"), metadata=bearer(x_tollgate_tags=f"run={tag}"), timeout=WAIT)
    rows = usage.QueryUsage(
        usage_pb2.QueryUsageRequest(bucket="none", group_by=["tag:run", "model"], filters={"tag:run": tag}),
        metadata=bearer(),
        timeout=WAIT,
    ).rows
    assert len(rows) == 1 and rows[0].request_count == 3
    assert (rows[0].usage.input_tokens, rows[0].usage.output_tokens) == (21, 9)


def test_a_watcher_is_told_of_a_record_when_it_is_made(chat, usage, model):
    tag = uuid.uuid4().hex
    watch = usage.WatchUsage(
        usage_pb2.WatchUsageRequest(filters={"tag:run": tag}), metadata=bearer(), timeout=WAIT
    )
    told = []
    reader = threading.Thread(target=lambda: told.append(next(watch).record), daemon=True)
    reader.start()
    # The watch stands once its headers have come.
    watch.initial_metadata()
    answer = chat.Complete(complete(f"fake/{model}"), metadata=bearer(x_tollgate_tags=f"run={tag}"), timeout=WAIT)
    reader.join(WAIT)
    assert [r.id for r in told] == [answer.id]
    watch.cancel()


def test_a_strangers_record_is_not_found(chat, usage):
    answer = chat.Complete(complete("echo"), metadata=bearer(ADMIN), timeout=WAIT)
    with pytest.raises(grpc.RpcError) as caught:
        usage.GetUsageRecord(usage_pb2.GetUsageRecordRequest(id=answer.id), metadata=bearer(), timeout=WAIT)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_the_life_of_a_key(chat, keys):
    made = keys.CreateKey(
        key_pb2.CreateKeyRequest(key=key_pb2.Key(name="made", allowed_models=["echo"])), metadata=bearer(ADMIN), timeout=WAIT
    )
    assert made.secret.startswith(f"tg_{made.key.id}_") and len(made.key.id) == 12
    assert list(made.key.scopes) == ["chat", "embed", "models", "usage"]
    old = bearer(made.secret)
    chat.Complete(complete("echo"), metadata=old, timeout=WAIT)

    got = keys.GetKey(key_pb2.GetKeyRequest(id=made.key.id), metadata=bearer(ADMIN), timeout=WAIT).key
    assert got.name == "made" and made.secret not in str(got)

    changed = keys.UpdateKey(
        key_pb2.UpdateKeyRequest(
            key=key_pb2.Key(id=made.key.id, name="renamed", etag=got.etag),
            update_mask=field_mask_pb2.FieldMask(paths=["name"]),
        ),
        metadata=bearer(ADMIN),
        timeout=WAIT,
    ).key
    assert changed.name == "renamed" and list(changed.allowed_models) == ["echo"] and changed.etag != got.etag

    later = timestamp_pb2.Timestamp(seconds=int(time.time()) + 3600)
    turned = keys.RotateKey(
        key_pb2.RotateKeyRequest(id=made.key.id, old_expire_time=later), metadata=bearer(ADMIN), timeout=WAIT
    )
    assert turned.key.id == made.key.id and turned.secret != made.secret
    for credential in (old, bearer(turned.secret)):
        chat.Complete(complete("echo"), metadata=credential, timeout=WAIT)

    keys.RevokeKey(key_pb2.RevokeKeyRequest(id=made.key.id), metadata=bearer(ADMIN), timeout=WAIT)
    for credential in (old, bearer(turned.secret)):
        with pytest.raises(grpc.RpcError) as caught:
            chat.Complete(complete("echo"), metadata=credential, timeout=WAIT)
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_a_rotation_without_overlap_stops_the_old_secret_at_once(chat, keys):
    made = keys.CreateKey(key_pb2.CreateKeyRequest(key=key_pb2.Key(name="turn")), metadata=bearer(ADMIN), timeout=WAIT)
    turned = keys.RotateKey(key_pb2.RotateKeyRequest(id=made.key.id), metadata=bearer(ADMIN), timeout=WAIT)
    chat.Complete(complete("echo"), metadata=bearer(turned.secret), timeout=WAIT)
    with pytest.raises(grpc.RpcError) as caught:
        chat.Complete(complete("echo"), metadata=bearer(made.secret), timeout=WAIT)
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_making_a_key_twice_with_one_request_id_makes_one(keys):
    request = key_pb2.CreateKeyRequest(key=key_pb2.Key(name="twice"), request_id=uuid.uuid4().hex)
    first = keys.CreateKey(request, metadata=bearer(ADMIN), timeout=WAIT)
    again = keys.CreateKey(request, metadata=bearer(ADMIN), timeout=WAIT)
    assert first.key.id == again.key.id


def test_an_outdated_etag_is_refused(keys):
    made = keys.CreateKey(key_pb2.CreateKeyRequest(key=key_pb2.Key(name="etag")), metadata=bearer(ADMIN), timeout=WAIT)
    request = key_pb2.UpdateKeyRequest(
        key=key_pb2.Key(id=made.key.id, name="x", etag="outdated"), update_mask=field_mask_pb2.FieldMask(paths=["name"])
    )
    with pytest.raises(grpc.RpcError) as caught:
        keys.UpdateKey(request, metadata=bearer(ADMIN), timeout=WAIT)
    assert caught.value.code() == grpc.StatusCode.ABORTED


def test_a_key_without_the_admin_scope_cannot_make_keys(keys):
    with pytest.raises(grpc.RpcError) as caught:
        keys.CreateKey(key_pb2.CreateKeyRequest(key=key_pb2.Key(name="no")), metadata=bearer(), timeout=WAIT)
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert reason(caught.value) == "SCOPE_DENIED"


def test_a_declared_key_can_only_be_changed_in_the_configuration(keys):
    listed = keys.ListKeys(key_pb2.ListKeysRequest(page_size=1000), metadata=bearer(ADMIN), timeout=WAIT).keys
    declared = next(k for k in listed if k.name == "app")
    assert declared.declared and declared.created_by == "config"
    with pytest.raises(grpc.RpcError) as caught:
        keys.RevokeKey(key_pb2.RevokeKeyRequest(id=declared.id), metadata=bearer(ADMIN), timeout=WAIT)
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION


@timely
def test_a_short_idle_timeout_in_the_options_ends_a_silent_stream(chat, upstream, model):
    upstream.script(model, stops_after(1))
    options = chat_pb2.StreamCompleteRequest(input=chat_input(f"fake/{model}"))
    options.options.idle_timeout.CopyFrom(duration_pb2.Duration(nanos=200_000_000))
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        list(chat.StreamComplete(options, metadata=bearer(), timeout=WAIT))
    assert time.monotonic() - began < 1
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    upstream.seen(model)[0].wait_closed()


@pytest.mark.parametrize(
    "service",
    ["", "tollgate.v1.ChatService", "tollgate.v1.EmbedService", "tollgate.v1.UsageService", "tollgate.admin.v1.KeyService"],
)
def test_health_tells_each_service_is_serving(channel, service):
    health = health_pb2_grpc.HealthStub(channel)
    answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=WAIT)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
