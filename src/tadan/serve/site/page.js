// The page of `tadan serve`: one photograph, coded by the service, beside other formats at the same bytes.
const at = (id) => document.getElementById(id);
const NAMES = { avif: "AVIF", webp: "WebP", jpeg: "JPEG" };
const MOST_STAGES = 16; // the schedules that the page asks for have no more
const PAN = 0.1; // of the picture, for one press of an arrow key
const state = { file: null, run: new AbortController(), coded: null, shown: null, pictures: {} };
const { decoder } = Tadan; // of tadan-polyfill.js
const view = { scale: 1, x: 0, y: 0 }; // x and y: how far the pictures are moved, in sizes of the stage

function say(text, failed = false) {
  at("status").textContent = text;
  at("status").classList.toggle("failed", failed);
}

const clamp = (value, least, most) => Math.min(most, Math.max(least, value));

// A request to the service: the answer as a blob, and the seconds that it took. Errors carry the service's own words.
async function ask(path, parameters, body, signal) {
  const token = at("token").value.trim();
  const headers = { "Content-Type": body.type || "application/octet-stream" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const begun = performance.now();
  const address = `${path}?${new URLSearchParams(parameters)}`;
  const answer = await fetch(address, { method: "POST", headers, body, signal }).catch((error) => {
    if (signal.aborted) throw error;
    throw new Error("The service cannot be reached. Is it still running, and is the file still there?");
  });
  if (answer.status === 401) {
    at("access").open = true;
    at("token").focus();
    throw new Error(token ? "The service does not know this token. Enter another one." : "The service asks for a token. Enter it above.");
  }
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    throw new Error(said.message ?? `The service answered ${answer.status}.`);
  }
  return { blob: await answer.blob(), content: answer.headers.get("Tadan-Content"), seconds: (performance.now() - begun) / 1000 };
}

// The picture of a .tdn file as a blob, decoded in this browser; what it cannot do is asked of the service.
const OWN = ["Unexpected", "UnreadableInput", "ModelMissing", "OutOfMemory"];
async function decoded(blob, parameters, signal) {
  const begun = performance.now();
  try {
    const picture = await decoder.decode(blob, { ...parameters, signal });
    return { blob: picture.toBlob(), seconds: (performance.now() - begun) / 1000, here: true };
  } catch (error) {
    if (signal.aborted || !OWN.includes(error.name)) throw error;
    console.info(`Decoded by the service: ${error.message}`);
    return { ...(await ask("decode", { format: "png", ...parameters }, blob, signal)), here: false };
  }
}

