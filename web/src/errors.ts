/** Every error that Tadan raises on purpose; names are those of the Python package (`tadan.errors`). */
export class TadanError extends Error {}

/** The bytes do not begin with the magic number of the expected kind of file. */
export class NotOurFile extends TadanError {}

/** The file ends before all announced data has arrived. */
export class Truncated extends TadanError {}

/** A checksum or a structural rule does not hold: the bytes were changed after they were written. */
export class Corrupt extends TadanError {}

/** The file was written by a newer (or unknown) version of the format. */
export class UnsupportedVersion extends TadanError {}

/** The model that the file names is not at hand. */
export class ModelMissing extends TadanError {}

/** An argument is outside what the function accepts. */
export class InvalidInput extends TadanError {}

/** A file or the network did not give what was asked for. */
export class UnreadableInput extends TadanError {}

/** There is not enough memory. */
export class OutOfMemory extends TadanError {}

/** An error that nobody foresaw; its cause has the details. */
export class Unexpected extends TadanError {}

/** A size announced by the file is above a limit: which one, what was announced, and the bound in force. */
export class LimitExceeded extends TadanError {
  constructor(
    what: string,
    readonly limit: string,
    readonly value: number,
    readonly bound: number,
  ) {
    super(`${what}; raise limits.${limit} if you trust the file`);
  }
}

const KINDS: Record<string, new (message: string) => TadanError> = {
  TadanError,
  NotOurFile,
  Truncated,
  Corrupt,
  UnsupportedVersion,
  ModelMissing,
  InvalidInput,
  UnreadableInput,
  OutOfMemory,
  Unexpected,
};

// By these words, as tools that shorten scripts rename classes.
for (const [name, kind] of Object.entries(KINDS)) kind.prototype.name = name;
LimitExceeded.prototype.name = "LimitExceeded";

/** An error as it travels between threads. */
export interface Told {
  name: string;
  message: string;
}

/** What is sent of an error; everything that is none of ours counts as unexpected, or as a lack of memory. */
export function told(error: unknown): Told {
  const typed = typedError(error);
  return { name: typed.name, message: typed.message };
}

/** The error that was told. */
export function heard(told: Told): TadanError {
  const kind = KINDS[told.name];
  if (kind) return new kind(told.message);
  const other = new TadanError(told.message);
  other.name = told.name;
  return other;
}

/** `error` itself if it is one of ours, else the error of ours that stands for it. */
export function typedError(error: unknown): TadanError {
  if (error instanceof TadanError) return error;
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof RangeError && /memory|allocation|array length|buffer/i.test(message))
    return new OutOfMemory(`not enough memory (${message}); show a smaller region`, { cause: error });
  return new Unexpected(message, { cause: error });
}
