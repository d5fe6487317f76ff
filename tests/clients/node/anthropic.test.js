// Anthropic's JavaScript SDK, unmodified but for `baseURL`.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { KEY, house } from "./house.js";

const messages = [{ role: "user", content: "one two three" }];
const asked = { model: "echo", max_tokens: 100, messages };
let gateway, client;

before(async () => {
  gateway = await house();
  client = new Anthropic({ baseURL: gateway.url, apiKey: KEY });
});
after(() => gateway.stop());

test("a message answers with the prompt and its usage", async () => {
  const answer = await client.messages.create(asked);
  assert.equal(answer.content[0].text, "one two three");
  assert.equal(answer.stop_reason, "end_turn");
  assert.deepEqual([answer.usage.input_tokens, answer.usage.output_tokens], [3, 3]);
  assert.match(answer._request_id, /^[0-9a-f-]{36}$/);
});

test("a stream arrives in pieces and is folded into the final message", async () => {
  const stream = client.messages.stream(asked);
  const pieces = [];
  stream.on("text", (piece) => pieces.push(piece));
  const final = await stream.finalMessage();
  assert.deepEqual(pieces, ["one", " two", " three"]);
  assert.equal(final.content[0].text, "one two three");
  assert.equal(final.usage.output_tokens, 3);
});

test("a streamed tool call of another vendor accumulates", async () => {
  const tools = [{ name: "get_weather", input_schema: { type: "object" } }];
  const final = await client.messages.stream({ ...asked, model: "fake/tool", tools }).finalMessage();
  const [call] = final.content;
  assert.deepEqual([call.type, call.id, call.name, call.input], ["tool_use", "call_1", "get_weather", { city: "Paris" }]);
  assert.equal(final.stop_reason, "tool_use");
});

test("tokens are counted and models are listed", async () => {
  assert.ok((await client.messages.countTokens({ model: "echo", messages })).input_tokens > 0);
  const names = [];
  for await (const model of client.models.list({ limit: 1 })) names.push(model.id);
  assert.ok(names.includes("echo") && names.length > 1);
});

test("errors have the SDK's classes", async () => {
  const send = (body, apiKey = KEY) => new Anthropic({ baseURL: gateway.url, apiKey }).messages.create({ ...asked, ...body });
  await assert.rejects(send({}, "tg_unknown00000_" + "x".repeat(40)), Anthropic.AuthenticationError);
  await assert.rejects(send({ model: "no-such" }), Anthropic.NotFoundError);
  await assert.rejects(send({ messages: [] }), (e) => e instanceof Anthropic.BadRequestError && e.error.error.type === "invalid_request_error");
});

test("the SDK does not multiply attempts that the gateway has used up", async () => {
  await assert.rejects(client.messages.create({ ...asked, model: "fake/broken" }), Anthropic.InternalServerError);
  assert.equal(gateway.hits.broken, 3, "each target, and the first once more");
});

test("a stream that is cut raises after the words that came", async () => {
  let text = "";
  const read = async () => {
    for await (const event of await client.messages.create({ ...asked, model: "fake/cut", stream: true })) {
      text += event.delta?.text ?? "";
    }
  };
  await assert.rejects(read(), Anthropic.APIError);
  assert.equal(text, "first");
});
