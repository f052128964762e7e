/** What is decoded when (docs/SPEC.md, section 8). */
import { Corrupt, UnsupportedVersion } from "./errors.js";
import type { Pattern, ScheduleField } from "./header.js";

const RASTER_4 = [0, 1, 2, 3].map((row) => [0, 1, 2, 3].map((col) => 4 * row + col));
const QUINCUNX = [
  [0, 2],
  [3, 1],
];

/** Patterns that have a name, by docs/SPEC.md, section 8.3. Names keep their meaning for ever. */
const NAMED: Record<string, Pattern> = {
  hyper: [[[0]]],
  checkerboard: [[[0, 1], [1, 0]]],
  "2x2": [QUINCUNX],
  "2x2-raster": [[[0, 1], [2, 3]]],
  "3x3": [[[0, 3, 6], [7, 1, 4], [5, 8, 2]]],
  "3x3-raster": [[[0, 1, 2], [3, 4, 5], [6, 7, 8]]],
  "4x4": [[[0, 2, 5, 4], [1, 7, 11, 8], [6, 12, 13, 10], [3, 14, 15, 9]]],
  "4x4-raster": [RASTER_4],
  "4x4-8": [[[0, 4, 2, 6], [7, 1, 5, 3], [2, 6, 0, 4], [5, 3, 7, 1]]],
  "4x4-opt-4": [[[0, 3, 1, 3], [3, 2, 3, 2], [1, 3, 1, 3], [3, 2, 3, 2]]],
  "4x4-opt-8": [[[0, 5, 2, 5], [7, 4, 6, 3], [2, 5, 1, 5], [7, 3, 6, 4]]],
  "4x4-opt-16": [[[0, 10, 2, 7], [9, 4, 13, 5], [1, 11, 3, 12], [14, 8, 15, 6]]],
  "2x2-rotated": [0, 1, 2, 3].map((group) => QUINCUNX.map((row) => row.map((stage) => (stage + group) % 4))),
};
/** Columns by which a row runs behind the row above; 0: rows are decoded one after the other. */
const SCANS: Record<string, number> = { raster: 0, wavefront: 3 };

/** Latents of one stage that share schedule group and visible neighbourhood. */
export interface Cell {
  group: number;
  /** Flat indices into the plane, ascending. */
  positions: Int32Array;
  /** [groups][k][k], 1 where the neighbour is decoded in an earlier stage. */
  visible: Uint8Array;
  /** Cells of equal visibility have equal keys. */
  key: string;
}

/** Cells that are decoded together, ordered by group and phase. */
export type Stage = Cell[];

export interface Schedule {
  /** Channel groups that it tells apart. */
  groups: number;
  /** Names all of what it decides; equal schedules have equal keys. */
  key: string;
  /** Stages of a plane that decode something, in order. */
  plan(height: number, width: number, radius: number): Stage[];
}

/**
 * The schedule that a header names, for a model of `modelGroups` channel groups.
 *
 * @throws UnsupportedVersion this version or this model cannot run it
 */
export function scheduleOf(field: ScheduleField, modelGroups: number, radius: number): Schedule {
  const key = JSON.stringify(field);
  let schedule: Schedule;
  if ("pattern" in field) schedule = patternSchedule(field.pattern, key);
  else if (Object.hasOwn(NAMED, field.name)) schedule = patternSchedule(NAMED[field.name]!, key);
  else if (Object.hasOwn(SCANS, field.name)) schedule = scanSchedule(SCANS[field.name]!, key);
  else
    throw new UnsupportedVersion(
      `the stream uses the schedule '${field.name}', which this version does not know; update tadan-web`,
    );
  if (modelGroups % schedule.groups)
    throw new UnsupportedVersion(
      `the stream tells ${schedule.groups} channel groups apart, its model ${modelGroups}; encode the picture again`,
    );
  if ("name" in field && SCANS[field.name] && SCANS[field.name]! <= radius)
    throw new Corrupt(`a wavefront of slope ${SCANS[field.name]} needs a window radius below it, not ${radius}`);
  return schedule;
}

