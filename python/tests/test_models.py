"""Stage models: presets, forms, refusals."""

from __future__ import annotations

import copy
import json
import pickle
import tomllib
from pathlib import Path

import aipl
import pytest

PRESETS = ["databank", "databank_540", "uni_marketing", "quick_audience", "o5a", "o5a_auto", "jd4a", "deeplink", "aips"]


def model(**changes: object) -> dict[str, object]:
    stages = [
        {"code": "A", "name": "aware", "any": [{"behaviors": ["view"], "days": 15}]},
        {"code": "B", "name": "buyer", "all": [{"behaviors": ["purchase"]}, {"not": {"state": "member"}}]},
    ]
    return {"id": "m", "version": 1, "scope": "brand", "stage": stages} | changes


def test_presets_are_listed() -> None:
    assert sorted(aipl.StageModel.presets()) == sorted(PRESETS)
    with pytest.raises(aipl.ModelError, match='did you mean "databank"'):
        aipl.StageModel.preset("databnk")
    with pytest.raises(TypeError, match="name: a str is needed, not int"):
        aipl.StageModel.preset(5)


@pytest.mark.parametrize("name", PRESETS)
def test_every_form_round_trips(name: str, tmp_path: Path) -> None:
    preset = aipl.StageModel.preset(name)
    assert preset.id == name and preset.version >= 1 and len(preset.stages) >= 2
    assert aipl.StageModel.from_toml(preset.to_toml()) == preset
    assert aipl.StageModel.from_json(preset.to_json()) == preset
    assert aipl.StageModel.from_dict(preset.to_dict()) == preset
    assert tomllib.loads(preset.to_toml()) == preset.to_dict() == json.loads(preset.to_json())
    path = tmp_path / "model.toml"
    path.write_text(preset.to_toml(), encoding="utf-8")
    assert aipl.StageModel.from_toml(path) == preset
    assert pickle.loads(pickle.dumps(preset)) == preset == copy.deepcopy(preset)
    assert hash(preset) == hash(aipl.StageModel.preset(name))
    text = preset.describe()
    for stage in preset.to_dict()["stage"]:
        assert stage["name"] in text


def test_unsourced_values_are_flagged() -> None:
    assert "[unsourced]" in aipl.StageModel.preset("databank").describe()
    assert "unsourced" in aipl.StageModel.preset("databank_540").describe()


def test_description_and_repr() -> None:
    assert repr(aipl.StageModel.from_dict(model())) == "StageModel('m', version 1: A, B of a brand)"
    assert aipl.StageModel.from_dict(model(scope="category")).scope == "category"
    assert aipl.StageModel.from_dict(model()) != aipl.StageModel.from_dict(model(version=2))
    assert aipl.StageModel.from_dict(model()) != "m"


def stage(rule: object, key: str = "any") -> dict[str, object]:
    changed = model()
    changed["stage"][1] = {"code": "B", "name": "buyer", key: rule}  # type: ignore[index]
    return changed


LEAF = {"behaviors": ["view"]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (stage([LEAF, LEAF | {"days": 0}]), r"^stage\[1\]\.any\[1\]\.days: 0 is not ≥ 1"),
        (stage([{"any": [{"not": LEAF | {"days": -3}}]}]), r"^stage\[1\]\.any\[0\]\.any\[0\]\.not\.days"),
        (stage([LEAF | {"days": 1.5}]), r"^stage\[1\]\.any\[0\]\.days"),
        (stage([LEAF | {"days": "15"}]), r"^stage\[1\]\.any\[0\]\.days"),
        (stage([LEAF | {"dys": 15}]), r"stage\[1\]\.any\[0\].*dys"),
        (stage([LEAF | {"count": "day"}]), r"^stage\[1\]\.any\[0\]\.count"),
        (stage([LEAF | {"count": "sum"}]), r"^stage\[1\]\.any\[0\]"),
        (stage([LEAF | {"min": 3, "max": 2}]), r"^stage\[1\]\.any\[0\]"),
        (stage([LEAF | {"where": {"rating": {"gte": 4}}}]), r"^stage\[1\]\.any\[0\]\.where\.rating"),
        (stage([LEAF | {"where": {"rating": None}}]), r"^stage\[1\]\.any\[0\]\.where\.rating"),
        (stage([{"behaviors": []}]), r"^stage\[1\]\.any\[0\]\.behaviors"),
        (stage([{"behaviors": "view"}]), r"^stage\[1\]\.any\[0\]\.behaviors"),
        (stage([{"behaviors": [3]}]), r"^stage\[1\]\.any\[0\]\.behaviors"),
        (stage([]), r"^stage\[1\]\.any"),
        (stage({}), r"^stage\[1\]\.any"),
        (stage([3]), r"^stage\[1\]\.any\[0\]"),
        (stage(LEAF | {"any": [LEAF]}, "not"), r"^stage\[1\]\.not"),
        (model(stage=[]), "^stage: 0 stages"),
        (model(stage=model()["stage"] * 8), "^stage: 16 stages"),
        (model(stage=model()["stage"] * 2), "is also the code"),
        (model(scope="brnd"), "^scope"),
        (model(version=0), "^version"),
        (model(id=""), "^id"),
        (model(sope="brand"), "sope"),
        ({}, "stage: is missing|id"),
    ],
)
def test_refusals_name_the_path(data: dict[str, object], message: str) -> None:
    with pytest.raises(aipl.ModelError, match=message):
        aipl.StageModel.from_dict(data)


def test_other_input_is_refused(tmp_path: Path) -> None:
    for read in (aipl.StageModel.from_toml, aipl.StageModel.from_json):
        with pytest.raises(aipl.ModelError, match="TOML|JSON"):
            read("= nonsense {")
        with pytest.raises(TypeError, match="source: a str is needed"):
            read(b"bytes")
    with pytest.raises(TypeError, match="data: a dict is needed"):
        aipl.StageModel.from_dict([1])
    for value in ({1, 2}, float("nan"), object()):
        with pytest.raises(aipl.ModelError, match="no plain data"):
            aipl.StageModel.from_dict(model(notes=value))
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(aipl.ModelError):
        aipl.StageModel.from_dict(model(stage=endless))
    deep: dict[str, object] = dict(LEAF)
    for _ in range(500):
        deep = {"not": deep}
    with pytest.raises(aipl.ModelError):
        aipl.StageModel.from_dict(stage([deep]))
    with pytest.raises(aipl.SourceError, match="missing.toml"):
        aipl.StageModel.from_toml(tmp_path / "missing.toml")
    (tmp_path / "latin.toml").write_bytes(b'id = "\xe9"')
    with pytest.raises(aipl.ModelError, match="UTF-8"):
        aipl.StageModel.from_toml(tmp_path / "latin.toml")
