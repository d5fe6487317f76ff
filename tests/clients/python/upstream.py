"""A scripted provider that speaks OpenAI's dialect: each model name has the behaviour a test gives it."""

import asyncio
import base64
import json
import struct
import threading
import time
from email import message_from_bytes

WAIT = 60


def read(content_type, body):
    """A request's members: those of its JSON, or the text fields of its form."""
    if not content_type.startswith("multipart/"):
        return json.loads(body) if body else {}
    form = message_from_bytes(f"content-type: {content_type}\r\n\r\n".encode() + body)
    fields = {part.get_param("name", header="content-disposition"): part for part in form.get_payload()}
    return {name: part.get_payload().strip() for name, part in fields.items() if not part.get_filename()}


class Exchange:
    """One request that the gateway sent, and what became of its connection."""

    def __init__(self, head, headers, body, writer):
        self.method, self.path = head
        self.headers = headers
        self.raw = body
        self.body = read(headers.get("content-type", ""), body)
        self.arrived = time.monotonic()
        self.closed_at = None
        self.answered = False
        self._writer = writer
        self._closed = threading.Event()
        self._gone = asyncio.Event()
        self._chunked = False

    def wait_closed(self, timeout=WAIT):
        """Waits in a test until the gateway has closed the connection; returns when that was seen."""
        assert self._closed.wait(timeout), "the gateway still holds its connection to the upstream"
        return self.closed_at

    def mark_closed(self):
        self.closed_at = self.closed_at or time.monotonic()
        self._closed.set()
        self._gone.set()

    async def hold(self):
        """Says nothing more until the gateway closes the connection."""
        await self._gone.wait()

    async def write(self, data):
        self._writer.write(data)
        await self._writer.drain()

    async def reply(self, status, body, headers=None, content_type="application/json"):
        """Answers at once with a whole body."""
        if not isinstance(body, bytes):
            body = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        fields = {"content-type": content_type, "content-length": str(len(body)), **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await self.write(f"HTTP/1.1 {status} Scripted\r\n{head}\r\n".encode() + body)

    async def open_stream(self):
        self._chunked = True
        await self.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"x-request-id: upstream-request-1\r\ntransfer-encoding: chunked\r\n\r\n"
        )

    async def event(self, data):
        """Sends one SSE event; `data` is an object, or text as it is."""
        text = data if isinstance(data, str) else json.dumps(data)
        await self.chunk(f"data: {text}\n\n".encode())

    async def chunk(self, data):
        await self.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def close_stream(self):
        await self.write(b"0\r\n\r\n")

    def abort(self):
        """Cuts the connection with a reset where the platform can."""
        self._writer.transport.abort()
        self.mark_closed()


def piece(exchange, delta, finish=None, index=0):
    """One chat chunk."""
    return {
        "id": "chatcmpl-upstream",
        "object": "chat.completion.chunk",
        "created": 1_760_000_000,
        "model": exchange.body.get("model", ""),
        "choices": [{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}],
    }


def usage_of(words):
    return {"prompt_tokens": 7, "completion_tokens": words, "total_tokens": 7 + words}


def says(text="hello from upstream", words=None, usage=True, finish="stop", step=None):
    """Answers with text: streamed word by word if the request asks for it. `step` is awaited before each word."""
    words = words or [word if i == 0 else " " + word for i, word in enumerate(text.split(" "))]

    async def behave(exchange):
        body = exchange.body
        if not body.get("stream"):
            answer = {
                "id": "chatcmpl-upstream",
                "object": "chat.completion",
                "created": 1_760_000_000,
                "model": body.get("model", ""),
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "".join(words), "refusal": None},
                        "logprobs": None,
                        "finish_reason": finish,
                    }
                ],
            }
            if usage:
                answer["usage"] = usage_of(len(words))
            await exchange.reply(200, answer, {"x-request-id": "upstream-request-1"})
            return
        await exchange.open_stream()
        await exchange.event(piece(exchange, {"role": "assistant", "content": ""}))
        for word in words:
            if step:
                await step()
            await exchange.event(piece(exchange, {"content": word}))
        await exchange.event(piece(exchange, {}, finish))
        if usage and (body.get("stream_options") or {}).get("include_usage"):
            await exchange.event({**piece(exchange, {}), "choices": [], "usage": usage_of(len(words))})
        await exchange.event("[DONE]")
        await exchange.close_stream()

    return behave


