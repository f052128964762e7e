/** Orientation of a picture, as EXIF states it. */

const ORIENTATION = 0x0112;
const SHORT = 3;

/** 1 to 8; 1 (as stored) if the data do not say. */
export function orientationOf(exif: Uint8Array | undefined): number {
  if (!exif) return 1;
  const start = String.fromCharCode(...exif.subarray(0, 6)) === "Exif\0\0" ? 6 : 0;
  const tiff = exif.subarray(start);
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  const order = String.fromCharCode(...tiff.subarray(0, 2));
  if (tiff.length < 8 || (order !== "II" && order !== "MM")) return 1;
  const little = order === "II";
  const first = view.getUint32(4, little);
  if (view.getUint16(2, little) !== 42 || first + 2 > tiff.length) return 1;
  const count = view.getUint16(first, little);
  for (let i = 0; i < count; i++) {
    const at = first + 2 + 12 * i;
    if (at + 12 > tiff.length) return 1;
    if (view.getUint16(at, little) !== ORIENTATION || view.getUint16(at + 2, little) !== SHORT) continue;
    const value = view.getUint16(at + 8, little);
    return value >= 1 && value <= 8 ? value : 1;
  }
  return 1;
}

/** Whether width and height change places. */
export function isTurned(orientation: number): boolean {
  return orientation > 4;
}

/** RGBA samples as they are to be looked at. */
export function oriented(
  data: Uint8ClampedArray,
  width: number,
  height: number,
  orientation: number,
): { data: Uint8ClampedArray; width: number; height: number } {
  if (orientation === 1) return { data, width, height };
  const turned = isTurned(orientation);
  const [w, h] = turned ? [height, width] : [width, height];
  const from = new Uint32Array(data.buffer, data.byteOffset, width * height);
  const to = new Uint32Array(width * height);
  // Of the stored picture, rows are mirrored in 3, 4, 7, 8 and columns in 2, 3, 6, 7.
  const down = [3, 4, 7, 6].includes(orientation);
  const across = [2, 3, 7, 8].includes(orientation);
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++) {
      let [col, row] = turned ? [y, x] : [x, y];
      if (across) col = width - 1 - col;
      if (down) row = height - 1 - row;
      to[y * w + x] = from[row * width + col]!;
    }
  return { data: new Uint8ClampedArray(to.buffer), width: w, height: h };
}
