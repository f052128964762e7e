"""What scenarios ask: the library in this process, and a service that is started for the purpose."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from tadan.codec.codec import Codec
from tadan.errors import ToolFailed
from tadan_lab.measure.traffic import Ask
from tadan_lab.poc.plan import Plan, encode_fields

if TYPE_CHECKING:
    import httpx

_SAYS = re.compile(r"serves at (http://\S+?)/\s")
_PATIENCE = 120.0  # seconds until a service that does not answer is given up


@dataclass(frozen=True)
class Body:
    """A picture as it is asked for: RGB, the same as a PNG file, and encoded."""

    name: str
    image: Image.Image
    png: bytes
    coded: bytes

    @property
    def megapixels(self) -> float:
        """Millions of pixels."""
        return self.image.width * self.image.height / 1e6


def bodies(plan: Plan, sample: list[tuple[str, Image.Image]]) -> list[Body]:
    """Encode every picture of a sample."""
    codec, made = Codec(plan.model, threads=plan.threads), []
    for name, image in sample:
        file = io.BytesIO()
        image.save(file, "PNG", compress_level=1)
        made.append(Body(name, image, file.getvalue(), codec.encode(image, **encode_fields(plan))))
    return made


@dataclass(frozen=True)
class Service:
    """A running service: where it listens, and its process."""

    url: str
    process: subprocess.Popen[bytes]

    def workers(self) -> list[Any]:
        """Its processes that work on pictures, as psutil knows them: those that hold the model, by memory."""
        import psutil

        found = []
        for one in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                line = " ".join(one.cmdline())
                if "resource_tracker" not in line and one.children() == [] and one.status() != psutil.STATUS_ZOMBIE:
                    found.append(one)
        return found


@contextmanager
def running_service(plan: Plan, folder: Path, workers: int, store: bool = False) -> Iterator[Service]:
    """``tadan serve`` in a process of its own at a free port of this machine; it ends by SIGTERM, or is killed.

    Args:
        plan: names the model.
        folder: of its cache, its log and, if there is a ``store``, its pictures.
        workers: processes.
        store: whether it keeps pictures; they stay in the folder.

    Raises:
        ToolFailed: it does not start; the message holds what it said.
    """
    log = folder / f"service-{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "tadan", "serve", "--port", "0", "--workers", str(workers), "--queue", "1000"]
    command += ["--store", str(folder / "store") if store else "none", "--cache", str(folder / "cache")]
    command += [] if plan.model is None else ["--model", plan.model]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
    try:
        yield Service(_address(process, log), process)
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE)
    finally:
        end_group(process)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a session, and all that it began."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where a service listens, once it is ready."""
    import httpx

    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.poll() is None:
        said = _SAYS.search(log.read_text(errors="replace"))
        if said:
            with suppress(httpx.HTTPError):
                if httpx.get(f"{said[1]}/readyz", timeout=5).status_code == 200:
                    return said[1]
        time.sleep(0.05)
    raise ToolFailed(
        f"the service did not start: {log.read_text(errors='replace').strip()[-300:] or 'it said nothing'}"
    )


@asynccontextmanager
async def library(plan: Plan, samples: list[Body], workers: int) -> AsyncIterator[dict[str, Ask]]:
    """Encode and decode with the library: so many threads of Python that share a codec of one thread for each call."""
    codec, fields = Codec(plan.model, threads=1), encode_fields(plan)
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(workers) as pool:

        async def encode(number: int) -> bool:
            await loop.run_in_executor(pool, lambda: codec.encode(samples[number].image, **fields))
            return True

        async def decode(number: int) -> bool:
            await loop.run_in_executor(pool, codec.decode, samples[number].coded)
            return True

        yield {"encode": encode, "decode": decode}


@asynccontextmanager
async def service(url: str, plan: Plan, samples: list[Body]) -> AsyncIterator[dict[str, Ask]]:
    """Encode (PNG in, .tdn out) and decode (.tdn in, JPEG out) by requests; a good answer has status 200 and a body."""
    async with open_client() as client:

        async def encode(number: int) -> bool:
            return await _posted(client, encode_url(url, plan), samples[number].png)

        async def decode(number: int) -> bool:
            return await _posted(client, decode_url(url), samples[number].coded)

        yield {"encode": encode, "decode": decode}


def open_client() -> httpx.AsyncClient:
    """A client that waits long and opens as many connections as it needs."""
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    return httpx.AsyncClient(timeout=300, limits=limits)


def encode_url(url: str, plan: Plan) -> str:
    """Where a picture becomes a .tdn file as the plan has it."""
    return f"{url}/encode?" + "&".join(f"{name}={value}" for name, value in encode_fields(plan).items())


def decode_url(url: str) -> str:
    """Where a .tdn file becomes a JPEG file."""
    return f"{url}/decode?format=jpeg"


async def _posted(client: httpx.AsyncClient, url: str, body: bytes) -> bool:
    import httpx

    try:
        answer = await client.post(url, content=body)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and bool(answer.content)
