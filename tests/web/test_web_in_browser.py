"""``web/`` in Chromium: golden streams, and pages that show ``.tdn`` files by one script tag, under a strict policy."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from skimage import data

import tadan
from browser_use import Site, browser
from tadan.bitstream import read_stream, write_stream
from tadan.conformance.golden import load_sets
from tadan.models import bundled_models, load_model
from web_use import BUILT, SITE

__all__ = ["browser"]
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
expect = playwright.expect
pytestmark = [pytest.mark.browser, pytest.mark.slow]

WAIT = 120_000  # milliseconds: a guard against waiting for ever
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob: data:; connect-src 'self'; "
    "worker-src 'self'; base-uri 'none'"
)
TAG = '<script src="/tadan/tadan-polyfill.js" data-weights="/weights/{{id}}.safetensors" {}></script>'
PAGE = '<!doctype html><meta charset="utf-8"><title>Test</title><link rel="icon" href="data:,">'
WIDTH, HEIGHT = 96, 64


def photograph(width=WIDTH, height=HEIGHT):
    return Image.fromarray(data.astronaut()[20 : 20 + height, 150 : 150 + width])


@pytest.fixture(scope="module")
def pictures():
    """Files by path."""
    exif = Image.Exif()
    exif[0x0112] = 6
    images = {"/a.tdn": photograph(), "/b.tdn": photograph(2 * WIDTH, 2 * HEIGHT)}
    codec = tadan.Codec(threads=1)
    files = {path: codec.encode(image, quality=80) for path, image in images.items()}
    files["/turned.tdn"] = write_stream(replace(read_stream(files["/a.tdn"]), metadata={"exif": exif.tobytes()}))
    return files


@pytest.fixture(scope="module")
def site(pictures):
    """A static host with the built files, the weights and pictures."""
    files = {f"/tadan/{name}": (SITE / name).read_bytes() for name in BUILT}
    for model in map(load_model, bundled_models()):
        files[f"/weights/{model.id_hex}.safetensors"] = model.decoder_only().to_bytes()
    jpeg = io.BytesIO()
    photograph().save(jpeg, "JPEG")
    site = Site({**files, **pictures, "/fallback.jpg": jpeg.getvalue()}, {"Content-Security-Policy": POLICY})
    yield site
    site.close()


@pytest.fixture
def page(browser, site):
    """Opens pages: ``page(body, attributes of the script)``. Nothing but what is expected may go wrong in them."""
    contexts = []

    def go(body, attributes="", head="", **chosen):
        context = browser.new_context(**chosen)
        contexts.append(context)
        one = context.new_page()
        one.wrong = []
        one.on("pageerror", lambda error: one.wrong.append(str(error)))
        one.add_init_script(
            "window.violations = []; window.events = [];"
            "document.addEventListener('securitypolicyviolation', e => violations.push(e.violatedDirective));"
        )
        site.files["/page.html"] = f"{PAGE}{head}{TAG.format(attributes)}{body}".encode()
        site.asked.clear()
        one.goto(f"{site.base}/page.html")
        return one

    yield go
    for context in contexts:
        for one in context.pages:
            assert one.wrong == []
            assert one.evaluate("violations") == []
        context.close()


SHOWN = """async (selector) => {
    const image = document.querySelector(selector);
    await image.decode?.();
    const [w, h] = [image.naturalWidth ?? image.width, image.naturalHeight ?? image.height];
    const source = image.currentSrc ? await createImageBitmap(image) : image;
    const canvas = new OffscreenCanvas(source.width, source.height);
    const context = canvas.getContext("2d");
    context.drawImage(source, 0, 0);
    const bytes = context.getImageData(0, 0, source.width, source.height).data;
    const text = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
    return { w, h, width: source.width, height: source.height, data: text };
}"""
# Functions, as the policy of the page forbids Playwright to evaluate texts.
IS_THERE = """selector => {
    const found = document.querySelector(selector);
    return found && (found.matches("canvas") || found.currentSrc.startsWith("blob:"));
}"""
HAS = """([selector, width, ending]) => {
    const found = document.querySelector(selector);
    return found.naturalWidth === width && found.currentSrc.endsWith(ending);
}"""


def shown(page, selector):
    """Samples, RGB, and the size in the layout, of a picture once it is there."""
    page.wait_for_function(IS_THERE, arg=selector, timeout=WAIT)
    found = page.evaluate(SHOWN, selector)
    samples = np.frombuffer(base64.b64decode(found["data"]), np.uint8).reshape(found["height"], found["width"], 4)
    return samples[..., :3], (found["w"], found["h"])


def assert_shows(samples, file):
    wanted = np.asarray(tadan.decode(file).convert("RGB"), np.int16)
    assert np.abs(samples.astype(np.int16) - wanted).max() <= 1


DECODE = """async ([names, workers, scalar]) => {
    const decoder = new Tadan.Decoder({ ...Tadan.options, workers, scalar });
    const found = {};
    for (const name of names)
        try {
            const { data, width, height } = await decoder.decode(`golden/${name}`, { orientation: "keep" });
            found[name] = { width, height, data: btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join("")) };
        } catch (error) {
            found[name] = error.name;
        }
    decoder.close();
    return found;
}"""


@pytest.mark.parametrize(("workers", "scalar"), [(2, False), (0, False), (1, True)])
def test_golden_streams(page, site, workers, scalar):
    """Latents equal (their checksums are compared in the browser), pixels within a level; damage, the same errors."""
    wanted = {}
    for golden in load_sets():
        for one in (*golden.streams, *golden.damaged):
            name = f"{golden.name}/{one.name}"
            site.files[f"/golden/{name}"] = golden.read(one.name, ".tdn")
            wanted[name] = golden, one
    opened = page("", "data-manual")
    found = opened.evaluate(DECODE, [sorted(wanted), workers, scalar])
    assert found.keys() == wanted.keys()
    for name, (golden, one) in wanted.items():
        if hasattr(one, "error"):
            assert found[name] == one.error, name
            continue
        assert not isinstance(found[name], str), f"{name}: {found[name]}"
        if one.levels is None:
            continue
        reference = Image.open(io.BytesIO(golden.read(one.name, ".png"))).convert("RGBA")
        samples = np.frombuffer(base64.b64decode(found[name]["data"]), np.uint8)
        samples = samples.reshape(found[name]["height"], found[name]["width"], 4).astype(np.int16)
        difference = np.abs(samples - np.asarray(reference, np.int16))
        assert difference[..., :3].max() <= one.levels, name
        assert not difference[..., 3].any(), name


def test_an_image_is_shown(page, pictures, site):
    one = page('<img id="i" src="a.tdn" alt="An astronaut">')
    samples, size = shown(one, "#i")
    assert_shows(samples, pictures["/a.tdn"])
    assert size == (WIDTH, HEIGHT)
    assert one.get_by_role("img", name="An astronaut").count() == 1


def test_orientation_is_applied(page, pictures):
    samples, size = shown(page('<img id="i" src="turned.tdn">'), "#i")
    assert size == (HEIGHT, WIDTH)
    wanted = np.rot90(np.asarray(tadan.decode(pictures["/turned.tdn"]).convert("RGB"), np.int16), -1)
    assert np.abs(samples.astype(np.int16) - wanted).max() <= 1


def test_pictures_fall_in_where_the_page_says(page, pictures, site):
    """``srcset`` by density and by width, ``<picture>`` with media; sizes in the layout are those of any format."""
    body = """
        <img id="dense" srcset="a.tdn 1x, b.tdn 2x" src="a.tdn">
        <img id="wide" srcset="a.tdn 96w, b.tdn 192w" sizes="(min-width: 9000px) 10px, calc(50px + 46px)">
        <picture><source type="image/x-tadan" media="(min-width: 9000px)" srcset="a.tdn">
        <source type="image/x-tadan" srcset="b.tdn"><source type="image/webp" srcset="none.webp">
        <img id="picture" src="fallback.jpg"></picture>
        <picture><source type="image/jpeg" srcset="fallback.jpg"><source type="image/x-tadan" srcset="b.tdn">
        <img id="first" src="none.jpg"></picture>"""
    one = page(body, device_scale_factor=2, viewport={"width": 800, "height": 600})
    for name, size in (("dense", (WIDTH, HEIGHT)), ("wide", (WIDTH, HEIGHT)), ("picture", (2 * WIDTH, 2 * HEIGHT))):
        samples, found = shown(one, f"#{name}")
        assert_shows(samples, pictures["/b.tdn"])
        assert found == size, name
    assert one.locator("#first").evaluate("e => e.currentSrc").endswith("fallback.jpg")


def test_lazy_images_wait_and_later_ones_are_seen(page, pictures, site):
    one = page('<img id="soon" src="a.tdn"><p class="gap"></p>')
    shown(one, "#soon")
    code = """() => {
        document.querySelector(".gap").style.height = "5000px";
        document.body.append(Object.assign(new Image(), { id: "lazy", loading: "lazy", srcset: "b.tdn 1x" }));
    }"""
    one.evaluate(code)
    one.wait_for_timeout(300)
    assert one.locator("#lazy").evaluate("e => e.currentSrc.startsWith('blob:')") is False
    one.locator("#lazy").evaluate("e => e.scrollIntoView()")
    assert_shows(shown(one, "#lazy")[0], pictures["/b.tdn"])


def test_a_changed_address_changes_the_picture(page, pictures):
    one = page('<img id="i" src="a.tdn">')
    shown(one, "#i")
    one.locator("#i").evaluate("e => { e.src = 'b.tdn' }")
    one.wait_for_function(HAS, arg=["#i", 2 * WIDTH, ""], timeout=WAIT)
    assert_shows(shown(one, "#i")[0], pictures["/b.tdn"])
    one.locator("#i").evaluate("e => { e.src = 'fallback.jpg' }")
    one.wait_for_function(HAS, arg=["#i", WIDTH, "fallback.jpg"], timeout=WAIT)


def test_what_cannot_be_shown_falls_back(page, site, pictures):
    site.files["/bad.tdn"] = pictures["/a.tdn"][:-9]
    one = page(
        '<img id="given" src="bad.tdn" data-tadan-fallback="fallback.jpg">'
        '<picture><source type="image/x-tadan" srcset="bad.tdn"><img id="own" src="fallback.jpg"></picture>'
        '<img id="none" src="bad.tdn">'
    )
    for name in ("given", "own"):
        one.wait_for_function(HAS, arg=[f"#{name}", WIDTH, "fallback.jpg"], timeout=WAIT)
    assert one.locator("#none").evaluate("e => e.naturalWidth") == 0


def test_canvases_take_the_place_of_images(page, pictures):
    one = page('<img id="i" class="c" src="a.tdn" alt="An astronaut" width="48">', 'data-mode="canvas"')
    samples, _ = shown(one, "canvas#i.c")
    assert_shows(samples, pictures["/a.tdn"])
    box = one.get_by_role("img", name="An astronaut").bounding_box()
    assert (box["width"], box["height"]) == (WIDTH / 2, HEIGHT / 2)


def test_a_service_worker_answers_for_whatever_takes_pictures(page, pictures, site):
    code = "navigator.serviceWorker.ready.then(() => navigator.serviceWorker.controller || new Promise(go => "
    code += "navigator.serviceWorker.addEventListener('controllerchange', go))).then(() => true)"
    site.files["/tadan-polyfill.js"] = site.files[f"/tadan/{BUILT[0]}"]
    for name in BUILT[1:]:
        site.files[f"/{name}"] = site.files[f"/tadan/{name}"]
    one = page("", 'data-service-worker="/tadan-polyfill.js"')
    assert one.evaluate(code)
    one.goto(f"{site.base}/page.html")
    load = "async url => { const i = new Image(); i.src = url; await i.decode(); return i.naturalWidth; }"
    assert one.evaluate(load, "b.tdn") == 2 * WIDTH


def test_header_stages_regions_and_previews(page, pictures, site):
    one = page("", "data-manual")
    info = one.evaluate("Tadan.inspect('b.tdn')")
    assert (info["width"], info["height"], info["quality"]) == (2 * WIDTH, 2 * HEIGHT, 80)
    assert not [path for path in site.asked if path.startswith(("/weights", "/tadan/tadan.wasm"))]
    code = """async (options) => {
        const { data, width, height } = await new Tadan.Decoder(Tadan.options).decode("b.tdn", options);
        return { width, height, data: btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join("")) };
    }"""
    for options in ({"region": [40, 30, 70, 50]}, {"stages": 0}, {"stages": 1}, {"stages": 99}):
        found = one.evaluate(code, options)
        region = options.get("region")
        wanted = tadan.Codec().decode(pictures["/b.tdn"], region=region, stages=options.get("stages")).convert("RGB")
        samples = np.frombuffer(base64.b64decode(found["data"]), np.uint8).reshape(found["height"], found["width"], 4)
        assert np.abs(samples[..., :3].astype(np.int16) - np.asarray(wanted, np.int16)).max() <= 1, options
    slow = """async () => {
        const bytes = new Uint8Array(await (await fetch("b.tdn")).arrayBuffer());
        const previews = [];
        const stream = new ReadableStream({ async start(control) {
            const step = Math.ceil(bytes.length / 12);
            for (let at = 0; at < bytes.length; at += step) {
                control.enqueue(bytes.subarray(at, at + step));
                const before = previews.length; // time for a preview, if there is enough for one
                for (let i = 0; i < 20 && previews.length === before; i++)
                    await new Promise((go) => setTimeout(go, 50));
            }
            control.close();
        } });
        const onPreview = (picture, progress) => previews.push([picture.width, progress.complete, progress.stages]);
        const decoder = new Tadan.Decoder(Tadan.options);
        await decoder.prepare((await decoder.inspect(bytes)).modelId);
        const { width } = await decoder.decode(stream, { onPreview });
        return { width, previews };
    }"""
    found = one.evaluate(slow)
    assert found["width"] == 2 * WIDTH
    stages = [complete for _, complete, _ in found["previews"]]
    assert len(stages) >= 2
    assert stages == sorted(stages)
    assert all(width == 2 * WIDTH for width, *_ in found["previews"])
