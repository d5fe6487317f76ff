// OpenAI's JavaScript SDK, unmodified but for `baseURL`.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import OpenAI from "openai";
import { FLOATS, KEY, house, timely } from "./house.js";

const messages = [{ role: "user", content: "one two three" }];
let gateway, client;

before(async () => {
  gateway = await house();
  client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: KEY });
});
after(() => gateway.stop());

test("a chat answers with the prompt and its usage", async () => {
  const answer = await client.chat.completions.create({ model: "echo", messages });
  assert.equal(answer.choices[0].message.content, "one two three");
  assert.ok(answer.usage.total_tokens > 0);
  assert.match(answer._request_id, /^[0-9a-f-]{36}$/);
});

test("a stream arrives in pieces under one id", async () => {
  const ids = new Set();
  let text = "";
  let pieces = 0;
  for await (const chunk of await client.chat.completions.create({ model: "echo", messages, stream: true })) {
    ids.add(chunk.id);
    text += chunk.choices[0].delta.content ?? "";
    pieces += chunk.choices[0].delta.content ? 1 : 0;
  }
  assert.equal(text, "one two three");
  assert.ok(pieces >= 3);
  assert.equal(ids.size, 1);
});

test("the stream helper folds a stream into the final answer", async () => {
  const stream = client.chat.completions.stream({ model: "fake/words", messages, stream_options: { include_usage: true } });
  const final = await stream.finalChatCompletion();
  assert.equal(final.choices[0].message.content, "hello from upstream");
  assert.equal((await stream.totalUsage()).completion_tokens, 3);
});

test("a streamed tool call accumulates without repeats", async () => {
  const tools = [{ type: "function", function: { name: "get_weather", parameters: { type: "object" } } }];
  const final = await client.chat.completions.stream({ model: "fake/tool", messages, tools }).finalChatCompletion();
  const [call] = final.choices[0].message.tool_calls;
  assert.deepEqual([call.id, call.function.name], ["call_1", "get_weather"]);
  assert.equal(call.function.arguments, '{"city":"Paris"}');
});

test("embeddings are not corrupted by the SDK's default of base64", async () => {
  const byDefault = await client.embeddings.create({ model: "fake/embed", input: ["a", "b"] });
  const asFloats = await client.embeddings.create({ model: "fake/embed", input: ["a", "b"], encoding_format: "float" });
  assert.deepEqual(byDefault.data[1].embedding, FLOATS);
  assert.deepEqual(asFloats.data[1].embedding, FLOATS);
  const echo = await client.embeddings.create({ model: "echo", input: "a" });
  const echoed = await client.embeddings.create({ model: "echo", input: "a", encoding_format: "float" });
  assert.equal(echo.data[0].embedding.length, echoed.data[0].embedding.length);
  echo.data[0].embedding.forEach((value, at) => assert.ok(Math.abs(value - echoed.data[0].embedding[at]) < 1e-6));
});

test("models are listed", async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.ok(names.includes("echo"));
});

test("errors have the SDK's classes and name what is wrong", async () => {
  const chat = (body, apiKey = KEY) =>
    new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey }).chat.completions.create({ model: "echo", messages, ...body });
  await assert.rejects(chat({}, "tg_unknown00000_" + "x".repeat(40)), OpenAI.AuthenticationError);
  await assert.rejects(chat({ model: "no-such" }), (e) => e instanceof OpenAI.NotFoundError && e.code === "model_not_found");
  await assert.rejects(chat({ temperature: "hot" }), (e) => e instanceof OpenAI.BadRequestError && e.param === "temperature");
});

test("the SDK does not multiply attempts that the gateway has used up", async () => {
  await assert.rejects(client.chat.completions.create({ model: "fake/broken", messages }), OpenAI.InternalServerError);
  assert.equal(gateway.hits.broken, 3, "each target, and the first once more");
});

test("a stream that is cut raises after the words that came", async () => {
  let text = "";
  const read = async () => {
    for await (const chunk of await client.chat.completions.create({ model: "fake/cut", messages, stream: true })) {
      text += chunk.choices[0].delta.content ?? "";
    }
  };
  await assert.rejects(read(), OpenAI.APIError);
  assert.equal(text, "first");
});

test("aborting a stream closes the upstream within 100 ms", () => timely(async () => {
  const stream = await client.chat.completions.create({ model: "fake/stall", messages, stream: true });
  for await (const chunk of stream) {
    if (chunk.choices[0].delta.content === "first") break;
  }
  const gone = performance.now();
  stream.controller.abort();
  assert.ok((await gateway.closed("stall", gone)) < 100);
}));
