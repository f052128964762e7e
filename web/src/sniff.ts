/** What are these bytes, if not a Tadan file? A good guess saves a search; classes of errors are those of Python. */
import { ascii, hex, startsWith } from "./bytes.js";
import { Corrupt, NotOurFile, Truncated } from "./errors.js";

export const MAGIC = ascii("\x89TDN\r\n\x1a\n");

const KNOWN: [number, string, string][] = [
  [0, "\x89PNG", "a PNG picture"],
  [0, "\xff\xd8\xff", "a JPEG picture"],
  [8, "WEBP", "a WebP picture"],
  [4, "ftyp", "an AVIF or HEIF picture"],
  [0, "\xff\x0a", "a JPEG XL picture"],
  [4, "JXL \r\n", "a JPEG XL picture"],
  [0, "GIF8", "a GIF picture"],
  [0, "<", "a web page: the address is wrong, or the server is"],
  [0, "{", "JSON text: the address is wrong, or the server is"],
];

/** What becomes of the magic number on the way. */
const DAMAGED: [number, string, string][] = [
  [0, "\x89TDN", "its line ends were converted, or the bytes after the name were changed"],
  [0, "\tTDN", "the highest bit of each byte was cleared (7-bit transfer)"],
  [0, "\xef\xbf\xbdTDN", "the file was read as UTF-8 text and written back"],
  [0, "\xc2\x89TDN", "the file was converted from Latin-1 to UTF-8 text"],
  [4, "T\0D\0N\0", "the file was written as UTF-16 text"],
];

/** Whether the first bytes of a file are those of a Tadan file. */
export function isTadan(data: Uint8Array): boolean {
  return startsWith(data, MAGIC);
}

/** Throw NotOurFile, Truncated or Corrupt unless `data` begins with the magic number. */
export function checkMagic(data: Uint8Array): void {
  if (isTadan(data)) return;
  if (!data.length) throw new Truncated("The file is empty (0 bytes); download it again.");
  if (data.length < MAGIC.length && startsWith(MAGIC, data))
    throw new Truncated(`The file ends after ${data.length} bytes, inside the magic number; download it again.`);
  for (const [offset, bytes, how] of DAMAGED)
    if (startsWith(data, ascii(bytes), offset))
      throw new Corrupt(`A Tadan file whose first bytes were damaged: ${how}; serve it as binary data.`);
  for (const [offset, bytes, kind] of KNOWN)
    if (startsWith(data, ascii(bytes), offset)) throw new NotOurFile(`Not a Tadan file (.tdn) but ${kind}.`);
  throw new NotOurFile(`Not a Tadan file: it begins with ${hex(data.subarray(0, 8), " ")}; give a .tdn file.`);
}
