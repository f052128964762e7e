// Decodes every .tdn file of a folder with the built decoder: prints the class of the error of each, or "ok" and writes
// its samples beside it (.rgba). For tests from Python that compare both decoders.
//   node outcomes.mjs FOLDER MODEL_FILE [LIMITS as JSON]
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import sharp from "sharp";
import { nodeDecoder } from "../dist/tadan-node.js";

const [folder, model, limits = "{}"] = process.argv.slice(2);
const weights = new Uint8Array(readFileSync(model));

async function decodeImage(file) {
  const { data, info } = await sharp(file).toColourspace("srgb").ensureAlpha().raw().toBuffer({ resolveWithObject: true });
  return { data: new Uint8Array(data), width: info.width, height: info.height };
}

const decoder = nodeDecoder({ weights: () => weights, limits: JSON.parse(limits), decodeImage });
const outcomes = {};
for (const name of readdirSync(folder).filter((one) => one.endsWith(".tdn"))) {
  try {
    const picture = await decoder.decode(new Uint8Array(readFileSync(`${folder}/${name}`)), { orientation: "keep" });
    writeFileSync(`${folder}/${name}.rgba`, picture.data);
    outcomes[name] = "ok";
  } catch (error) {
    outcomes[name] = error.name === "Unexpected" ? `Unexpected: ${error.cause?.stack}` : error.name;
  }
}
console.log(JSON.stringify(outcomes));
