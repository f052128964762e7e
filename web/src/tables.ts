/** Integer probabilities of the entropy coder in the core's memory (docs/SPEC.md, section 10). */
import { type Core, words } from "./core.js";
import { Corrupt } from "./errors.js";
import type { Tensor } from "./model.js";

const SCALES = 64;
const MAX_HALF_WIDTH = 2047;
const SUM = 65_536;
const ESCAPES = Array.from({ length: 20 }, (_, k) => (k < 12 ? 2 ** (15 - k) : 2));
const AGAIN = "fetch or export the model again";

export class Tables {
  /** Address of `tadan_tables`. */
  readonly at: number;
  /** Addresses of starts and widths of the length classes of escapes, and how many there are. */
  readonly escapes: [number, number, number];

  /** @throws Corrupt */
  constructor(core: Core, halfWidths: Tensor, freqs: Tensor) {
    if (halfWidths.dtype !== "<i4" || halfWidths.shape.join() !== `${SCALES}` || freqs.dtype !== "<u4")
      throw new Corrupt(`the model file does not hold ${SCALES} tables; ${AGAIN}`);
    const half = new Int32Array(halfWidths.data.slice().buffer);
    const all = new Uint32Array(freqs.data.slice().buffer);
    if (half.some((one) => one < 1 || one > MAX_HALF_WIDTH))
      throw new Corrupt(`a half width of the model file is outside 1..${MAX_HALF_WIDTH}; ${AGAIN}`);
    const offsets = [0];
    for (const one of half) offsets.push(offsets.at(-1)! + 2 * one + 2);
    if (offsets.at(-1) !== all.length || freqs.shape.length !== 1)
      throw new Corrupt(`the frequencies of the model file do not fit its tables; ${AGAIN}`);
    const starts = new Uint32Array(all.length);
    const widths = new Uint32Array(all.length);
    const guess = new Uint16Array(256 * SCALES);
    for (let table = 0; table < SCALES; table++) {
      const [first, end] = [offsets[table]!, offsets[table + 1]!];
      let sum = 0;
      for (let i = first; i < end; i++) {
        if (all[i] === 0) throw new Corrupt(`a frequency of the model file is zero; ${AGAIN}`);
        starts[i] = sum * 256;
        widths[i] = all[i]! * 256;
        sum += all[i]!;
      }
      if (sum !== SUM) throw new Corrupt(`a table of the model file does not sum to ${SUM}; ${AGAIN}`);
      for (let bucket = 0, entry = first; bucket < 256; bucket++) {
        while (entry + 1 < end && starts[entry + 1]! <= bucket * 65_536) entry++;
        guess[256 * table + bucket] = entry - first;
      }
    }
    this.at = core.struct(
      words(core.put32(starts), core.put32(widths), core.put64(offsets), core.put16(guess), core.put32(half), SCALES),
    );
    let sum = 0;
    const escapeStarts = ESCAPES.map((freq) => 256 * ((sum += freq) - freq));
    this.escapes = [core.put32(escapeStarts), core.put32(ESCAPES.map((freq) => 256 * freq)), ESCAPES.length];
  }
}
