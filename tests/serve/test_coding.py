"""Bodies in, answers out: the same bytes as the library gives, typed errors, tokens and limits."""

import io

import numpy as np
import pytest
from PIL import Image

import tadan
from serve_examples import TOKEN, client, opened, photograph, picture_bytes


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with client(tmp_path_factory.mktemp("service")) as one:
        yield one


@pytest.fixture(scope="module")
def coded():
    return tadan.encode(photograph(), quality=50, effort=0, fallback=False)


def test_a_picture_goes_there_and_back(service):
    answer = service.post("/encode?quality=40&effort=0", content=picture_bytes())
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/x-tadan"
    assert answer.content == tadan.encode(photograph(), quality=40, effort=0)
    assert answer.headers["tadan-width"] == "120"
    back = service.post("/decode", content=answer.content)
    assert back.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(np.asarray(opened(back)), np.asarray(tadan.decode(answer.content)))


@pytest.mark.parametrize("form", ["jpeg", "webp", "avif", "png"])
def test_every_format_is_what_it_says(service, coded, form):
    for path, body in (("decode", coded), ("transcode", picture_bytes())):
        answer = service.post(f"/{path}?format={form}&w=60", content=body)
        image = opened(answer)
        assert image.format.lower() == form
        assert answer.headers["content-type"] == f"image/{form}"
        assert image.size == (60, 44)


def test_parts_previews_and_facts(service, coded):
    part = opened(service.post("/decode?region=10,20,30,40", content=coded))
    np.testing.assert_array_equal(np.asarray(part), np.asarray(tadan.decode(coded, region=(10, 20, 30, 40))))
    preview = opened(service.post("/decode?stages=0", content=coded))
    np.testing.assert_array_equal(np.asarray(preview), np.asarray(tadan.decode(coded, stages=0)))
    assert service.post("/info", content=coded).json() == tadan.inspect(coded).to_dict()
    assert service.post("/verify", content=coded).json()["intact"] is True


def test_sizes_that_are_asked_for_are_kept(service):
    body = picture_bytes()
    for form in ("jpeg", "webp", "avif"):
        answer = service.post(f"/transcode?format={form}&target_size=1500", content=body)
        assert 0 < len(answer.content) <= 1500
    assert len(service.post("/encode?effort=0&target_size=900", content=body).content) <= 900
    assert service.post("/transcode?format=jpeg&target_size=20", content=body).status_code == 422


