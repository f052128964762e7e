"""A service inside the process of the tests, with its workers outside."""

import io

from fastapi.testclient import TestClient
from PIL import Image
from skimage import data

from tadan.serve.app import create_app
from tadan.serve.settings import Settings

TOKEN = "a-token-of-the-tests"


def photograph(width=120, height=88, mode="RGB"):
    image = Image.fromarray(data.astronaut()[40 : 40 + height, 150 : 150 + width])
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def picture_bytes(image=None, form="PNG", **options):
    file = io.BytesIO()
    (image or photograph()).save(file, form, **options)
    return file.getvalue()


def client(folder, **chosen):
    """A client whose service runs while it is entered."""
    given = {"store": str(folder / "store"), "cache": folder / "cache", "workers": 1, **chosen}
    return TestClient(create_app(Settings(**given)), raise_server_exceptions=False)


def opened(response):
    return Image.open(io.BytesIO(response.content))
