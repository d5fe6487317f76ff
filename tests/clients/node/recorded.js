// The real `tollgate` in front of recorded upstreams (the replay server of the shared recordings), an alias for each.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { startGateway, KEY } from "./house.js";

export { KEY };
const WIRE = process.env.TOLLGATE_WIRE_DIR ?? new URL("../../../../shared/wire", import.meta.url).pathname;

// How a recorded dialect is configured as a provider.
export const DIALECTS = {
  "anthropic-messages": ["anthropic", "api_key: sk-up", ""],
  // A Responses caller would be passed through to OpenAI, which a recording of chat does not answer.
  "openai-chat": ["compatible", "api_key: sk-up", "/v1"],
  "openai-responses": ["openai", "api_key: sk-up, api: responses", "/v1"],
  "gemini-generate": ["gemini", "api_key: sk-up", ""],
  "bedrock-converse": ["bedrock", "region: us-east-1, access_key_id: AKIDEXAMPLE, secret_access_key: sk-up", ""],
  "mistral-chat": ["mistral", "api_key: sk-up", "/v1"],
};
// What is asked of every target.
export const SCENARIOS = { words: ["stream", "usage"], tools: ["stream", "tool-call"] };
const WITHOUT = ["error", "error-in-200", "server-tools", "multi-choice", "truncated", "refusal", "content-filter"];
const MOST = 2;
// Vercel's Anthropic client tells tools that the provider ran as calls for the caller; others do not.
const runsTools = (one) => readFileSync(join(WIRE, one.dialect, `${one.id}.json`), "utf8").includes("srvtoolu_");

/** Starts the replay server and a gateway whose aliases are the recordings that the scenarios pick. */
export async function recordedHouse() {
  const replay = spawn("python3", [join(WIRE, "replay.py"), WIRE, "--loop"], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await once(createInterface(replay.stdout), "line");
  const upstream = /http:\/\/127\.0\.0\.1:\d+/.exec(line)[0];
  const all = await (await fetch(`${upstream}/__replay/ids`)).json();
  const aliases = (dialect, scenario) =>
    all
      .filter((one) => one.dialect === dialect && one.status === 200 && one.method === "POST")
      .filter((one) => SCENARIOS[scenario].every((kind) => one.kind.includes(kind)))
      .filter((one) => !WITHOUT.some((kind) => one.kind.includes(kind)))
      .filter((one) => !runsTools(one))
      .slice(0, MOST)
      .map((one) => one.id);
  const providers = [];
  const models = [];
  for (const [dialect, [name, settings, path]] of Object.entries(DIALECTS)) {
    for (const id of new Set(Object.keys(SCENARIOS).flatMap((scenario) => aliases(dialect, scenario)))) {
      const provider = `p${providers.length}`;
      providers.push(`  ${provider}: { dialect: ${name}, base_url: "${upstream}/__id/${id}${path}", ${settings} }`);
      models.push(`  "${id}": { targets: [{ provider: ${provider}, model: recorded }] }`);
    }
  }
  const folder = mkdtempSync(join(tmpdir(), "tollgate-recorded-"));
  // On a busy machine the gateway would shed load for lateness that is not its own.
  const patient = "load: { max_lag: 0s }";
  const keys = `  - { name: node, key: ${KEY} }`;
  const text = [patient, "providers:", ...providers, "models:", ...models, "keys:", keys, ""];
  writeFileSync(join(folder, "tollgate.yaml"), text.join("\n"));
  const gateway = await startGateway(folder);
  return {
    url: gateway.url,
    aliases,
    async stop() {
      await gateway.stop();
      replay.kill();
      rmSync(folder, { recursive: true });
    },
  };
}
