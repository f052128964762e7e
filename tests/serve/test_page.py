"""The page in a real browser: it does what it says, is for everybody, and keeps to its own origin and policy."""

import base64
import importlib
import io
import json
import os
import re
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image
from skimage import data

import tadan
from tadan.codec.info import inspect
from tadan.schedule import get_schedule

if "TADAN_TESTS_NO_SKIP" in os.environ:
    playwright = importlib.import_module("playwright.sync_api")
else:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
expect = playwright.expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TOKEN = "a-token-of-the-tests"
WAIT = 120_000  # milliseconds: a guard against waiting for ever, no measure of the page
WIDTH, HEIGHT = 200, 160
MAGIC = {"avif": b"ftypavif", "webp": b"WEBPVP8", "jpeg": b"\xff\xd8\xff", "original": b"\x89PNG"}
NAMES = {"avif": "AVIF", "webp": "WebP", "jpeg": "JPEG", "original": "Original"}


def photograph():
    return Image.fromarray(data.astronaut()).crop((120, 0, 120 + WIDTH, HEIGHT))


def as_file(image=None, form="PNG", name="astronaut.png", **options):
    """What a file input is given."""
    file = io.BytesIO()
    (image or photograph()).save(file, form, **options)
    return {"name": name, "mimeType": f"image/{form.lower()}", "buffer": file.getvalue()}


TEXT = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture at all\n" * 9}


class Visit:
    """A page with what happened in it."""

    def __init__(self, page, base):
        self.page, self.base = page, base
        self.errors, self.requests = [], []
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.add_init_script(
            "window.violations = [];"
            "document.addEventListener('securitypolicyviolation', e => violations.push(e.violatedDirective))"
        )
        self.answer = page.goto(f"{base}/")
        self.status = page.get_by_role("status")

    def choose(self, file=None, says="^Done"):
        self.page.set_input_files("#file", [file or as_file()])
        self.wait(says)

    def wait(self, says):
        expect(self.status).to_have_text(re.compile(says), timeout=WAIT)
        return self.status.text_content()

    def rows(self):
        """Cells of the table by the format."""
        rows = [row.locator("th, td").all_text_contents() for row in self.page.locator("#numbers tr").all()]
        return {name: cells for name, *cells in rows}

    def bytes_of(self, name):
        return int(self.rows()[name][0].replace(",", ""))

    def blob(self, selector):
        """Bytes behind the address of a picture or link."""
        code = """async ([selector]) => {
            const element = document.querySelector(selector);
            const bytes = new Uint8Array(await (await fetch(element.src ?? element.href)).arrayBuffer());
            return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
        }"""
        return base64.b64decode(self.page.evaluate(code, [selector]))

    def check(self, refused):
        """Nothing went wrong but what the service refused, and nobody else was asked."""
        known = re.compile(rf"Failed to load resource: .* status of ({refused}) ") if refused else re.compile("(?!)")
        assert [text for text in self.errors if not known.match(text)] == []
        assert self.page.evaluate("violations") == []
        assert [url for url in self.requests if not url.startswith((f"{self.base}/", "blob:", "data:"))] == []


@pytest.fixture
def visit(browser, service_at):
    """Opens the page; ``refused``: a status that the service will answer."""
    opened = []

    def go(base=service_at, refused=None, **chosen):
        context = browser.new_context(**chosen)
        opened.append((Visit(context.new_page(), base), refused))
        return opened[-1][0]

    yield go
    for one, refused in opened:
        one.check(refused)
        one.page.context.close()


def psnr(a, b):
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return 10 * np.log10(255**2 / np.mean(difference**2))


