"""Advice on synthetic networks with planted k, on controls, and the base that is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from loraml_theory.harness.errors import InputError
from loraml_theory.harness.json_schema import validator
from realdata.advisor.advising import Advice, advise
from realdata.advisor.document import document, dumps
from realdata.advisor.layer import AdviceSettings
from realdata.advisor.tasks import open_tasks
from tests.realdata.advisor.networks import SHAPES, drawn_adapter, planted, random, states, write

FEW = AdviceSettings(draws=19)


def look(words: list[str], settings: AdviceSettings = FEW, **options: Any) -> Advice:
    return advise(open_tasks(words, base=options.pop("base", None)), settings, **options)


def told(found: Advice) -> dict[str, Any]:
    """Return the document after a trip through JSON and its schema."""
    loaded: dict[str, Any] = json.loads(dumps(document(found)))
    return loaded


@pytest.mark.parametrize("sigma", [0.0, 0.02])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_planted_shifts_are_found(tmp_path: Path, dtype: torch.dtype, sigma: float) -> None:
    found = told(look(planted(tmp_path, dtype=dtype, sigma=sigma)))
    for layer in found["layers"]:
        assert (layer["k"], layer["k_ci"], layer["null_p"]) == (2, [2, 2], 1 / 20)
        assert (layer["rank_sr"], layer["rank_ml"], layer["rank_ml_from"]) == (8, 2, "held-out tasks")
        assert layer["independent"] is True
        assert (layer["predicted"]["rank_sr"], layer["predicted"]["rank_ml"]) == (10, 2)
        assert layer["rank_ml_share"] <= 2 < layer["rank_sr_share"]
    assert found["overall"]["verdict"] == "cannot tell"  # without the base of the tasks, which may be the LoRA-ML base
    assert "give the base of the tasks with --base" in found["overall"]["findings"][0]
    assert {skip["name"] for skip in found["skipped"]} == {"one.bias", "embed_tokens.weight", "steps"}


def test_random_tasks_have_no_k_and_chance_explains_them(tmp_path: Path) -> None:
    """Seeds are fixed; over seeds p is uniform, and its median over two layers below 0.1 twice in a hundred times."""
    found = told(look(random(tmp_path)))
    for layer in found["layers"]:
        assert layer["k"] is layer["k_ci"] is layer["rank_ml"] is layer["fit_rank"] is None
        assert layer["null_p"] > 0.1
        assert layer["base"] == "mean"
    assert found["overall"]["verdict"] == "no structure"
    assert "Nothing here speaks for meta-learned retraining" in " ".join(found["overall"]["findings"])


def test_noise_around_one_base_has_no_k(tmp_path: Path) -> None:
    found = told(look(planted(tmp_path, k=0, sigma=0.5)))
    assert [layer["k"] for layer in found["layers"]] == [None, None]
    assert found["overall"]["verdict"] == "no structure"


def test_two_tasks_do_not_determine_a_base(tmp_path: Path) -> None:
    found = told(look(planted(tmp_path, T=2)))
    for layer in found["layers"]:
        assert (layer["k"], layer["rank_sr"], layer["independent"], layer["base"]) == (2, 4, None, "mean")
        assert (layer["rank_ml"], layer["rank_ml_from"]) == (6, "theory")
    assert found["overall"]["verdict"] == "cannot tell"
    assert "Two tasks do not determine a base" in " ".join(found["overall"]["cannot_tell"])


def test_three_tasks_are_advised_by_theory(tmp_path: Path) -> None:
    found = told(look(planted(tmp_path, T=3)))
    for layer in found["layers"]:
        assert (layer["k"], layer["rank_sr"], layer["rank_ml"], layer["rank_ml_from"]) == (2, 6, 2, "theory")
    assert found["overall"]["verdict"] == "cannot tell"


def test_tasks_that_span_too_little_are_not_independent(tmp_path: Path) -> None:
    """All shifts have the same rows: the base is not determined, and is not written."""
    draw = torch.Generator().manual_seed(0)
    base, V = (torch.randn(*shape, generator=draw) for shape in ((20, 16), (2, 16)))
    words = write(tmp_path, [{"w": base + torch.randn(20, 2, generator=draw) @ V} for _ in range(4)])
    (layer,) = told(look(words))["layers"]
    assert (layer["k"], layer["independent"], layer["base"]) == (1, False, "mean")
    assert "no three tasks are independent" in layer["finding"]


def test_equal_layers_are_unchanged(tmp_path: Path) -> None:
    tasks = states(0, T=3)[1:]
    for state in tasks:
        state["two.weight"] = tasks[0]["two.weight"].clone()
    layers = {layer["name"]: layer for layer in told(look(write(tmp_path, tasks)))["layers"]}
    same = layers["two.weight"]
    assert (same["k"], same["k_ci"], same["null_p"], same["rank_sr"], same["rank_ml"]) == (0, [0, 0], None, 0, 0)
    assert layers["one.weight"]["k"] == 2
    same_everywhere = [{"w": tasks[0]["one.weight"]}, {"w": tasks[0]["one.weight"].clone()}]
    assert told(look(write(tmp_path, same_everywhere)))["overall"]["verdict"] == "unchanged"


def test_a_rank_of_the_users_takes_the_place_of_the_estimate(tmp_path: Path) -> None:
    found = told(look(planted(tmp_path), AdviceSettings(draws=19, rank=1)))
    for layer in found["layers"]:
        assert (layer["k"], layer["fit_rank"], layer["null_rank"]) == (2, 1, 1)
        assert layer["share_left"] > 0.05


def test_convolutions_are_matrices(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(1)
    base = torch.randn(16, 4, 3, 3, generator=draw)
    shifts = [torch.randn(16, 1, generator=draw) @ torch.randn(1, 36, generator=draw) for _ in range(4)]
    words = write(tmp_path, [{"conv.weight": base + shift.reshape(base.shape)} for shift in shifts])
    found = look(words, write_base=tmp_path / "base.safetensors")
    assert (found.layers[0].shape, found.layers[0].matrix, found.layers[0].shift_rank.k) == ((16, 4, 3, 3), (16, 36), 1)
    written = load_file(tmp_path / "base.safetensors")["conv.weight"]
    assert torch.allclose(written, base, atol=1e-4)


def test_the_base_that_is_written(tmp_path: Path) -> None:
    """Matrices are recovered from noise as well as a mean of as many tasks; everything else is averaged."""
    base, *tasks = states(2, sigma=0.01)
    found = look(write(tmp_path, tasks), write_base=tmp_path / "base.safetensors")
    written = load_file(tmp_path / "base.safetensors")
    assert found.by_theory == tuple(SHAPES)
    for name, shape in SHAPES.items():
        error = float((written[name] - base[name]).norm())
        assert error <= 2 * 0.01 * (shape[0] * shape[1] / 4) ** 0.5
        mean = torch.stack([state[name] for state in tasks]).mean(dim=0)
        assert float((mean - base[name]).norm()) > 20 * error
    for name in ("one.bias", "embed_tokens.weight"):
        assert torch.allclose(written[name], torch.stack([state[name] for state in tasks]).mean(dim=0), atol=1e-6)
    assert torch.equal(written["steps"], torch.tensor(3))
    assert written.keys() == tasks[0].keys()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_base_has_the_tasks_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    base, *tasks = states(3, dtype=dtype)
    look(write(tmp_path, tasks), write_base=tmp_path / "base.safetensors")
    written = load_file(tmp_path / "base.safetensors")
    assert written["one.weight"].dtype == dtype
    assert float((written["one.weight"] - base["one.weight"]).float().norm()) <= 0.05 * float(base["one.weight"].norm())


def test_adapters_give_back_the_base_that_they_are_on(tmp_path: Path) -> None:
    """ML-3: with adapters of rank k on one base and an independent triple, that base is the only minimiser."""
    base, path = states(4)[0], tmp_path / "under.safetensors"
    base["other"] = torch.arange(5.0)
    save_file(base, str(path))
    words = [f"{i}={drawn_adapter(tmp_path / str(i), i)}" for i in range(4)]
    found = look(words, base=path, write_base=tmp_path / "base.safetensors")
    written = load_file(tmp_path / "base.safetensors")
    for name, W in base.items():
        assert torch.allclose(written[name].float(), W.float(), atol=1e-5)
    text = told(found)
    assert text["kind"] == "adapters of one base"
    for layer in text["layers"]:
        assert (layer["k"], layer["adapter_rank"]) == (2, 2)
        assert "the rank of the adapters, which bounds it" in layer["finding"]
    assert text["overall"]["verdict"] == "no help"
    assert (
        text["overall"]["findings"][0] == "Use rank 2 from the base as it is; meta-learned retraining would not help."
    )
    assert "k is bounded by their rank by construction" in " ".join(text["overall"]["cannot_tell"])


def test_adapters_are_written_on_a_base_only(tmp_path: Path) -> None:
    words = [f"{i}={drawn_adapter(tmp_path / str(i), i)}" for i in range(3)]
    with pytest.raises(InputError, match="--write-base: the tasks are adapters, expected their base"):
        look(words, write_base=tmp_path / "base.safetensors")
    other = {"one.weight": torch.ones(3, 3), "two.weight": torch.ones(20, 30)}
    save_file(other, str(tmp_path / "other.safetensors"))
    with pytest.raises(InputError, match="it is not the adapters' base"):
        look(words, base=tmp_path / "other.safetensors")


@pytest.mark.parametrize("name", ["one.weight", "one.bias", "embed_tokens.weight"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused_and_nothing_is_written(
    tmp_path: Path, name: str, value: float
) -> None:
    tasks = states(5, T=3)[1:]
    tasks[1][name].reshape(-1)[7] = value
    words = write(tmp_path, tasks)
    for path in (None, tmp_path / "base.safetensors"):
        with pytest.raises(InputError, match=f"t1: {name} holds NaN or infinity, expected finite numbers"):
            look(words, write_base=path)
    assert not list(tmp_path.glob("base*"))
    assert not list(tmp_path.glob(".*"))


def test_advice_does_not_depend_on_the_order_of_layers(tmp_path: Path) -> None:
    tasks = states(6, T=3)[1:]
    first = told(look(write(tmp_path, tasks)))
    alone = told(look(write(tmp_path, [{"two.weight": state["two.weight"]} for state in tasks])))
    assert [layer for layer in first["layers"] if layer["name"] == "two.weight"] == alone["layers"]


def test_the_schema_is_one_and_refuses_other_documents(tmp_path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(validator("realdata.advisor", "advice").schema)
    found = document(look(planted(tmp_path, T=3)))
    for break_it in ({"layers": [{"name": "x"}]}, {"schema": "other"}, {"more": 1}, {"tasks": ["a"]}):
        with pytest.raises(jsonschema.ValidationError):
            dumps({**found, **break_it})


def test_left_curves_fall_from_one(tmp_path: Path) -> None:
    (layer, _) = told(look(planted(tmp_path)))["layers"]
    for method, first in (("sr", 1.0), ("ml", None)):
        left = np.array(layer["left"][method])
        assert np.all(np.diff(left) <= 1e-9)
        assert first is None or left[0] == first
    assert layer["left"]["ml"][2] < 1e-3 < layer["left"]["sr"][2]


def test_a_base_is_never_written_over_what_is_read(tmp_path: Path) -> None:
    words = planted(tmp_path)
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "1.safetensors")
    (tmp_path / "hard.safetensors").hardlink_to(tmp_path / "2.safetensors")
    before = {path: path.read_bytes() for path in tmp_path.glob("?.safetensors")}
    for name in ("0", "link", "hard"):
        with pytest.raises(InputError, match=rf"--write-base: .*{name}\.safetensors is part of the input"):
            look(words, write_base=tmp_path / f"{name}.safetensors")
    base = tmp_path / "under.safetensors"
    save_file(states(0)[0], str(base))
    adapters = [f"{i}={drawn_adapter(tmp_path / str(i), i)}" for i in range(3)]
    for path in (base, tmp_path / "1" / "adapter_model.safetensors"):
        with pytest.raises(InputError, match="is part of the input"):
            look(adapters, base=base, write_base=path)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    "tensor",
    [torch.ones(3, 3, dtype=torch.int64), torch.ones(0, 5), torch.ones(7), torch.ones(4, 4, dtype=torch.complex64)],
)
def test_tasks_without_a_weight_to_look_at_are_refused(tmp_path: Path, tensor: torch.Tensor) -> None:
    words = write(tmp_path, [{"w": tensor}, {"w": tensor.clone()}])
    with pytest.raises(InputError, match="the tasks have no weight to analyse"):
        look(words)


def test_what_cannot_be_written_as_it_is_is_refused(tmp_path: Path) -> None:
    state = {"w": torch.ones(4, 4), "c": torch.ones(4, 4, dtype=torch.complex64)}
    with pytest.raises(InputError, match="'c' holds complex numbers") as raised:
        look(write(tmp_path, [state, state]), write_base=tmp_path / "base.safetensors")
    assert "\n" not in str(raised.value)


def test_a_rank_that_no_weight_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--rank: got 21, expected at most 20, the full rank of the largest weight"):
        look(planted(tmp_path), AdviceSettings(draws=19, rank=21))
    found = told(look(planted(tmp_path), AdviceSettings(draws=19, rank=20)))
    assert [layer["fit_rank"] for layer in found["layers"]] == [16, 20]


def test_numbers_beyond_all_measure_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="t0: w holds numbers beyond 1e\\+15"):
        look(write(tmp_path, [{"w": 1e200 * torch.eye(4, dtype=torch.float64)}, {"w": torch.eye(4)}]))


def test_tasks_of_different_bases_are_asked_about(tmp_path: Path) -> None:
    said = " ".join(told(look(random(tmp_path)))["overall"]["cannot_tell"])
    assert "not fine-tuned from one base" in said
    small = {"w": torch.randn(20, 20, generator=torch.Generator().manual_seed(0))}
    near = [{"w": small["w"] + 0.1 * torch.randn(20, 20)} for _ in range(3)]
    assert "not fine-tuned from one base" not in " ".join(told(look(write(tmp_path, near)))["overall"]["cannot_tell"])


def test_a_task_that_comes_twice_is_named(tmp_path: Path) -> None:
    tasks = states(7)[1:]
    text = told(look(write(tmp_path, [*tasks, tasks[1]])))
    said = [line for line in text["overall"]["cannot_tell"] if "are the same" in line]
    assert said == ["t1 and t4 are the same: they count as one task, held out together."]
    assert "are the same" not in " ".join(told(look(write(tmp_path, tasks)))["overall"]["cannot_tell"])
