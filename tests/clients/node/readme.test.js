// The TypeScript of README.md, checked by the compiler and run as it stands.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { KEY, house } from "./house.js";

const here = new URL(".", import.meta.url).pathname;
const readme = readFileSync(process.env.TOLLGATE_README ?? `${here}../../../README.md`, "utf8");
const blocks = [...readme.matchAll(/```ts\n(.*?)```/gs)].map((found) => found[1]);
let gateway;

before(async () => {
  gateway = await house();
});
after(() => gateway.stop());

test("README has a TypeScript block for each way to call", () => assert.equal(blocks.length, 2));

for (const [number, block] of blocks.entries()) {
  test(`TypeScript block ${number + 1} compiles and runs`, () => {
    const name = `readme${number + 1}`;
    writeFileSync(`${here}${name}.ts`, block.replaceAll("http://127.0.0.1:8080", gateway.url));
    const options = "--strict --target es2022 --module nodenext --skipLibCheck --types node".split(" ");
    execFileSync(`${here}node_modules/.bin/tsc`, [...options, `${name}.ts`], { cwd: here, stdio: "pipe", encoding: "utf8" });
    const env = { ...process.env, TOLLGATE_KEY: KEY };
    const told = execFileSync(process.execPath, [`${name}.js`], { cwd: here, env, encoding: "utf8", timeout: 120_000 });
    assert.equal(told.trim(), "hello there");
  });
}
