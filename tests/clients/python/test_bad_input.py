"""What no well-meaning client sends: each is refused with a reason, and the gateway lives on."""

import gzip
import json
import socket

import pytest

from gateway import ADMIN, APP
from wire import connect, post, read_answer

CHAT = "/v1/chat/completions"
AUTH = {"authorization": f"Bearer {APP}"}


def asks(**more):
    return {"model": "echo", "messages": [{"role": "user", "content": "hi"}], **more}


def text(body):
    return body if isinstance(body, str) else json.dumps(body)


@pytest.fixture(autouse=True)
def lives_on(gateway):
    yield
    assert gateway.alive()
    assert post(gateway.host, CHAT, asks(), AUTH).status == 200


@pytest.mark.parametrize(
    "body, param",
    [
        ("{", None),
        ("", None),
        ("null", None),
        ("[]", None),
        ('"echo"', None),
        ("not json at all", None),
        (text(asks()) + "x", None),
        (text(asks()).replace("hi", "\\ud800"), None),
        (text({"messages": asks()["messages"]}), "model"),
        (text({**asks(), "model": 5}), "model"),
        (text({**asks(), "model": ""}), "model"),
        (text({"model": "echo"}), "messages"),
        (text({**asks(), "messages": []}), "messages"),
        (text({**asks(), "messages": {}}), "messages"),
        (text({**asks(), "messages": [5]}), "messages[0]"),
        (text({**asks(), "messages": [{"content": "hi"}]}), "messages[0].role"),
        (text({**asks(), "messages": [{"role": "wizard", "content": "hi"}]}), "messages[0].role"),
        (text(asks(n=0)), "n"),
        (text(asks(n=1_000_000_000)), "n"),
        (text(asks(n=1.5)), "n"),
        (text(asks(max_tokens=-1)), "max_tokens"),
        (text(asks(max_tokens="many")), "max_tokens"),
        (text(asks(max_completion_tokens=1e300)), "max_completion_tokens"),
        (text(asks()).replace("}]", "}], " + '"max_tokens": 9223372036854775808'), "max_tokens"),
        (text(asks(temperature="hot")), "temperature"),
        (text(asks(stream="yes")), "stream"),
        (text(asks(stop=5)), "stop"),
        (text(asks(tools=[{"type": "function"}])), "tools[0].function"),
        (text(asks(response_format={"type": "json_schema"})), "response_format.json_schema"),
    ],
)
def test_a_bad_body_is_a_400_that_names_the_field(gateway, body, param):
    answer = post(gateway.host, CHAT, body, AUTH)
    assert answer.status == 400, answer.body
    if param is not None:
        assert answer.error["param"] == param, answer.error
    assert answer.headers["x-should-retry"] == "false"


def test_nan_is_not_json(gateway):
    answer = post(gateway.host, CHAT, text(asks()).replace("}]", '}], "temperature": NaN'), AUTH)
    assert answer.status == 400 and answer.error


def test_a_key_that_stands_twice_is_refused_or_the_last_one_counts(gateway):
    # Two readers of one body must not see two models: what is permitted is what is called.
    body = text(asks()).replace('"model": "echo"', '"model": "echo", "model": "no-such-model"')
    answer = post(gateway.host, CHAT, body, AUTH)
    assert answer.status in (400, 404) and answer.error


def test_a_model_that_stands_twice_never_reaches_the_upstream_as_another_one(gateway, upstream, model):
    body = text(asks(model=f"fake/{model}")).replace("{", '{"model": "sneaked-in", ', 1)
    answer = post(gateway.host, CHAT, body, AUTH)
    assert upstream.seen("sneaked-in") == []
    for exchange in upstream.seen(model):
        assert b"sneaked-in" not in exchange.raw
    assert answer.status in (200, 400)


@pytest.mark.parametrize("shape", ['{{"model":"echo","messages":{}}}', "{}"], ids=["inside", "bare"])
@pytest.mark.parametrize("opening, closing", [("[", "]"), ('{"a":', "}")], ids=["lists", "objects"])
def test_a_hundred_thousand_levels_are_refused(gateway, shape, opening, closing):
    deep = opening * 100_000 + "1" + closing * 100_000
    answer = post(gateway.host, CHAT, shape.format(deep), AUTH)
    assert answer.status == 400 and answer.error


def test_deep_unknown_members_are_refused_or_passed_but_never_crash(gateway):
    body = text(asks(extra=0)).replace('"extra": 0', '"extra": ' + "[" * 100_000 + "]" * 100_000)
    assert post(gateway.host, CHAT, body, AUTH).status in (200, 400)


def test_a_body_over_the_limit_is_a_413(gateway):
    answer = post(gateway.host, CHAT, text(asks(user="x" * (33 << 20))), AUTH)
    assert answer.status == 413 and answer.error["code"] == "request_too_large"


def test_a_declared_length_over_the_limit_is_refused_before_the_body_is_sent(gateway):
    with connect(gateway.host) as sock:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {APP}\r\ncontent-type: application/json\r\n"
        sock.sendall(head.encode() + b"content-length: 99999999999\r\n\r\n")
        answer = read_answer(sock)
    assert answer.status == 413 and answer.error


