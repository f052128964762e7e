#!/bin/sh
# The golden streams on an emulated 64-bit ARM processor: a Debian of that architecture in a folder, the wheels that
# pip would install there, and qemu-user. Run as root on Debian or Ubuntu, from the project's root:
#
#   apt-get install -y mmdebstrap qemu-user-static gcc-aarch64-linux-gnu libc6-dev-arm64-cross
#   sh tools/arm64_selftest.sh FOLDER [--latents]
#
# FOLDER is made (300 MB) and kept for the next run. ONNX Runtime is left out, as it crashes under emulation: pixels come
# from the core, which the cross compiler builds. Without that compiler add --latents: numpy has no pixels.
set -eu
folder=$1
shift
python=${PYTHON:-python3}
if [ ! -e "$folder/usr/bin/python3.11" ]; then
    mmdebstrap --variant=extract --arch=arm64 --include=python3-minimal,libpython3.11-stdlib,libstdc++6 bookworm "$folder"
fi
site=$folder/opt/site
rm -rf "$site"
packages=$($python - <<'PY'
import tomllib
with open("pyproject.toml", "rb") as file:
    names = tomllib.load(file)["project"]["dependencies"]
left_out = {"constriction", "onnxruntime"}
print("\n".join(name for name in names if not name.startswith(tuple(left_out))))
PY
)
echo "$packages" | $python -m pip install --quiet --target "$site" --only-binary=:all: --python-version 3.11 \
    --implementation cp --platform manylinux2014_aarch64 --platform manylinux_2_27_aarch64 \
    --platform manylinux_2_28_aarch64 -r /dev/stdin
cp -r src/tadan "$site/"
rm -f "$site"/tadan/_core*
if command -v aarch64-linux-gnu-gcc >/dev/null; then # Debian: gcc-aarch64-linux-gnu
    aarch64-linux-gnu-gcc -std=c99 -O3 -shared -fPIC -o "$site/tadan/_core.abi3.so" native/tadan_*.c -lpthread
fi
QEMU_LD_PREFIX=$folder PYTHONPATH=$site OPENBLAS_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1 \
    qemu-aarch64-static "$folder/usr/bin/python3.11" -c "import sys, tadan.cli.main as m; sys.argv[0] = 'tadan'; m.run()" \
    selftest --threads 1 "$@"