function mod(a: number, b: number): number {
  return ((a % b) + b) % b;
}

function patternSchedule(pattern: Pattern, key: string): Schedule {
  const groups = pattern.length;
  const rows = pattern[0]!.length;
  const cols = pattern[0]![0]!.length;
  const last = Math.max(...pattern.flat(2));

  function visible(group: number, row: number, col: number, radius: number): Uint8Array {
    const own = pattern[group]![row]![col]!;
    const side = 2 * radius + 1;
    const seen = new Uint8Array(groups * side * side);
    let at = 0;
    for (let g = 0; g < groups; g++)
      for (let dy = -radius; dy <= radius; dy++)
        for (let dx = -radius; dx <= radius; dx++)
          seen[at++] = pattern[g]![mod(row + dy, rows)]![mod(col + dx, cols)]! < own ? 1 : 0;
    return seen;
  }

  function cell(group: number, row: number, col: number, height: number, width: number, radius: number): Cell | null {
    const down = Math.ceil((height - row) / rows);
    const across = Math.ceil((width - col) / cols);
    if (down <= 0 || across <= 0) return null;
    const positions = new Int32Array(down * across);
    let at = 0;
    for (let i = row; i < height; i += rows)
      for (let j = col; j < width; j += cols) positions[at++] = i * width + j;
    const seen = visible(group, row, col, radius);
    return { group, positions, visible: seen, key: seen.join("") };
  }

  return {
    groups,
    key,
    plan(height, width, radius) {
      const stages: Stage[] = Array.from({ length: last + 1 }, () => []);
      for (let group = 0; group < groups; group++)
        for (let row = 0; row < rows; row++)
          for (let col = 0; col < cols; col++) {
            const one = cell(group, row, col, height, width, radius);
            if (one) stages[pattern[group]![row]![col]!]!.push(one);
          }
      return stages.filter((stage) => stage.length);
    },
  };
}

function scanSchedule(slope: number, key: string): Schedule {
  return {
    groups: 1,
    key,
    plan(height, width, radius) {
      const side = 2 * radius + 1;
      const visible = Uint8Array.from({ length: side * side }, (_, at) => (at < (side * side - 1) / 2 ? 1 : 0));
      const step = slope || width;
      const last = step * (height - 1) + width - 1;
      const stages: Stage[] = [];
      for (let stage = 0; stage <= last; stage++) {
        const positions: number[] = [];
        const top = Math.max(0, Math.ceil((stage - width + 1) / step));
        for (let row = top; row < height && row * step <= stage; row++) positions.push(row * width + stage - row * step);
        if (positions.length)
          stages.push([{ group: 0, positions: Int32Array.from(positions), visible, key: "scan" }]);
      }
      return stages;
    },
  };
}

/** What is coded together: the channels of one model group at the positions of some cells of one stage. */
export interface Step {
  /** Counted from 0 without gaps. */
  stage: number;
  cells: Stage;
  group: number;
  positions: Int32Array;
}

/** One step per stage and model group that it holds; steps of one stage and schedule group share `positions`. */
export function stepsOf(stages: Stage[], groups: number, modelGroups: number): Step[] {
  const own = modelGroups / groups;
  const steps: Step[] = [];
  stages.forEach((cells, stage) => {
    for (let group = 0; group < groups; group++) {
      const mine = cells.filter((cell) => cell.group === group);
      if (!mine.length) continue;
      const positions = joined(mine.map((cell) => cell.positions));
      for (let g = group * own; g < (group + 1) * own; g++) steps.push({ stage, cells: mine, group: g, positions });
    }
  });
  return steps;
}

function joined(parts: Int32Array[]): Int32Array {
  if (parts.length === 1) return parts[0]!;
  const whole = new Int32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