def test_choosing_a_file_compares_it(visit):
    one = visit()
    expect(one.page.locator("#result")).to_be_hidden()
    one.choose()
    expect(one.page.locator("#result")).to_be_visible()
    rows = one.rows()
    assert list(rows) == ["Original file", "Tadan", "AVIF", "WebP", "JPEG"]
    for name, (size, rate, *_) in rows.items():
        assert float(rate) == pytest.approx(8 * int(size.replace(",", "")) / (WIDTH * HEIGHT), abs=0.001), name
    for rival in ("AVIF", "WebP", "JPEG"):
        assert 0 < one.bytes_of(rival) <= one.bytes_of("Tadan")
    with one.page.expect_download() as download:
        one.page.click("#download")
    file = download.value.path().read_bytes()
    assert download.value.suggested_filename == "astronaut.tdn"
    assert len(file) == one.bytes_of("Tadan")
    decoded = tadan.decode(file)
    shown = np.asarray(Image.open(io.BytesIO(one.blob("#left"))), np.int16)
    assert np.abs(shown - np.asarray(decoded)).max() <= 1  # the browser decoded it itself
    assert not [url for url in one.requests if "/decode" in url]
    expect(one.page.locator("#where")).to_have_text("in this browser")
    assert float(rows["Tadan"][2]) == pytest.approx(psnr(decoded, photograph()), abs=0.01)


def test_a_browser_without_weights_asks_the_service(visit):
    one = visit(refused=404)
    one.page.route("**/weights/*", lambda route: route.fulfill(status=404, body="none"))
    one.choose()
    assert [url for url in one.requests if "/decode" in url]
    expect(one.page.locator("#where")).to_have_text("by the service")
    assert len(one.rows()) == 5


def test_dropping_a_file_compares_it(visit):
    one = visit()
    code = """([name, type, text]) => {
        const carried = new DataTransfer();
        carried.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name, { type }));
        return carried;
    }"""
    file = as_file()
    content = base64.b64encode(file["buffer"]).decode()
    carried = one.page.evaluate_handle(code, [file["name"], file["mimeType"], content])
    one.page.dispatch_event("#drop", "dragover", {"dataTransfer": carried})
    expect(one.page.locator("#drop")).to_have_class(re.compile("over-it"))
    one.page.dispatch_event("#drop", "drop", {"dataTransfer": carried})
    one.wait("^Done")
    expect(one.page.locator("#drop")).not_to_have_class(re.compile("over-it"))
    expect(one.page.locator("#chosen")).to_contain_text("astronaut.png")
    assert len(one.rows()) == 5


def test_the_wipe_follows_keys_and_pointer(visit):
    one = visit()
    one.choose()
    wipe, over = one.page.locator("#wipe"), one.page.locator("#over")
    wipe.focus()
    for key, place in (("ArrowRight", 51), ("ArrowRight", 52), ("Home", 0), ("End", 100), ("ArrowLeft", 99)):
        wipe.press(key)
        expect(wipe).to_have_value(str(place))
        right = "0px" if place == 100 else f"{100 - place}%"
        assert over.evaluate("e => getComputedStyle(e).clipPath").split()[1] in (right, f"{100 - place}%")
        assert one.page.locator("#line").evaluate("e => e.style.left") == f"{place}%"
        assert one.page.locator("#left-name").is_visible() == (place > 0)
        assert one.page.locator("#right-name").is_visible() == (place < 100)
    box = one.page.locator("#stage").bounding_box()
    one.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    one.page.mouse.down()
    one.page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    one.page.mouse.up()
    expect(wipe).to_have_value("25")


def test_the_chosen_rival_is_on_the_right(visit):
    one = visit()
    one.choose()
    for value, magic in MAGIC.items():
        one.page.select_option("#rival", value)
        expect(one.page.locator("#right-name")).to_have_text(NAMES[value])
        assert magic in one.blob("#right")[:16]
        one.page.locator("#right").evaluate("image => image.decode()")


def test_a_rival_that_fails_costs_its_row_only(visit):
    one = visit(refused=422)
    answer = {"error": "TargetMissed", "message": "no quality is as small as that"}
    one.page.route("**/transcode?format=avif*", lambda route: route.fulfill(status=422, json=answer))
    one.choose()
    rows = one.rows()
    assert rows["AVIF"] == [answer["message"]]
    assert len(rows) == 5
    expect(one.page.locator("#right-name")).to_have_text("Original")
    assert MAGIC["original"] in one.blob("#right")[:16]


