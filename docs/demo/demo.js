// The demo: the polyfill shows the images; below, one file is decoded stage by stage by the same decoder.
const at = (id) => document.getElementById(id);

function script(src, data = {}) {
  return new Promise((resolve, reject) => {
    const element = Object.assign(document.createElement("script"), { src, onload: resolve, onerror: reject });
    Object.assign(element.dataset, data);
    document.head.append(element);
  });
}

let decoder;
let file;
let run = new AbortController();

async function show() {
  run.abort();
  run = new AbortController();
  const { signal } = run;
  const stages = Number(at("stages").value);
  const all = stages === Number(at("stages").max);
  at("shown").textContent = all ? "all" : stages;
  try {
    const begun = performance.now();
    const picture = await decoder.decode(file, { signal, ...(all ? {} : { stages }) });
    const milliseconds = performance.now() - begun;
    const { width, height, header } = picture;
    Object.assign(at("canvas"), { width, height });
    const bitmap = await picture.toImageBitmap();
    at("canvas").getContext("2d").drawImage(bitmap, 0, 0);
    const facts = {
      Picture: `${width} × ${height}, ${header.mode}, quality ${header.quality}`,
      Schedule: header.schedule?.name ?? (header.schedule ? "inline pattern" : `none, stored as ${header.content}`),
      Decoded: `in ${Math.round(milliseconds)} ms`,
    };
    at("facts").replaceChildren(
      ...Object.entries(facts).flatMap(([name, value]) => [
        Object.assign(document.createElement("dt"), { textContent: name }),
        Object.assign(document.createElement("dd"), { textContent: value }),
      ]),
    );
    at("status").textContent = "";
  } catch (error) {
    if (!signal.aborted) at("status").textContent = `${error.name}: ${error.message}`;
  }
}

// A page from file:// can fetch nothing: there, all files come in one script (tools/web_demo.py writes it).
async function start() {
  const local = location.protocol === "file:";
  if (local) await script("tadan-files.js");
  await script("tadan-polyfill.js", { weights: "{id}.safetensors" });
  decoder = Tadan.decoder;
  file = new URL("astronaut.tdn", location.href);
  at("file").addEventListener("change", () => {
    [file = file] = at("file").files;
    at("stages").value = at("stages").max;
    show();
  });
  at("stages").addEventListener("input", show);
  await show();
}

start().catch(() => {
  at("status").textContent = "The decoder's files are missing; write them with: python tools/web_demo.py docs/demo";
});
