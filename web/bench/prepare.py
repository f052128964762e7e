"""Files for ``npm run bench``: photographs of 0.4, 1 and 2 megapixels as .tdn, the weights, and g_s as an ONNX model.

``python web/bench/prepare.py PICTURE FOLDER``: the picture is scaled and cropped; any photograph does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import tadan
from tadan.models import load_model
from tadan.models.lite import find_lite

SIZES = {"0.4": (768, 512), "1": (1152, 864), "2": (1632, 1224)}


def main(picture: str, folder: Path) -> None:
    """Write all files."""
    folder.mkdir(parents=True, exist_ok=True)
    model = load_model()
    with Image.open(picture) as image:
        original = image.convert("RGB")
    codec = tadan.Codec()
    for name, (width, height) in SIZES.items():
        scale = max(width / original.width, height / original.height)
        sides = (round(original.width * scale), round(original.height * scale))
        scaled = original.resize(sides, Image.Resampling.LANCZOS).crop((0, 0, width, height))
        (folder / f"{name}.tdn").write_bytes(codec.encode(scaled, quality=60))
    (folder / "weights.safetensors").write_bytes(model.decoder_only().to_bytes())
    (folder / "weights-lite.safetensors").write_bytes(find_lite(model).with_latents_of(model).to_bytes())
    (folder / "g_s.onnx").write_bytes(model.graph("g_s"))
    gains = np.ascontiguousarray(model.block_gains("g_s", 60), np.float32)
    (folder / "gains.f32").write_bytes(gains.tobytes())
    facts = {"latent": model.config.latent, "gains": list(gains.shape), "sizes": SIZES}
    (folder / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