async function pixels(blob) {
  const image = await createImageBitmap(blob, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff"; // where the picture is transparent; JPEG has the same
  context.fillRect(0, 0, image.width, image.height);
  context.drawImage(image, 0, 0);
  image.close();
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

// The original as a browser can show it: some formats are read by the service alone.
async function readable(file, signal) {
  try {
    return { blob: file, data: await pixels(file) };
  } catch {
    const { blob } = await ask("transcode", { format: "png" }, file, signal);
    return { blob, data: await pixels(blob) };
  }
}

function psnr(a, b) {
  if (a.width !== b.width || a.height !== b.height) return null;
  let sum = 0;
  for (let i = 0; i < a.data.length; i += 4) {
    for (let c = 0; c < 3; c += 1) sum += (a.data[i + c] - b.data[i + c]) ** 2;
  }
  const samples = (a.data.length / 4) * 3;
  return sum === 0 ? Infinity : 10 * Math.log10((255 * 255 * samples) / sum);
}

function cell(kind, text) {
  return Object.assign(document.createElement(kind), { textContent: text });
}

function line(name, ...cells) {
  const row = document.createElement("tr");
  const head = cell("th", name);
  head.scope = "row";
  row.append(head, ...cells);
  at("numbers").append(row);
  return row;
}

function measured(name, bytes, original, level = null, seconds = null) {
  const texts = [
    bytes.toLocaleString("en"),
    ((8 * bytes) / (original.width * original.height)).toFixed(3),
    level === null ? "–" : Number.isFinite(level) ? level.toFixed(2) : "equal",
    seconds === null ? "–" : seconds.toFixed(2),
  ];
  return line(name, ...texts.map((text) => cell("td", text)));
}

function put(image, blob, words) {
  const before = image.src;
  image.src = URL.createObjectURL(blob);
  image.alt = words;
  if (before.startsWith("blob:")) URL.revokeObjectURL(before);
}

// The rival, or the original as long as the rival is not there.
function showRival() {
  if (!state.pictures.original) return;
  const chosen = at("rival").value;
  const name = (state.pictures[chosen] && NAMES[chosen]) ?? "Original";
  at("right-name").textContent = name;
  put(at("right"), state.pictures[chosen] ?? state.pictures.original, `The photograph as ${name}`);
}

function showOwn(blob, name) {
  at("left-name").textContent = name;
  put(at("left"), blob, `The photograph as ${name}`);
}

function wipe(share) {
  const place = clamp(share, 0, 100);
  at("wipe").value = place;
  at("wipe").ariaValueText = `${Math.round(place)} percent Tadan`;
  at("over").style.clipPath = `inset(0 ${100 - place}% 0 0)`;
  at("line").style.left = `${place}%`;
  at("left-name").hidden = place === 0;
  at("right-name").hidden = place === 100;
}

// Move the pictures, which always fill the stage.
function look(x, y) {
  view.x = clamp(x, 1 - view.scale, 0);
  view.y = clamp(y, 1 - view.scale, 0);
  for (const name of ["scale", "x", "y"]) at("stage").style.setProperty(`--${name}`, view[name]);
}

// Every pixel of the picture becomes two of the screen, at least.
function magnify() {
  const on = at("magnify").checked;
  const across = at("stage").clientWidth * devicePixelRatio;
  const middle = { x: (0.5 - view.x) / view.scale, y: (0.5 - view.y) / view.scale };
  view.scale = on && across ? Math.max(2, (2 * at("left").naturalWidth) / across) : 1;
  at("stage").classList.toggle("magnified", on);
  at("stage").tabIndex = on ? 0 : -1; // arrow keys move the pictures
  look(0.5 - middle.x * view.scale, 0.5 - middle.y * view.scale);
}

function offer(blob, file) {
  if (at("download").href) URL.revokeObjectURL(at("download").href);
  at("download").href = URL.createObjectURL(blob);
  at("download").download = `${file.name.replace(/\.[^.]*$/, "") || "photograph"}.tdn`;
}

// What the controls ask for; null if they hold what no service can do.
function wanted() {
  const size = at("size");
  if (!size.checkValidity()) return null;
  return size.value ? { target_size: Math.floor(size.value * 1000) } : { quality: at("quality").value };
}

async function compare() {
  clearTimeout(waiting);
  const { file } = state;
  if (!file) return;
  state.run.abort(); // the service stops working on what nobody waits for
  state.run = new AbortController();
  const { signal } = state.run;
  const parameters = wanted();
  if (!parameters) {
    say(`Kilobytes: ${at("size").validationMessage}`, true);
    return;
  }
  at("result").setAttribute("aria-busy", "true");
  try {
    say("Encoding…");
    const coded = await ask("encode", parameters, file, signal);
    say("Decoding…");
    const shown = await decoded(coded.blob, {}, signal);
    at("where").textContent = shown.here ? "in this browser" : "by the service";
    const { blob, data: original } = await readable(file, signal);
    const own = await pixels(shown.blob);
    if (signal.aborted) return;
    Object.assign(state, { coded: coded.blob, shown: shown.blob, pictures: { original: blob } });
    at("pair").style.setProperty("--w", own.width);
    at("pair").style.setProperty("--h", own.height);
    showOwn(shown.blob, "Tadan");
    showRival();
    offer(coded.blob, file);
    at("play").disabled = coded.content !== "latents"; // a picture stored without loss comes at once
    at("numbers").replaceChildren();
    measured("Original file", file.size, original);
    measured("Tadan", coded.blob.size, original, psnr(original, own), coded.seconds + shown.seconds).className = "own";
    at("result").hidden = false;
    at("left").decode().then(magnify, () => {});
    for (const [format, name] of Object.entries(NAMES)) {
      say(`${name} at the same bytes…`);
      try {
        const other = await ask("transcode", { format, target_size: coded.blob.size }, file, signal);
        const level = psnr(original, await pixels(other.blob));
        if (signal.aborted) return;
        state.pictures[format] = other.blob;
        measured(name, other.blob.size, original, level, other.seconds);
        if (at("rival").value === format) showRival();
      } catch (error) {
        if (signal.aborted) return;
        line(name, Object.assign(cell("td", error.message), { className: "failed", colSpan: 4 }));
      }
    }
    say("Done. Move the slider, or drag over the picture.");
  } catch (error) {
    if (signal.aborted) return;
    at("result").hidden = true; // it would show another picture than the one that was asked for
    say(error.message, true);
  }
  at("result").removeAttribute("aria-busy");
}

async function same(a, b) {
  if (a.size !== b.size) return false;
  const [one, other] = await Promise.all([a.arrayBuffer(), b.arrayBuffer()]);
  const [left, right] = [new Uint8Array(one), new Uint8Array(other)];
  return left.every((byte, index) => byte === right[index]);
}

async function play() {
  const { coded, shown, run } = state;
  const { signal } = run;
  const pause = matchMedia("(prefers-reduced-motion: reduce)").matches ? 1500 : 600;
  const before = at("wipe").value;
  at("play").disabled = true;
  wipe(100);
  try {
    for (let stages = 0; stages <= MOST_STAGES; stages += 1) {
      const { blob } = await decoded(coded, { stages }, signal);
      if (signal.aborted) return;
      say(stages ? `After stage ${stages}` : "Before the first stage: what the side information alone predicts");
      showOwn(blob, `Tadan, stage ${stages}`);
      if (await same(blob, shown)) break;
      await new Promise((go) => setTimeout(go, pause));
    }
    if (signal.aborted) return;
    say("All stages are there.");
  } catch (error) {
    if (signal.aborted) return;
    say(error.message, true);
  }
  showOwn(shown, "Tadan");
  wipe(before);
  at("play").disabled = false;
}

function take(file) {
  if (!file) return;
  state.file = file;
  at("chosen").textContent = `${file.name} – choose another, or drop it here`;
  compare();
}

let waiting;
function later() {
  at("quality-shown").textContent = at("size").value ? "as the bytes allow" : at("quality").value;
  clearTimeout(waiting);
  waiting = setTimeout(compare, 400);
}

at("file").addEventListener("change", () => {
  take(at("file").files[0]);
  at("file").value = ""; // so that the same file, changed meanwhile, can be chosen again
});
at("quality").addEventListener("input", () => {
  at("size").value = "";
  later();
});
at("size").addEventListener("input", later);
at("rival").addEventListener("change", showRival);
at("wipe").addEventListener("input", () => wipe(at("wipe").value));
at("magnify").addEventListener("change", magnify);
at("play").addEventListener("click", play);
at("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  compare();
});
addEventListener("resize", magnify);

const stage = at("stage");
const drag = (event) => {
  const box = stage.getBoundingClientRect();
  if (view.scale === 1) wipe((100 * (event.clientX - box.left)) / box.width);
  else if (event.type === "pointermove") look(view.x + event.movementX / box.width, view.y + event.movementY / box.height);
};
stage.addEventListener("pointerdown", (event) => {
  stage.setPointerCapture(event.pointerId);
  drag(event);
});
stage.addEventListener("pointermove", (event) => event.buttons && drag(event));
stage.addEventListener("keydown", (event) => {
  const [x, y] = { ArrowLeft: [PAN, 0], ArrowRight: [-PAN, 0], ArrowUp: [0, PAN], ArrowDown: [0, -PAN] }[event.key] ?? [0, 0];
  if (view.scale === 1 || !(x || y)) return;
  event.preventDefault();
  look(view.x + x, view.y + y);
});

for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over-it", name === "dragover");
    if (name === "drop") take(event.dataTransfer.files[0]);
  });
}