def calls_tool(name="get_weather", arguments='{"city":"Paris","unit":"c"}', call_id="call_1"):
    """Answers with one tool call, its arguments streamed in three fragments."""
    third = max(1, len(arguments) // 3)
    fragments = [arguments[:third], arguments[third : 2 * third], arguments[2 * third :]]

    async def behave(exchange):
        call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        if not exchange.body.get("stream"):
            message = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}
            choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls"}
            answer = {**piece(exchange, {}), "object": "chat.completion", "choices": [choice], "usage": usage_of(9)}
            await exchange.reply(200, answer)
            return
        await exchange.open_stream()
        first = {"index": 0, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
        await exchange.event(piece(exchange, {"role": "assistant", "content": None, "tool_calls": [first]}))
        for fragment in fragments:
            await exchange.event(
                piece(exchange, {"tool_calls": [{"index": 0, "function": {"arguments": fragment}}]})
            )
        await exchange.event(piece(exchange, {}, "tool_calls"))
        if (exchange.body.get("stream_options") or {}).get("include_usage"):
            await exchange.event({**piece(exchange, {}), "choices": [], "usage": usage_of(9)})
        await exchange.event("[DONE]")
        await exchange.close_stream()

    return behave


def refuses(status, message="scripted refusal", code=None, headers=None):
    """Answers with an error in OpenAI's form."""

    async def behave(exchange):
        error = {"message": message, "type": "scripted", "param": None, "code": code}
        await exchange.reply(status, {"error": error}, headers)

    return behave


def answers(body, content_type="application/json", status=200):
    """Answers with these bytes, whatever they are."""

    async def behave(exchange):
        await exchange.reply(status, body, content_type=content_type)

    return behave


async def silent(exchange):
    """Takes the request and never answers."""
    await exchange.hold()


def stops_after(count, cut=False):
    """Streams `count` words, then falls silent, or cuts the connection."""

    async def behave(exchange):
        await exchange.open_stream()
        await exchange.event(piece(exchange, {"role": "assistant", "content": ""}))
        for number in range(count):
            await exchange.event(piece(exchange, {"content": f"word{number} "}))
        if cut:
            exchange.abort()
        else:
            await exchange.hold()

    return behave


def ends_without_finish(count):
    """Streams `count` words and ends cleanly, without a finish reason and without [DONE]."""

    async def behave(exchange):
        await exchange.open_stream()
        for number in range(count):
            await exchange.event(piece(exchange, {"content": f"word{number} "}))
        await exchange.close_stream()

    return behave


class Gate:
    """Lets a test hold the words after the first until it has seen what it wants to see."""

    def __init__(self, upstream):
        self._loop = upstream.loop
        self._open = asyncio.Event()
        self._passed = 0

    async def step(self):
        self._passed += 1
        if self._passed > 1:
            await self._open.wait()

    def open(self):
        self._loop.call_soon_threadsafe(self._open.set)


class Upstream:
    """The provider itself: an HTTP/1.1 server on a thread of its own."""

    def __init__(self):
        self._scripts = {}
        self._seen = []
        self._changed = threading.Condition()
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(WAIT)

    def _run(self, ready):
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self.loop.run_forever()

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(WAIT)

    def script(self, model, *behaviours):
        """Gives a model its behaviours, one per request; the last one stays."""
        self._scripts[model] = list(behaviours)

    def seen(self, model):
        """The requests for a model so far."""
        with self._changed:
            return [exchange for exchange in self._seen if exchange.body.get("model") == model]

    def wait_seen(self, model, count=1, timeout=WAIT):
        """Waits until that many requests for a model have come; returns the last of them."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: sum(1 for e in self._seen if e.body.get("model") == model) >= count, timeout
            )
        assert found, f"the upstream saw fewer than {count} requests for {model}"
        return self.seen(model)[count - 1]

    async def _serve(self, reader, writer):
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = {}
        for line in head[1:]:
            if line:
                name, value = line.split(":", 1)
                headers[name.lower()] = value.strip()
        body = await self._body(reader, headers)
        exchange = Exchange((method, path), headers, body, writer)
        with self._changed:
            self._seen.append(exchange)
            self._changed.notify_all()
        # The gateway does not pipeline, so a byte or an end here before the answer is done is a hang-up.
        watch = asyncio.ensure_future(reader.read(1))
        watch.add_done_callback(lambda done: exchange.mark_closed())
        answer = asyncio.ensure_future(self._behaviour(exchange)(exchange))
        await asyncio.wait({watch, answer}, return_when=asyncio.FIRST_COMPLETED)
        if watch.done() and not answer.done():
            exchange.mark_closed()
            answer.cancel()
            return False
        answer.result()
        exchange.answered = True
        if writer.transport.is_closing():
            return False
        watch.cancel()
        try:
            await watch
        except asyncio.CancelledError:
            pass
        return not reader.at_eof()

    @staticmethod
    async def _body(reader, headers):
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while True:
                size = int((await reader.readline()).split(b";")[0], 16)
                body += await reader.readexactly(size)
                await reader.readline()
                if size == 0:
                    return body
        return await reader.readexactly(int(headers.get("content-length", "0")))

    def _behaviour(self, exchange):
        script = self._scripts.get(exchange.body.get("model"))
        if exchange.path.endswith("/responses/input_tokens") and not script:
            return refuses(404, "no such path")
        if exchange.path.endswith("/embeddings") and not script:
            return embeds
        if not script:
            return says()
        return script.pop(0) if len(script) > 1 else script[0]


FLOATS = [0.25, -0.5, 1.0, 0.1, 3.0e-8, -7.5, 0.33333334, 12345.678]


async def embeds(exchange):
    """Answers with FLOATS for each input, in the encoding that was asked for."""
    inputs = exchange.body.get("input")
    count = len(inputs) if isinstance(inputs, list) and not isinstance(inputs[0], int) else 1
    vector = FLOATS
    if exchange.body.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack(f"<{len(FLOATS)}f", *FLOATS)).decode()
    data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(count)]
    usage = {"prompt_tokens": 5 * count, "total_tokens": 5 * count}
    await exchange.reply(
        200, {"object": "list", "data": data, "model": exchange.body["model"], "usage": usage}
    )