def test_bytes_are_no_more_than_asked_for(visit):
    one = visit(refused=422)
    one.choose()
    before = one.bytes_of("Tadan")
    size = one.page.locator("#size")
    size.fill(str(before / 2000))
    size.press("Enter")
    expect(one.page.locator("#quality-shown")).to_have_text("as the bytes allow")
    one.wait("^Encoding")
    one.wait("^Done")
    assert one.bytes_of("Tadan") <= before / 2
    size.fill("0")
    assert one.wait("^Kilobytes")
    expect(one.status).to_have_class("failed")
    size.fill("0.1")  # less than any file of the format has
    one.wait("^(?!Kilobytes|Encoding)")
    expect(one.status).to_have_class("failed")
    one.page.locator("#quality").press("ArrowRight")  # quality counts again, and the size is emptied
    one.wait("^Done")
    expect(size).to_have_value("")


WATCH = """() => {
    window.told = [];
    const status = document.getElementById("status");
    new MutationObserver(() => told.push(status.textContent)).observe(status, { childList: true });
}"""


def test_stages_are_shown_one_after_the_other(visit):
    one = visit()
    one.choose()
    full, file = one.blob("#left"), one.blob("#download")
    one.page.evaluate(WATCH)
    one.page.locator("#wipe").press("Home")
    one.page.click("#play")
    expect(one.page.locator("#play")).to_be_disabled()
    one.wait("^Before the first stage")
    assert one.blob("#left") != full
    one.wait("^All stages")
    count = get_schedule(inspect(file).schedule).stage_count(-(-HEIGHT // 16), -(-WIDTH // 16))
    first, *between, last = one.page.evaluate("told")
    assert first.startswith("Before the first stage")
    assert between == [f"After stage {stage}" for stage in range(1, count + 1)]
    assert last == "All stages are there."
    expect(one.page.locator("#play")).to_be_enabled()
    expect(one.page.locator("#wipe")).to_have_value("0")
    expect(one.page.locator("#left-name")).to_have_text("Tadan")
    assert one.blob("#left") == full


def test_another_photograph_ends_the_stages_of_the_last(visit):
    one = visit()
    one.choose()
    one.page.click("#play")
    one.wait("^Before the first stage")
    one.page.evaluate(WATCH)
    one.choose(as_file(photograph().rotate(180)))
    assert not [text for text in one.page.evaluate("told") if "stage" in text]
    expect(one.page.locator("#left-name")).to_have_text("Tadan")
    expect(one.page.locator("#play")).to_be_enabled()
    shown = Image.open(io.BytesIO(one.blob("#left")))
    assert psnr(shown, photograph().rotate(180)) > 25


def test_what_the_service_refuses_is_told_in_its_words(visit, service_at):
    request = urllib.request.Request(f"{service_at}/encode", data=TEXT["buffer"])
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    one = visit(refused=refused.value.code)
    one.choose()
    one.choose(TEXT, "picture")
    expect(one.status).to_have_text(json.load(refused.value)["message"])
    expect(one.status).to_have_class("failed")
    expect(one.page.locator("#result")).to_be_hidden()
    one.choose()
    expect(one.status).not_to_have_class("failed")
    expect(one.page.locator("#result")).to_be_visible()


def test_a_service_that_ended_is_told(visit):
    one = visit()
    one.page.route("**/encode*", lambda route: route.abort())
    one.page.set_input_files("#file", [as_file()])
    one.wait("cannot be reached")
    expect(one.status).to_have_class("failed")
    one.errors = [text for text in one.errors if "ERR_FAILED" not in text]


def test_a_token_is_asked_for(visit, start_service):
    one = visit(start_service(environment={"TADAN_TOKENS": TOKEN}), refused=401)
    token = one.page.locator("#token")
    expect(token).to_be_hidden()
    one.choose(says="asks for a token")
    expect(one.status).to_have_class("failed")
    expect(token).to_be_focused()
    one.page.keyboard.type(TOKEN[::-1])
    one.page.keyboard.press("Enter")
    one.wait("does not know this token")
    token.fill(TOKEN)
    one.page.get_by_role("button", name="Use it").click()
    one.wait("^Done")
    assert len(one.rows()) == 5
    assert not one.page.evaluate("document.cookie + JSON.stringify({...localStorage, ...sessionStorage})").count(TOKEN)


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned by a quarter
    return as_file(form="JPEG", name="turned.jpg", quality=95, exif=exif)


def see_through():
    image = photograph()
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return as_file(image)


UNUSUAL = {
    "turned": rotated,
    "see-through": see_through,
    "grey": lambda: as_file(photograph().convert("L")),
    "no format of browsers": lambda: as_file(form="TIFF", name="astronaut.tif"),
    "one pixel": lambda: as_file(photograph().resize((1, 1))),
    "letters of the world": lambda: as_file(name="多段 ä&<b>.png"),
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_unusual_pictures(visit, kind):
    one = visit(refused=422 if kind == "one pixel" else None)  # the least AVIF is larger than one pixel of Tadan
    one.choose(UNUSUAL[kind]())
    rows = one.rows()
    assert len(rows) == 5
    sizes = "document.getElementById('left').decode().then(() => document.getElementById('right').decode())"
    sizes += ".then(() => ['left', 'right'].map(id => document.getElementById(id)))"
    sizes += ".then(found => found.map(image => [image.naturalWidth, image.naturalHeight]))"
    one.page.select_option("#rival", "original")
    left, right = one.page.evaluate(sizes)
    assert left == right
    if kind != "one pixel":  # hundreds of bytes a pixel are no photograph
        assert 25 < float(rows["Tadan"][2]) < 60
        assert all(20 < float(rows[rival][2]) < 60 for rival in ("AVIF", "WebP", "JPEG")), rows


def test_magnified_pictures_move_by_keys_and_pointer(visit):
    one = visit()
    one.choose()
    stage, box = one.page.locator("#stage"), one.page.locator("#stage").bounding_box()

    def place():
        return [float(stage.evaluate(f"e => e.style.getPropertyValue('--{name}')")) for name in ("scale", "x", "y")]

    one.page.check("#magnify")
    scale, x, y = place()
    assert scale >= 2
    assert (x, y) == pytest.approx(((1 - scale) / 2, (1 - scale) / 2))  # the middle stays where it is
    stage.press("ArrowRight")
    assert place()[1] < x
    for _ in range(40):
        stage.press("ArrowLeft")
        stage.press("ArrowUp")
    assert place()[1:] == [0, 0]  # pictures fill the stage, however far they are moved
    one.page.mouse.move(box["x"] + 90, box["y"] + 90)
    one.page.mouse.down()
    one.page.mouse.move(box["x"] + 60, box["y"] + 70)
    one.page.mouse.up()
    assert place()[1] < 0
    expect(one.page.locator("#wipe")).to_have_value("50")
    one.page.uncheck("#magnify")
    assert place() == [1, 0, 0]


@pytest.mark.parametrize("width", [320, 390])
def test_phones_need_no_scrolling_to_the_side(visit, width):
    one = visit(viewport={"width": width, "height": 844}, device_scale_factor=3, has_touch=True, is_mobile=True)
    aside = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert one.page.evaluate(aside) <= 0
    one.choose(as_file(name=f"{'a long name without spaces'.replace(' ', '_') * 5}.png"))
    one.page.locator("summary").click()
    assert one.page.evaluate(aside) <= 0
    assert one.page.evaluate("innerWidth") == width


def test_every_control_has_a_name_and_every_picture_words(visit):
    one = visit()
    one.choose()
    nameless = """[...document.querySelectorAll("input, select, textarea, button, a, [tabindex]")].filter((element) => {
        const labels = [...(element.labels ?? [])].map((label) => label.textContent).join("");
        const words = element.matches("input, select, textarea") ? labels : element.textContent;
        return !(element.ariaLabel || words.trim());
    }).map((element) => element.outerHTML)"""
    assert one.page.evaluate(nameless) == []
    assert one.page.evaluate("[...document.images].filter(image => !image.alt).length") == 0
    assert one.page.evaluate("document.documentElement.lang") == "en"
    one.page.get_by_role("region", name="Comparison").get_by_role("table", name="The numbers").wait_for()


def test_tab_reaches_everything_and_shows_where_it_is(visit):
    one = visit()
    one.choose()
    one.page.check("#magnify")
    one.page.evaluate("document.activeElement.blur(); document.getElementById('access').open = true")
    wanted = one.page.evaluate(
        "[...document.querySelectorAll('input, select, button, a, summary, [tabindex=\"0\"]')]"
        ".map((element, index) => (element.dataset.place = index))"
    )
    reached = []
    for _ in range(2 * len(wanted)):
        one.page.keyboard.press("Tab")
        place, outlined = one.page.evaluate("""() => {
            const element = document.activeElement;
            const shown = element.id === "file" ? document.getElementById("drop") : element;
            return [Number(element.dataset.place ?? -1), getComputedStyle(shown).outlineStyle !== "none"];
        }""")
        assert outlined or place < 0, place
        reached.append(place)
    assert set(reached) >= set(wanted)
    forwards = reached[reached.index(0) :][: len(wanted)]
    assert forwards == wanted  # the order of the page is the order of the keys


# Colours of text and of what lies below it, as sRGB with alpha, by the words that they stand for.
COLOURS = """() => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const rgba = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const below = (element) => {
        const layers = [];
        for (let one = element; one; one = one.parentElement) layers.push(rgba(getComputedStyle(one).backgroundColor));
        return layers;
    };
    const found = [];
    for (const element of document.querySelectorAll("body *")) {
        if (!element.checkVisibility()) continue;
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (own) found.push([element.textContent.trim(), rgba(getComputedStyle(element).color), below(element)]);
        const hint = getComputedStyle(element, "::placeholder");
        if (element.placeholder) found.push([element.placeholder, rgba(hint.color), below(element)]);
    }
    return found;
}"""


def contrast(colour, layers):
    """The ratio of WCAG 2.2; below the last layer all is white, the worst for white letters over a picture."""
    under = np.full(3, 255.0)
    for *rgb, alpha in reversed(layers):
        under += (np.array(rgb) - under) * alpha / 255
    over = under + (np.array(colour[:3]) - under) * colour[3] / 255
    lights = []
    for shade in (under / 255, over / 255):
        linear = np.where(shade <= 0.04045, shade / 12.92, ((shade + 0.055) / 1.055) ** 2.4)
        lights.append(linear @ [0.2126, 0.7152, 0.0722])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(visit, scheme):
    one = visit(refused=415, color_scheme=scheme)
    one.page.evaluate("document.getElementById('access').open = true")

    def weak():
        texts = one.page.evaluate(COLOURS)
        assert len(texts) > 10
        return {text: contrast(colour, layers) for text, colour, layers in texts if contrast(colour, layers) < 4.5}

    one.choose(TEXT, "picture")
    assert weak() == {}
    one.choose()
    assert weak() == {}
    dark = one.page.evaluate(COLOURS)[0][2][-2][0] < 128  # the body below the title
    assert dark == (scheme == "dark")


def test_the_policy_is_strict_and_in_force(visit):
    one = visit()
    policy = dict(part.split(" ", 1) for part in one.answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    for kind in ("script-src", "style-src", "connect-src"):
        assert not re.search(r"'unsafe-|[*]|http|data:", policy[kind]), kind
    breaches = one.page.evaluate("""async () => {
        const script = Object.assign(document.createElement("script"), { textContent: "window.inline = true" });
        document.body.append(script);
        document.body.setAttribute("style", "color: red");
        await fetch("http://127.0.0.1:9/").catch(() => {});
        await new Promise((go) => setTimeout(go));
        return [window.inline ?? false, violations.splice(0)];
    }""")
    assert breaches == [False, ["script-src-elem", "style-src-attr", "connect-src"]]
    one.errors.clear()
    one.requests.clear()
