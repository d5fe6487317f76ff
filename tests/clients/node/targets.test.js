// Vercel's AI SDK and Anthropic's own, unmodified, against recorded targets of every dialect: all are told the same.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { jsonSchema, streamText, tool } from "ai";
import { recordedHouse, DIALECTS, KEY, SCENARIOS } from "./recorded.js";

let gateway;
before(async () => (gateway = await recordedHouse()));
after(() => gateway?.stop());

const PROMPT = "What is the weather in Paris?";
const SCHEMA = { type: "object", properties: {}, additionalProperties: true };

// Tools are offered under the names that the recordings call, or the SDK would refuse the calls.
async function vercel(model, names) {
  const tools = Object.fromEntries(names.map((name) => [name, tool({ inputSchema: jsonSchema(SCHEMA) })]));
  const failures = [];
  const result = streamText({ model, prompt: PROMPT, tools, maxRetries: 0, onError: ({ error }) => failures.push(error) });
  const [text, calls] = [await result.text, await result.toolCalls];
  if (failures.length) throw failures[0];
  return { text, calls: calls.map((call) => [call.toolName, call.input]) };
}

const CLIENTS = {
  async "@anthropic-ai/sdk"(alias) {
    const client = new Anthropic({ baseURL: gateway.url, apiKey: KEY, maxRetries: 0 });
    const message = await client.messages
      .stream({
        model: alias,
        max_tokens: 4096,
        messages: [{ role: "user", content: PROMPT }],
        tools: [{ name: "get_weather", input_schema: SCHEMA }],
      })
      .finalMessage();
    return {
      text: message.content.map((block) => (block.type === "text" ? block.text : "")).join(""),
      calls: message.content.filter((block) => block.type === "tool_use").map((block) => [block.name, block.input]),
    };
  },
  "@ai-sdk/anthropic": (alias, names) =>
    vercel(createAnthropic({ baseURL: `${gateway.url}/v1`, apiKey: KEY })(alias), names),
  "@ai-sdk/openai chat": (alias, names) =>
    vercel(createOpenAI({ baseURL: `${gateway.url}/v1`, apiKey: KEY }).chat(alias), names),
  "@ai-sdk/openai responses": (alias, names) =>
    vercel(createOpenAI({ baseURL: `${gateway.url}/v1`, apiKey: KEY }).responses(alias), names),
  "@ai-sdk/openai-compatible": (alias, names) =>
    vercel(createOpenAICompatible({ name: "tollgate", baseURL: `${gateway.url}/v1`, apiKey: KEY })(alias), names),
};

for (const dialect of Object.keys(DIALECTS)) {
  for (const scenario of Object.keys(SCENARIOS)) {
    test(`${dialect}: ${scenario}`, async () => {
      for (const alias of gateway.aliases(dialect, scenario)) {
        const first = await CLIENTS["@anthropic-ai/sdk"](alias);
        assert.ok(first.text || first.calls.length, `${alias}: an empty answer`);
        if (scenario === "tools") assert.ok(first.calls.length, `${alias}: no call`);
        const names = [...new Set(first.calls.map(([name]) => name))];
        for (const [name, ask] of Object.entries(CLIENTS)) {
          assert.deepEqual(await ask(alias, names), first, `${alias} by ${name}`);
        }
      }
    });
  }
}