def test_an_endless_chunked_body_is_cut_at_the_limit(gateway):
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    with connect(gateway.host) as sock:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {APP}\r\ncontent-type: application/json\r\n"
        sock.sendall(head.encode() + b"transfer-encoding: chunked\r\n\r\n")
        sent = 0
        try:
            while sent < 200:
                sock.sendall(chunk)
                sent += 1
            raise AssertionError("200 MiB were taken")
        except (BrokenPipeError, ConnectionResetError, socket.timeout):
            assert sent < 200


@pytest.mark.parametrize("length", ["-1", "5x", "1, 2", ""], ids=["negative", "letters", "two", "empty"])
def test_a_senseless_length_is_refused(gateway, length):
    assert post(gateway.host, CHAT, b"", {**AUTH, "content-length": length}).status == 400


def test_a_body_shorter_than_its_length_ends_with_the_connection(gateway):
    with connect(gateway.host) as sock:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {APP}\r\ncontent-length: 500\r\n\r\n"
        sock.sendall(head.encode() + b'{"model":')
        sock.shutdown(socket.SHUT_WR)
        rest = sock.recv(65536)
    assert rest == b"" or rest.startswith(b"HTTP/1.1 400")


def test_length_and_chunks_together_are_refused_or_chunks_count(gateway):
    # The two ways to read this request are how requests are smuggled: what follows must not be answered.
    smuggled = f"GET /v1/models HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {APP}\r\n\r\n".encode()
    with connect(gateway.host) as sock:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {APP}\r\ncontent-type: application/json\r\n"
        framing = f"content-length: {5 + len(smuggled)}\r\ntransfer-encoding: chunked\r\n\r\n"
        sock.sendall(head.encode() + framing.encode() + b"0\r\n\r\n" + smuggled)
        sock.shutdown(socket.SHUT_WR)
        data = b""
        while piece := sock.recv(65536):
            data += piece
    assert data.startswith(b"HTTP/1.1 400")
    assert b'"object":"list"' not in data.replace(b" ", b"")


def test_a_gzip_bomb_is_refused_without_being_unpacked_whole(gateway):
    bomb = gzip.compress(b'{"model":"echo","messages":[],"x":"' + b"a" * (200 << 20) + b'"}', 9)
    answer = post(gateway.host, CHAT, bomb, {**AUTH, "content-encoding": "gzip"})
    assert answer.status in (413, 415, 400) and answer.error
    resident = next(
        int(line.split()[1])
        for line in open(f"/proc/{gateway.process.pid}/status")
        if line.startswith("VmHWM")
    )
    assert resident < 400 << 10, f"{resident} KiB"


def test_two_authorization_headers_are_refused(gateway):
    headers = [("authorization", f"Bearer {APP}"), ("authorization", f"Bearer {ADMIN}")]
    answer = post(gateway.host, CHAT, asks(), headers)
    assert answer.status == 401 and answer.error["code"] == "invalid_api_key"


@pytest.mark.parametrize("name", ["key", "api_key", "api-key", "access_token"])
def test_a_key_in_the_query_is_no_credential(gateway, name):
    answer = post(gateway.host, f"{CHAT}?{name}={APP}", asks())
    assert answer.status == 401
    assert APP not in answer.body.decode()


@pytest.mark.parametrize("header", ["x-api-key", "api-key"])
def test_the_key_headers_of_other_sdks_are_accepted(gateway, header):
    assert post(gateway.host, CHAT, asks(), {header: APP}).status == 200


@pytest.mark.parametrize(
    "name, value",
    [
        ("x-tollgate-timeout-ms", "-1"),
        ("x-tollgate-timeout-ms", "soon"),
        ("x-tollgate-timeout-ms", "99999999999999999999999"),
        ("x-tollgate-tags", "no-equals-sign"),
        ("x-tollgate-tags", "UPPER=1"),
        ("x-tollgate-request-id", "x" * 65),
        ("idempotency-key", "with space"),
    ],
)
def test_a_bad_tollgate_header_is_a_400(gateway, name, value):
    answer = post(gateway.host, CHAT, asks(), {**AUTH, name: value})
    assert answer.status == 400 and answer.error["param"] == name


def test_headers_over_the_limit_are_refused(gateway):
    with connect(gateway.host) as sock:
        try:
            sock.sendall(f"GET /v1/models HTTP/1.1\r\nhost: t\r\nx-big: {'x' * (1 << 20)}\r\n\r\n".encode())
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            status = read_answer(sock).status
        except ConnectionResetError:
            return
    assert status == 431


@pytest.mark.parametrize(
    "method, path, status",
    [("GET", CHAT, 405), ("POST", "/v1/models", 405), ("POST", "/v1/nothing", 404), ("GET", "/v1/../etc/passwd", 404)],
)
def test_an_unknown_path_or_method_is_an_error_object(gateway, method, path, status):
    answer = post(gateway.host, path, "{}", AUTH, method=method)
    assert answer.status in (status, 404)
    assert answer.error
