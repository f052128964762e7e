"""What a profile says is what the service does where a request says nothing."""

import pytest

from cli_examples import fails
from tadan.codec.profile import MachineUse, Profile
from tadan.errors import InvalidInput
from tadan.serve import app as serving
from tadan.serve.settings import Settings


class _EnoughSeen(InvalidInput):
    pass


@pytest.fixture
def settings_of(tmp_path, monkeypatch):
    """The settings that a command line leads to; nothing is started."""
    seen = []

    def note(settings):
        seen.append(settings)
        raise _EnoughSeen("enough seen")

    monkeypatch.setattr(serving, "create_app", note)
    profile = Profile(33, "2x2", 0, 128, machine=MachineUse(jobs=1, workers=3, threads=3, memory=600_000_000))
    profile.save(tmp_path / "p.toml")

    def run(*options):
        fails("serve", "--port", 0, "--profile", tmp_path / "p.toml", *options, message="enough seen")
        return seen[-1]

    return run


def test_a_profile_sets_workers_and_defaults_and_options_win(settings_of):
    own = settings_of()
    assert (own.workers, own.memory, own.model) == (3, 600_000_000, None)
    assert (own.quality, own.schedule, own.effort, own.tile) == (33, "2x2", 0, 128)
    typed = settings_of("--workers", 2, "--memory", "1G")
    assert (typed.workers, typed.memory, typed.quality) == (2, 10**9, 33)


def test_the_document_of_the_interface_tells_the_defaults(tmp_path):
    chosen = Settings(store=None, cache=tmp_path, quality=33, effort=0, schedule="2x2")
    paths = serving.create_app(chosen).openapi()["paths"]
    for route in (paths["/encode"]["post"], paths["/pictures/{key}"]["put"]):
        defaults = {one["name"]: one["schema"].get("default") for one in route["parameters"]}
        assert (defaults["quality"], defaults["effort"]) == (33, 0)
        assert defaults.get("schedule", "2x2") == "2x2"


@pytest.mark.parametrize("wrong", [{"quality": 101}, {"effort": 10}, {"schedule": "none-such"}, {"tile": 100}])
def test_defaults_that_cannot_be(wrong):
    with pytest.raises(InvalidInput):
        Settings(**wrong)
