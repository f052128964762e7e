// Decodes a file with the weights of a lite decoder and writes its samples:
//   node lite.mjs FILE WEIGHTS OUT
import { readFileSync, writeFileSync } from "node:fs";
import { nodeDecoder } from "../dist/tadan-node.js";

const [file, weights, out] = process.argv.slice(2);
const from = (name) => {
  if (!name.endsWith("-lite")) throw new Error(`asked for ${name}`);
  return new Uint8Array(readFileSync(weights));
};
const decoder = nodeDecoder({ weights: from, decoder: "lite" });
const picture = await decoder.decode(new Uint8Array(readFileSync(file)), { orientation: "keep" });
writeFileSync(out, picture.data);
decoder.close();