def test_alpha_becomes_white_where_a_format_has_none(service):
    image = photograph(mode="RGBA")
    image.putalpha(0)
    shown = opened(service.post("/transcode?format=jpeg&quality=100", content=picture_bytes(image)))
    assert np.asarray(shown).min() > 250
    assert opened(service.post("/transcode?format=png", content=picture_bytes(image))).mode == "RGBA"


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("/encode", b"no picture", 415, "UnreadableInput"),
        ("/encode", b"", 400, "EmptyBody"),
        ("/encode?quality=0", b"x", 400, "InvalidInput"),
        ("/encode?schedule=nonsense", None, 400, "InvalidInput"),
        ("/encode?target_size=900&target_score=50", None, 400, "InvalidInput"),
        ("/encode", picture_bytes()[:400], 415, "UnreadableInput"),
        ("/decode", b"no stream", 415, "NotOurFile"),
        ("/decode?format=bmp", b"x", 400, "InvalidInput"),
        ("/decode?region=0,0,0,5", b"x", 400, "InvalidInput"),
        ("/info", b"\x89TDN\r\n\x1a\n", 422, "Truncated"),
        ("/nothing", b"x", 404, "HTTPError"),
    ],
)
def test_errors_are_typed(service, path, body, status, kind):
    answer = service.post(path, content=picture_bytes() if body is None else body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"] == kind
    assert answer.json()["message"]
    assert answer.headers["x-request-id"]


def test_a_damaged_file_is_422_and_counted(service, coded):
    damaged = coded[:-9] + bytes([coded[-9] ^ 255]) + coded[-8:]
    assert service.post("/decode", content=damaged).status_code == 422
    assert service.post("/verify", content=damaged).json()["error"] == "Corrupt"
    assert service.post("/decode", content=coded[:-1]).json()["error"] == "Truncated"
    lines = service.get("/metrics").text.splitlines()
    [failures] = (line for line in lines if line.startswith("tadan_checksum_failures_total"))
    assert float(failures.split()[1]) >= 2


def test_health_and_metrics(service):
    assert service.get("/healthz").json()["status"] == "alive"
    assert service.get("/readyz").status_code == 200
    service.post("/encode?effort=0", content=picture_bytes())
    text = service.get("/metrics").text
    assert 'tadan_requests_total{route="/encode",status="200"}' in text
    assert "tadan_bytes_in_total" in text
    assert 'tadan_encoded_total{content="latents"}' in text


def test_tokens(tmp_path, coded):
    with client(tmp_path, tokens=(TOKEN,), public_reads=True) as service:
        good = {"Authorization": f"Bearer {TOKEN}"}
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
            answer = service.post("/info", content=coded, headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert service.put("/pictures/a", content=coded, headers=headers).status_code == 401
            assert service.get("/metrics", headers=headers).status_code == 401
        assert service.post("/info", content=coded, headers=good).status_code == 200
        assert service.put("/pictures/a", content=coded, headers=good).status_code == 201
        assert service.get("/pictures/a").status_code == 200
        assert service.delete("/pictures/a").status_code == 401
        assert service.get("/healthz").status_code == 200
        assert service.get("/").status_code == 200  # the page asks for the token


def test_bodies_have_a_limit(tmp_path):
    with client(tmp_path, max_body=2000, max_pixels=5000) as service:
        assert service.post("/encode", content=bytes(2001)).status_code == 413
        chunks = (bytes(500) for _ in range(9))  # without a stated length
        assert service.post("/encode", content=chunks).status_code == 413
        large = picture_bytes(Image.new("L", (100, 60)))
        assert len(large) < 2000
        for path in ("encode", "transcode"):
            answer = service.post(f"/{path}", content=large)
            assert (answer.status_code, answer.json()["error"]) == (413, "LimitExceeded")


def test_metadata_comes_along(service):
    exif = Image.Exif()
    exif[0x010E] = "a description"
    body = picture_bytes(form="JPEG", exif=exif.tobytes())
    coded = service.post("/encode?effort=0", content=body).content
    for form in ("jpeg", "webp", "png"):
        shown = opened(service.post(f"/decode?format={form}", content=coded))
        assert shown.getexif()[0x010E] == "a description"
    bare = service.post("/encode?effort=0&strip=true", content=body).content
    assert 0x010E not in opened(service.post("/decode", content=bare)).getexif()


def test_turned_pictures_stand_upright(service):
    """And what is said of their size is that of the answer."""
    exif = Image.Exif()
    exif[0x0112] = 6
    body = picture_bytes(form="JPEG", exif=exif.tobytes())
    for path in ("encode?effort=0", "transcode?format=webp"):
        answer = service.post(f"/{path}", content=body)
        assert (answer.headers["tadan-width"], answer.headers["tadan-height"]) == ("88", "120")
    assert opened(answer).size == (88, 120)


def test_nothing_of_a_browser_from_elsewhere_unless_it_is_allowed(tmp_path, service, coded):
    asked = {"Origin": "https://elsewhere.example"}
    assert "access-control-allow-origin" not in service.post("/info", content=coded, headers=asked).headers
    with client(tmp_path, origins=("https://elsewhere.example",)) as open_one:
        answer = open_one.post("/info", content=coded, headers=asked)
        assert answer.headers["access-control-allow-origin"] == "https://elsewhere.example"


def test_pages_may_load_nothing_from_elsewhere(service):
    answer = service.get("/")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for name in ("page.js", "page.css"):
        assert service.get(f"/{name}").status_code == 200
    again = service.get("/", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    assert io.BytesIO(again.content).getvalue() == b""
