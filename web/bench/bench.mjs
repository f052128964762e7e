// Bytes, and milliseconds of decoding in Node and in Chromium, beside onnxruntime-web running the same g_s.
//   python bench/prepare.py PHOTOGRAPH FOLDER && npm run bench -- FOLDER [--chromium PATH] [--runs 7]
// Medians of runs after a first one; in Chromium through its own command line, without any other program.
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { cpus, tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants } from "node:zlib";
import { nodeDecoder } from "../dist/tadan-node.js";
import { measure } from "./measure.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const [folder, ...rest] = process.argv.slice(2);
const option = (name, otherwise) => (rest.includes(name) ? rest[rest.indexOf(name) + 1] : otherwise);
const runs = Number(option("--runs", "7"));
const only = option("--only", "bytes,node,chromium").split(",");
const facts = JSON.parse(readFileSync(`${folder}/facts.json`, "utf8"));
const read = (name) => new Uint8Array(readFileSync(`${folder}/${name}`));

function bytes() {
  const files = ["tadan.js", "tadan-polyfill.js", "tadan-worker.js", "tadan.wasm", "tadan-scalar.wasm"];
  const brotli = (data) => brotliCompressSync(data, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }).length;
  const own = files.map((name) => [name, readFileSync(`${here}../dist/${name}`)]);
  const ort = `${here}../node_modules/onnxruntime-web/dist/`;
  const theirs = ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.wasm"].map((name) => [name, readFileSync(ort + name)]);
  const all = [...own, ...["weights", "weights-lite"].map((name) => [name, read(`${name}.safetensors`)]), ...theirs, ["g_s.onnx", read("g_s.onnx")]];
  return Object.fromEntries(all.map(([name, data]) => [name, { raw: data.length, brotli: brotli(data) }]));
}

async function inNode() {
  const ort = await import("onnxruntime-web/wasm");
  ort.env.wasm.numThreads = 1;
  const weights = (id) => read(id.endsWith("-lite") ? "weights-lite.safetensors" : "weights.safetensors");
  const decoderOf = (options) => nodeDecoder({ weights, ...options });
  return measure({ facts, runs, read: async (name) => read(name), decoderOf, ort, threads: [1, 2] });
}

/** A page that runs measure.mjs and posts what it found. */
async function inChromium() {
  const types = { js: "text/javascript", mjs: "text/javascript", wasm: "application/wasm", html: "text/html" };
  const roots = { "/data/": `${folder}/`, "/dist/": `${here}../dist/`, "/bench/": here, "/ort/": `${here}../node_modules/onnxruntime-web/dist/` };
  let done;
  const result = new Promise((resolve) => (done = resolve));
  const server = createServer((request, response) => {
    const path = new URL(request.url, "http://x").pathname;
    if (request.method === "POST") {
      let text = "";
      request.on("data", (part) => (text += part)).on("end", () => (response.end(), done(JSON.parse(text))));
      return;
    }
    const root = Object.keys(roots).find((prefix) => path.startsWith(prefix));
    const file = root && roots[root] + path.slice(root.length);
    if (!file || !existsSync(file)) return void response.writeHead(404).end();
    const type = types[file.split(".").at(-1)] ?? "application/octet-stream";
    // Isolated, so that onnxruntime-web may use threads; ours need not be.
    const isolated = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };
    response.writeHead(200, { "Content-Type": type, ...isolated }).end(readFileSync(file));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = `http://127.0.0.1:${server.address().port}/bench/page.html?runs=${runs}`;
  const profile = mkdtempSync(`${tmpdir()}/tadan-bench-`);
  const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", `--user-data-dir=${profile}`, address];
  const browser = spawn(option("--chromium", "chromium"), flags, { stdio: "ignore" });
  try {
    return await result;
  } finally {
    const ended = new Promise((resolve) => browser.on("exit", resolve));
    browser.kill();
    await ended;
    server.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

const report = { machine: `${cpus()[0].model}, ${cpus().length} cores`, node: process.version, runs };
if (only.includes("bytes")) report.bytes = bytes();
if (only.includes("node")) report.node_ms = await inNode();
if (only.includes("chromium")) {
  const program = option("--chromium", "chromium");
  report.chromium = execFileSync(program, ["--version"], { stdio: ["ignore", "pipe", "ignore"] }).toString().trim();
  report.chromium_ms = await inChromium();
}
console.log(JSON.stringify(report, null, 1));
process.exit(0);
