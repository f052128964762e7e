// What bench.mjs measures, in Node and in a page alike.

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** Processor time of this process, all threads, in milliseconds; browsers do not tell. */
const processor = () => (globalThis.process?.cpuUsage ? process.cpuUsage() : null);
const spent = (before) => Math.round((process.cpuUsage(before).user + process.cpuUsage(before).system) / 1000);

async function timed(runs, work) {
  const times = [];
  const busy = [];
  for (let run = 0; run <= runs; run++) {
    const [begun, before] = [performance.now(), processor()];
    await work();
    times.push(performance.now() - begun);
    if (before) busy.push(spent(before));
  }
  const [first, ...later] = times;
  const found = { first: Math.round(first), median: Math.round(median(later)), least: Math.round(Math.min(...later)) };
  return busy.length ? { ...found, processor: median(busy.slice(1)) } : found;
}

/**
 * Milliseconds by what is measured: first run (with start and weights), median and least of the others; in Node also the
 * processor time of all threads, which other work on the machine disturbs less.
 */
export async function measure({ facts, runs, read, decoderOf, ort, threads }) {
  const found = {};
  const files = {};
  for (const size of Object.keys(facts.sizes)) files[size] = await read(`${size}.tdn`);
  for (const shows of ["full", "lite"])
    for (const workers of threads) {
      const decoder = decoderOf({ workers, decoder: shows });
      const name = shows === "full" ? "decode" : "lite decode";
      for (const [size, file] of Object.entries(files))
        found[`${name} ${size} MP, ${workers} workers`] = await timed(runs, () => decoder.decode(file));
      decoder.close();
    }
  const gains = new ort.Tensor("float32", new Float32Array((await read("gains.f32")).slice().buffer), facts.gains);
  const session = await ort.InferenceSession.create(await read("g_s.onnx"), { executionProviders: ["wasm"] });
  for (const [size, [width, height]] of Object.entries(facts.sizes)) {
    const [rows, cols] = [Math.ceil(height / 16), Math.ceil(width / 16)];
    const y = new ort.Tensor("float32", new Float32Array(facts.latent * rows * cols), [1, facts.latent, rows, cols]);
    const [first, second] = session.inputNames;
    const work = () => session.run({ [first]: y, [second]: gains });
    found[`g_s alone ${size} MP, onnxruntime-web, ${ort.env.wasm.numThreads} threads`] = await timed(runs, work);
  }
  return found;
}
