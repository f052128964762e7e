"""Ray as the engine: nodes that die, and the same rules as on one machine."""

import random
from functools import partial

import pytest

import tadan
from batch_examples import Batch, needs_package, pictures, recipe
from cli_examples import fails
from tadan.batch.crew import Bounds
from tadan.batch.unit import Job

pytestmark = [needs_package("ray"), pytest.mark.slow]


@pytest.fixture(scope="module")
def nodes():
    from tadan_lab.measure.kills import Nodes

    cluster = Nodes(2)
    yield cluster
    cluster.close()


def engine_of(batch, nodes, naming="hash", block=2):
    from tadan.batch.on_ray import Cluster, ray_outcomes

    job = Job(batch.destination, recipe(), naming, retries=0)
    return partial(ray_outcomes, job, Bounds(120, 2**29), Cluster(nodes.address, 2, 700 * 2**20, block))


def test_a_node_dies_and_every_output_is_there(tmp_path, nodes):
    source = pictures(tmp_path / "source", 16)
    (source / "bad.png").write_bytes(b"nonsense")
    batch = Batch(source, tmp_path / "out", naming="mirror")
    work = engine_of(batch, nodes, "mirror")
    killed = []

    def engine(entries, stop):
        for one in work(entries, stop):
            if not killed:
                killed.append(nodes.kill(random.Random(1)))
                nodes.refill()
            yield one

    states = batch.states(engine=engine)
    assert states["failed"] == 1
    assert states["done"] + states.get("skipped", 0) == 16
    made = [path for path in (tmp_path / "out").rglob("*.tdn")]
    assert len(made) == 16
    for path in made:
        tadan.Codec(threads=1).verify(path)
    assert batch.states(engine=engine) == {}


def test_stopping_leaves_the_rest_for_the_next_run(tmp_path, nodes):
    batch = Batch(pictures(tmp_path / "source", 8), tmp_path / "out")
    work = engine_of(batch, nodes, block=1)

    def engine(entries, stop):
        for one in work(entries, stop):
            batch.run.stop("enough")
            yield one

    assert 1 <= batch(engine=engine).worked < 8
    batch(engine=work)
    assert batch.run.tally.worked + batch.run.tally.unchanged == 8


def test_no_cluster_answers(tmp_path):
    source = pictures(tmp_path / "source", 1)
    fails("batch", source, tmp_path / "out", "--engine", "ray", "--address", "nonsense", message="--address")
    fails("batch", source, tmp_path / "out", "--engine", "ray", "--address", "127.0.0.1:1", message="no Ray cluster")
    fails("batch", source, tmp_path / "out", "--engine", "cart", message="local or ray")
