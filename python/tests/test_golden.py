"""Files of every released version are read for ever, and say what they said."""

import pickle
from pathlib import Path

import pytest

import aipl

GOLDEN = Path(__file__).parent / "golden"
VERSIONS = sorted(folder.name for folder in GOLDEN.iterdir())
BUYERS = {"text": ["u2", "u4"], "integer": [1, 7]}


def test_there_are_versions():
    assert "v0.1" in VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", BUYERS)
def test_audiences_and_universes(version, kind):
    folder = GOLDEN / version
    data = (folder / f"{kind}.audience").read_bytes()
    assert len(aipl.Audience.from_bytes(data)) == len(BUYERS[kind])
    pickled = pickle.loads((folder / f"{kind}.pickle").read_bytes())
    assert pickled.ids() == BUYERS[kind]
    assert len(pickled.universe) == 5
    assert aipl.Audience.from_bytes(data, pickled.universe).ids() == BUYERS[kind]
    # Of one version, the bytes of a universe alone are those inside the pickle.
    assert (folder / f"{kind}.universe").read_bytes() in (folder / f"{kind}.pickle").read_bytes()


@pytest.mark.parametrize("version", VERSIONS)
def test_identity_maps(version):
    people = aipl.IdentityMap.from_parquet(GOLDEN / version / "people.parquet")
    person = 1876071861773089791
    expected = [("phone", "13912345679"), ("member", "m1"), ("device", "d1"), ("device", "d2"), ("device", "d3")]
    assert len(people) == 1
    assert people.lookup("phone", "13912345679") == person
    assert people.person(person) == expected
    assert [kind.name for kind in people.id_types] == ["phone", "member", "device"]


@pytest.mark.parametrize("version", VERSIONS)
def test_models(version):
    folder = GOLDEN / version
    of_json = aipl.StageModel.from_json((folder / "o5a.json").read_text())
    of_toml = aipl.StageModel.from_toml(folder / "o5a.toml")
    assert of_json == of_toml
    assert of_json.id == "o5a"
