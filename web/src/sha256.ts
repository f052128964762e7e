/** SHA-256: that of the browser, or where a page is not trusted with it (plain HTTP) the same in 40 lines (FIPS 180-4). */

export async function sha256(data: Uint8Array): Promise<Uint8Array> {
  if (globalThis.crypto?.subtle)
    return new Uint8Array(await crypto.subtle.digest("SHA-256", data as Uint8Array<ArrayBuffer>));
  return plainSha256(data);
}

function constants(root: (value: number) => number, count: number): Uint32Array {
  const out = new Uint32Array(count);
  for (let n = 2, found = 0; found < count; n++) {
    let prime = true;
    for (let d = 2; d * d <= n; d++) if (n % d === 0) prime = false;
    if (prime) out[found++] = (root(n) % 1) * 2 ** 32;
  }
  return out;
}

export function plainSha256(data: Uint8Array): Uint8Array {
  const k = constants(Math.cbrt, 64);
  const state = constants(Math.sqrt, 8);
  const blocks = Math.ceil((data.length + 9) / 64);
  const tail = new Uint8Array((blocks - Math.floor(data.length / 64)) * 64);
  const whole = Math.floor(data.length / 64);
  tail.set(data.subarray(64 * whole));
  tail[data.length - 64 * whole] = 0x80;
  new DataView(tail.buffer).setUint32(tail.length - 8, Math.floor(data.length / 2 ** 29));
  new DataView(tail.buffer).setUint32(tail.length - 4, (data.length << 3) >>> 0);
  const head = new DataView(data.buffer, data.byteOffset, 64 * whole);
  const end = new DataView(tail.buffer);
  const w = new Uint32Array(64);
  const turn = (x: number, n: number) => (x >>> n) | (x << (32 - n));
  for (let block = 0; block < blocks; block++) {
    const [from, at] = block < whole ? [head, 64 * block] : [end, 64 * (block - whole)];
    for (let i = 0; i < 16; i++) w[i] = from.getUint32(at + 4 * i);
    for (let i = 16; i < 64; i++) {
      const a = w[i - 15]!;
      const b = w[i - 2]!;
      w[i] = w[i - 16]! + (turn(a, 7) ^ turn(a, 18) ^ (a >>> 3)) + w[i - 7]! + (turn(b, 17) ^ turn(b, 19) ^ (b >>> 10));
    }
    let [a, b, c, d, e, f, g, h] = state as unknown as [number, number, number, number, number, number, number, number];
    for (let i = 0; i < 64; i++) {
      const one = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + k[i]! + w[i]!) | 0;
      const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((value, index) => (state[index]! += value));
  }
  const out = new DataView(new ArrayBuffer(32));
  state.forEach((value, index) => out.setUint32(4 * index, value));
  return new Uint8Array(out.buffer);
}
