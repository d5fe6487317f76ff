// Clients generated from proto/ with protoc-gen-es: gRPC over HTTP/2, and gRPC-Web as browsers speak it.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { BadRequestSchema, ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { ChatInputSchema, ChatService, FinishReason } from "./gen/tollgate/v1/chat_pb.js";
import { Role } from "./gen/tollgate/v1/content_pb.js";
import { RouteFailureSchema } from "./gen/tollgate/v1/error_pb.js";
import { UsageService } from "./gen/tollgate/v1/usage_pb.js";
import { KEY, house, timely } from "./house.js";

const headers = { authorization: `Bearer ${KEY}` };
let gateway, chat, usage, web;

before(async () => {
  gateway = await house();
  const transport = createGrpcTransport({ baseUrl: gateway.url });
  chat = createClient(ChatService, transport);
  usage = createClient(UsageService, transport);
  web = createClient(ChatService, createGrpcWebTransport({ baseUrl: gateway.url }));
});
after(() => gateway.stop());

function input(model, text = "one two three") {
  const parts = [{ kind: { case: "text", value: text } }];
  return create(ChatInputSchema, { model, messages: [{ role: Role.USER, parts }] });
}

async function collect(events) {
  const seen = [];
  try {
    for await (const message of events) seen.push(message.event);
  } catch (error) {
    return { seen, error: ConnectError.from(error) };
  }
  return { seen };
}

const textOf = (seen) => seen.filter((e) => e.case === "text").map((e) => e.value.text).join("");

test("complete answers and tells usage as exact integers", async () => {
  const answer = await chat.complete({ input: input("echo") }, { headers });
  assert.equal(answer.choices[0].message.parts.map((part) => part.kind.value).join(""), "one two three");
  assert.equal(answer.choices[0].finishReason, FinishReason.STOP);
  assert.equal(typeof answer.usage.inputTokens, "bigint");
});

test("a stream begins with start and ends with usage and end", async () => {
  const { seen, error } = await collect(chat.streamComplete({ input: input("fake/words") }, { headers }));
  assert.equal(error, undefined);
  assert.equal(seen[0].case, "start");
  assert.deepEqual(seen.slice(-2).map((e) => e.case), ["usage", "end"]);
  assert.equal(textOf(seen), "hello from upstream");
  assert.equal(seen.at(-2).value.outputTokens, 3n);
});

test("the record of a call is read by its id", async () => {
  const answer = await chat.complete({ input: input("echo") }, { headers });
  const { record } = await usage.getUsageRecord({ id: answer.id }, { headers });
  assert.equal(record.status, "OK");
  assert.equal(record.surface, "grpc");
});

test("cancelling a stream closes the upstream within 100 ms", () => timely(async () => {
  const abort = new AbortController();
  for await (const message of chat.streamComplete({ input: input("fake/stall") }, { headers, signal: abort.signal })) {
    if (message.event.case === "text") break;
  }
  const gone = performance.now();
  abort.abort();
  assert.ok((await gateway.closed("stall", gone)) < 100);
}));

test("a deadline ends a stream that has begun", () => timely(async () => {
  const began = performance.now();
  const { seen, error } = await collect(chat.streamComplete({ input: input("fake/stall") }, { headers, timeoutMs: 400 }));
  assert.equal(error.code, Code.DeadlineExceeded);
  assert.equal(textOf(seen), "first");
  assert.ok(performance.now() - began < 600);
}));

test("errors carry details that generated code reads", async () => {
  const missing = await collect(chat.streamComplete({ input: input("no-such") }, { headers }));
  assert.equal(missing.error.code, Code.NotFound);
  assert.equal(missing.error.findDetails(ErrorInfoSchema)[0].reason, "ERROR_REASON_MODEL_NOT_FOUND");

  const invalid = await collect(chat.streamComplete({ input: { model: "echo" } }, { headers }));
  assert.equal(invalid.error.code, Code.InvalidArgument);
  assert.equal(invalid.error.findDetails(BadRequestSchema)[0].fieldViolations[0].field, "input.messages");

  const broken = await collect(chat.streamComplete({ input: input("fake/broken") }, { headers }));
  assert.equal(broken.error.code, Code.Unavailable);
  assert.equal(broken.error.findDetails(RouteFailureSchema)[0].attempts.length, 3);

  const stranger = await collect(chat.streamComplete({ input: input("echo") }));
  assert.equal(stranger.error.code, Code.Unauthenticated);
});

test("gRPC-Web answers a unary call over HTTP/1.1", async () => {
  const answer = await web.complete({ input: input("echo", "from a browser") }, { headers });
  assert.equal(answer.choices[0].message.parts.map((part) => part.kind.value).join(""), "from a browser");
});

test("gRPC-Web streams, and ends with the status in its trailers", async () => {
  const { seen, error } = await collect(web.streamComplete({ input: input("fake/words") }, { headers }));
  assert.equal(error, undefined);
  assert.equal(textOf(seen), "hello from upstream");
  assert.equal(seen.at(-1).case, "end");
  const refused = await collect(web.streamComplete({ input: input("no-such") }, { headers }));
  assert.equal(refused.error.code, Code.NotFound);
});
