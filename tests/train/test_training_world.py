"""Two processes that train one model are one process with twice the pictures."""

import json
import socket
from dataclasses import replace

import pytest
import torch
from torch import multiprocessing

from tadan.errors import InvalidInput
from tadan.train import start as beginning
from tadan.train.checkpoint import load_weights
from tadan.train.device import World
from training_examples import RECIPE, one_rank, trainer, without_noise, write_pictures

STEPS = 4
TWO = replace(RECIPE, steps=STEPS, batch=2, late_batch=1, save_every=3, log_every=1)
POISONED = {2}  # on one rank only: all must skip the step


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.slow
def test_two_ranks_take_the_step_of_one_with_both_batches(tmp_path, monkeypatch):
    data, run, port = write_pictures(tmp_path / "data"), tmp_path / "two", free_port()
    run.mkdir()
    monkeypatch.setattr(beginning, "SAMPLES", 5 * 64**2)
    monkeypatch.setattr(torch, "rand_like", without_noise)
    for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "")  # one_rank sets them for this process, too: put back at the end
    other = multiprocessing.get_context("spawn").Process(target=one_rank, args=(1, port, run, data, TWO, POISONED))
    other.start()
    one_rank(0, port, run, data, TWO, set())
    other.join(60)
    assert other.exitcode == 0

    ranks = [torch.load(run / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    assert all(torch.equal(value, ranks[1][name]) for name, value in ranks[0].items())  # bit for bit
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, STEPS + 1))  # rank 0 alone writes
    assert rows[-2]["skipped"] == 1

    monkeypatch.setenv("WORLD_SIZE", "1")
    single = trainer(tmp_path / "one", data, replace(TWO, batch=4, late_batch=2))
    start = {name: value.clone() for name, value in single.model.state_dict().items()}
    for step in range(STEPS):
        single.step = step
        if step not in POISONED:
            single.one_step()
    moved = difference = 0.0
    for name, value in single.model.state_dict().items():
        moved += float((value - start[name]).square().sum())
        difference += float((value - ranks[0][name]).square().sum())
    assert difference < 1e-4 * moved
    average = load_weights(run / "ema.safetensors")
    assert all(torch.allclose(value, average[name], atol=1e-3) for name, value in single.average.items())


def test_one_process_averages_nothing():
    parameter = torch.nn.Parameter(torch.zeros(2))
    facts = torch.tensor([1.0])
    assert World().average([parameter], facts) is facts
    assert parameter.grad is None
    World().wait()
    World().leave()


def test_a_missing_transport_is_named(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.distributed, "is_backend_available", lambda _: False)
    with pytest.raises(InvalidInput, match="no gloo"):
        World.join(torch.device("cpu"))
