// Starts a scripted provider and the real `tollgate` in front of it, once per test file.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

const BINARIES = process.env.TOLLGATE_BINARIES ?? new URL("../../debug", import.meta.url).pathname;
export const KEY = `tg_nodetests000_${"n".repeat(40)}`;
export const FLOATS = [0.25, -0.5, 1, 0.125, 3, -7.5, 0.375, 12345.5];

const base = (body) => ({ id: "chatcmpl-up", object: "chat.completion", created: 1760000000, model: body.model });
const piece = (body, delta, finish = null) => ({
  ...base(body),
  object: "chat.completion.chunk",
  choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }],
});
const event = (response, data) => response.write(`data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`);
const json = (response, status, body) => {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
};

// What the provider does, by the model that is asked for.
const scripts = {
  words(body, response) {
    response.writeHead(200, { "content-type": "text/event-stream" });
    event(response, piece(body, { role: "assistant", content: "" }));
    for (const word of ["hello", " from", " upstream"]) event(response, piece(body, { content: word }));
    event(response, piece(body, {}, "stop"));
    event(response, { ...piece(body, {}), choices: [], usage: { prompt_tokens: 7, completion_tokens: 3, total_tokens: 10 } });
    event(response, "[DONE]");
    response.end();
  },
  tool(body, response) {
    response.writeHead(200, { "content-type": "text/event-stream" });
    const call = (more) => piece(body, { tool_calls: [{ index: 0, ...more }] });
    event(response, piece(body, { role: "assistant", content: null }));
    event(response, call({ id: "call_1", type: "function", function: { name: "get_weather", arguments: "" } }));
    for (const part of ['{"ci', 'ty":"Pa', 'ris"}']) event(response, call({ function: { arguments: part } }));
    event(response, piece(body, {}, "tool_calls"));
    event(response, "[DONE]");
    response.end();
  },
  stall(body, response) {
    response.writeHead(200, { "content-type": "text/event-stream" });
    event(response, piece(body, { content: "first" }));
  },
  cut(body, response) {
    response.writeHead(200, { "content-type": "text/event-stream" });
    event(response, piece(body, { content: "first" }));
    response.write("", () => setImmediate(() => response.destroy()));
  },
  broken(body, response) {
    json(response, 500, { error: { message: "scripted", type: "server_error", param: null, code: null } });
  },
  embed(body, response) {
    const count = Array.isArray(body.input) ? body.input.length : 1;
    const bytes = Buffer.from(new Float32Array(FLOATS).buffer).toString("base64");
    const vector = body.encoding_format === "base64" ? bytes : FLOATS;
    const data = Array.from({ length: count }, (_, index) => ({ object: "embedding", index, embedding: vector }));
    json(response, 200, { object: "list", data, model: body.model, usage: { prompt_tokens: 5, total_tokens: 5 } });
  },
};

/** Makes tries until what one says of time holds: in the others the machine did something else meanwhile. */
export async function timely(attempt) {
  for (let left = 4; left > 0; left--) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof assert.AssertionError)) throw error;
    }
  }
  return attempt();
}

async function startUpstream(hits, closed) {
  const server = createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    const body = JSON.parse(Buffer.concat(parts));
    hits[body.model] = (hits[body.model] ?? 0) + 1;
    response.on("close", () => response.writableFinished || closed(body.model, performance.now()));
    scripts[body.model](body, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

/** Starts the real `tollgate` with the configuration `tollgate.yaml` of a folder; `stop` fails if it did not end well. */
export async function startGateway(folder) {
  const process_ = spawn(
    join(BINARIES, "tollgate"),
    ["--config", join(folder, "tollgate.yaml"), "--data-dir", join(folder, "data"), "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"],
    { stdio: ["ignore", "pipe", "pipe"], env: { PATH: process.env.PATH, HOME: folder } },
  );
  const ended = once(process_, "exit");
  let output = "";
  const url = await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`tollgate did not start in 120 s:\n${output}`)), 120_000);
    const settle = (act, value) => (clearTimeout(late), act(value));
    process_.stderr.on("data", (data) => (output += data));
    process_.stdout.on("data", (data) => {
      output += data;
      const found = /callers +http:\/\/(127\.0\.0\.1:\d+)/.exec(output);
      if (found) settle(resolve, `http://${found[1]}`);
    });
    process_.on("exit", () => settle(reject, new Error(`tollgate ended:\n${output}`)));
  });
  return {
    url,
    async stop() {
      process_.kill("SIGTERM");
      const [code] = await ended;
      if (code !== 0 || output.includes("panicked")) throw new Error(`exit code ${code}:\n${output}`);
    },
  };
}

/** Starts the house; `stop` ends it and fails if the gateway did not end well. */
export async function house() {
  const hits = {};
  const closes = [];
  const upstream = await startUpstream(hits, (model, at) => closes.push({ model, at }));
  const folder = mkdtempSync(join(tmpdir(), "tollgate-node-"));
  writeFileSync(
    join(folder, "tollgate.yaml"),
    // On a busy machine the gateway would shed load for lateness that is not its own.
    `load: { max_lag: 0s }
providers:
  fake: { dialect: openai, base_url: "http://127.0.0.1:${upstream.address().port}/v1", api_key: sk-upstream }
  second: { dialect: openai, base_url: "http://127.0.0.1:${upstream.address().port}/v1", api_key: sk-second }
models:
  "fake/*": { targets: [{ provider: fake, model: "*" }, { provider: second, model: "*" }] }
keys:
  - { name: node, key: ${KEY} }
`,
  );
  const gateway = await startGateway(folder);
  return {
    url: gateway.url,
    hits,
    /** Waits until the gateway has closed a connection for a model after `since`; resolves with the time between. */
    async closed(model, since) {
      while (performance.now() - since < 60_000) {
        const found = closes.find((close) => close.model === model && close.at >= since);
        if (found) return found.at - since;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      throw new Error("the upstream connection is still open");
    },
    async stop() {
      await gateway.stop();
      upstream.closeAllConnections();
      upstream.close();
      rmSync(folder, { recursive: true });
    },
  };
}
