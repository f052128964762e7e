// Builds the decoder: the C core to WebAssembly (clang and lld of the system, no C library), TypeScript by esbuild.
//   node build.mjs            everything, into dist/
//   node build.mjs --types    declarations for TypeScript, too
//   node build.mjs --site     and put what the service hands out beside its page
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const native = `${here}../native/`;
const EXPORTS = [
  "tadan_kernel",
  "tadan_apply",
  "tadan_scratch",
  "tadan_hidden",
  "tadan_predict",
  "tadan_reveal",
  "tadan_inlet",
  "tadan_wide_block",
  "tadan_render",
  "tadan_pull",
  "tadan_decode_step",
  "__heap_base",
];

function core(name, ...options) {
  const sources = ["core", "coder", "team"].map((part) => `${native}tadan_${part}.c`);
  const link = ["--no-entry", "--gc-sections", "--strip-all", "-z,stack-size=65536"];
  const flags = [
    ...["--target=wasm32", "-std=c99", "-ffreestanding", "-ffunction-sections", "-Wall", "-Wextra", "-Werror"],
    ...["-nostdlib", "-nostdlibinc", `-I${here}native/include`, `-I${native}`],
    ...[...link, ...EXPORTS.map((one) => `--export=${one}`)].map((one) => `-Wl,${one}`),
  ];
  const clang = process.env.CLANG ?? "clang";
  execFileSync(clang, [...flags, ...options, "-o", `${here}dist/${name}`, ...sources, `${here}native/freestanding.c`], {
    stdio: "inherit",
  });
}

async function scripts() {
  const { build } = await import("esbuild");
  const common = { bundle: true, minify: true, target: "es2022", legalComments: "none", logLevel: "warning", charset: "ascii" };
  const script = (name, format, source = name, more = {}) =>
    build({ ...common, format, entryPoints: [`${here}src/${source}.ts`], outfile: `${here}dist/${name}.js`, ...more });
  const classic = { logOverride: { "empty-import-meta": "silent" } };
  await Promise.all([
    script("tadan", "esm", "index"),
    script("tadan-node", "esm", "node", { platform: "node" }),
    script("tadan-worker", "iife", "worker-main", classic),
    script("tadan-polyfill", "iife", "polyfill", classic),
  ]);
}

rmSync(`${here}dist`, { recursive: true, force: true });
mkdirSync(`${here}dist`);
core("tadan.wasm", "-O2", "-msimd128");
core("tadan-scalar.wasm", "-O2");
await scripts();
if (process.argv.includes("--types")) {
  const options = ["--noEmit", "false", "--declaration", "--emitDeclarationOnly", "--rootDir", "src", "--outDir", "dist/types"];
  execFileSync("npx", ["tsc", "-p", "tsconfig.build.json", ...options], { cwd: here, stdio: "inherit" });
}
if (process.argv.includes("--site"))
  for (const name of ["tadan-polyfill.js", "tadan.wasm", "tadan-scalar.wasm"])
    copyFileSync(`${here}dist/${name}`, `${here}../src/tadan/serve/site/${name}`);
