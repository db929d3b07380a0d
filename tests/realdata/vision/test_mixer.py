"""The MLP-Mixer against its formulas written plainly, alone and with adapters of peft on every linear layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from peft.tuners.ia3 import Linear as LinearWithIA3
from peft.tuners.lora import Linear as LinearWithLora
from torch import Tensor, nn
from torch.nn import functional

from realdata.peft_ml.seeding import torch_seeded
from realdata.vision.dropout import DropoutAdd, GELUDropout
from realdata.vision.mixer import MLPMixer

CIFAR = {"channels": 3, "height": 32, "width": 32, "patch": 4}
DIGITS = {"channels": 1, "height": 8, "width": 8, "patch": 4}
SMALL = {"channels": 2, "height": 8, "width": 12, "patch": 4, "units": 10, "classes": 3}
BLOCK = ("token_norm", "tokens.expand", "tokens.contract", "channel_norm", "channels.expand", "channels.contract")
NEVER = 1e-13  # a probability that rounds to none: what runs is the code with dropout, and nothing is dropped
Linear = Callable[[str, Tensor], Tensor]


def mixer(*, seed: int = 0, **options: Any) -> MLPMixer:
    """Draw a mixer whose biases and norms are not zeros and ones either."""
    with torch_seeded(seed, "mixer"):
        model = MLPMixer(**{**SMALL, "dropout": NEVER, **options})
        for parameter in model.parameters():
            if parameter.ndim == 1:
                nn.init.normal_(parameter, 0.5, 0.5)
    return model


def images(model: MLPMixer, count: int = 5) -> Tensor:
    with torch_seeded(0, "images"):
        return torch.randn(count, *model.images, dtype=model.head.weight.dtype)


def plainly(model: MLPMixer, x: Tensor, linear: Linear, *, depth: int = 1) -> Tensor:
    """Write out the forward pass; ``linear(name, x)`` is what the layer of that name gives."""

    def norm(name: str, x: Tensor) -> Tensor:
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.LayerNorm)
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + layer.eps).sqrt()
        return scaled * layer.weight + layer.bias

    def mlp(name: str, x: Tensor) -> Tensor:
        return linear(f"{name}.contract", functional.gelu(linear(f"{name}.expand", x)))

    pixels = functional.unfold(x, model.patch, stride=model.patch)  # (images, channels patch², patches)
    x = linear("embedding", pixels.transpose(1, 2))
    for block in range(depth):
        name = f"blocks.{block}"
        x = x + mlp(f"{name}.tokens", norm(f"{name}.token_norm", x).transpose(1, 2)).transpose(1, 2)
        x = x + mlp(f"{name}.channels", norm(f"{name}.channel_norm", x))
    return linear("head", norm("norm", x).mean(dim=1))


def linear_of(model: nn.Module) -> Linear:
    """Return x W^T + b with the parameters of a model without adapters."""

    def linear(name: str, x: Tensor) -> Tensor:
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        return x @ layer.weight.T + layer.bias

    return linear


def linear_layers(model: nn.Module) -> set[str]:
    return {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}


def largest_difference(a: list[Tensor], b: list[Tensor]) -> float:
    """Return the largest difference, relative to the largest entry of all."""
    one, other = (torch.cat([tensor.detach().flatten() for tensor in tensors]) for tensors in (a, b))
    return float((one - other).abs().max() / other.abs().max())


def outputs_and_gradients(outputs: Tensor, model: nn.Module) -> list[Tensor]:
    loss = functional.cross_entropy(outputs, torch.arange(len(outputs)) % outputs.shape[1])
    return [outputs, *torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])]


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"depth": 2}, {**CIFAR, "units": 64}, {**DIGITS, "patch": 2}])
def test_outputs_and_gradients_are_those_of_the_plain_formulas(
    options: dict[str, int], training: bool, dtype: torch.dtype, allowed: float
) -> None:
    model = mixer(**options).to(dtype).train(training)
    x = images(model)
    expected = outputs_and_gradients(plainly(model, x, linear_of(model), depth=options.get("depth", 1)), model)
    assert largest_difference(outputs_and_gradients(model(x), model), expected) <= allowed


def test_gradient_with_dropout_is_the_derivative() -> None:
    """By finite differences in float64 along a random direction, with the same draws each time."""
    model = mixer(dropout=0.2).double()
    names, parameters = zip(*model.named_parameters(), strict=True)

    def outputs(*parameters: Tensor) -> Tensor:
        with torch_seeded(0, "dropout"):
            found: Tensor = torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), (x,))
        return found

    x = images(model)
    assert torch.autograd.gradcheck(outputs, parameters, fast_mode=True)
    with torch.no_grad():
        assert not torch.allclose(outputs(*parameters), model.eval()(x))


def test_dropout_follows_both_layers_of_each_mlp() -> None:
    drops = {name: module.p for name, module in mixer(dropout=0.2).named_modules() if hasattr(module, "p")}
    block = ("tokens.activation", "token_sum", "channels.activation", "channel_sum")
    assert drops == {f"blocks.0.{name}": 0.2 for name in block}


@pytest.mark.parametrize("place", ["tokens.activation", "token_sum", "channels.activation", "channel_sum"])
def test_each_dropout_is_active_in_training_only(place: str) -> None:
    model = mixer()
    x = images(model)
    expected = model(x)
    module = model.blocks[0].get_submodule(place)
    assert isinstance(module, GELUDropout | DropoutAdd)
    module.p = 0.5
    assert not torch.allclose(model(x), expected)
    torch.testing.assert_close(model.eval()(x), expected)


@pytest.mark.parametrize(("sizes", "patches"), [(CIFAR, 64), (DIGITS, 4), ({**DIGITS, "patch": 2}, 16)])
def test_sizes_of_the_papers_mixer(sizes: dict[str, int], patches: int) -> None:
    model = MLPMixer(**sizes)
    pixels = sizes["channels"] * sizes["patch"] ** 2
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters() if name.endswith("weight") and p.ndim == 2}
    assert shapes == {
        "embedding.weight": (512, pixels),
        "blocks.0.tokens.expand.weight": (4 * patches, patches),
        "blocks.0.tokens.contract.weight": (patches, 4 * patches),
        "blocks.0.channels.expand.weight": (256, 512),
        "blocks.0.channels.contract.weight": (512, 256),
        "head.weight": (2, 512),
    }
    assert model(torch.zeros(3, sizes["channels"], sizes["height"], sizes["width"])).shape == (3, 2)


def test_parameters_follow_from_the_seed() -> None:
    assert all(torch.equal(a, b) for a, b in zip(mixer().parameters(), mixer().parameters(), strict=True))
    assert not torch.equal(mixer().head.weight, mixer(seed=1).head.weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 30}, r"patch: got 4, expected a divisor of the images' height 30 and width 12"),
        ({"width": 9}, r"patch: got 4, expected a divisor of the images' height 8 and width 9"),
        ({"patch": 0}, r"patch: got 0, expected a whole number >= 1"),
        ({"channels": -1}, r"channels: got -1, expected a whole number >= 1"),
        ({"units": 0}, r"units: got 0, expected a whole number >= 1"),
        ({"classes": 0}, r"classes: got 0, expected a whole number >= 1"),
        ({"depth": 0}, r"depth: got 0, expected a whole number >= 1"),
        ({"token_expansion": 0.0}, r"token_expansion: got 0.0, expected a number > 0"),
        ({"channel_expansion": float("nan")}, r"channel_expansion: got nan, expected a number > 0"),
        ({"dropout": 1.0}, r"dropout: got 1.0, expected a probability >= 0 and < 1"),
    ],
)
def test_sizes_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MLPMixer(**{**SMALL, **options})


@pytest.mark.parametrize("shape", [(2, 8, 12), (5, 2, 8, 8), (5, 1, 8, 12)])
def test_images_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"images: got shape \(.*\), expected \(images, 2, 8, 12\)"):
        mixer()(torch.zeros(shape))


@pytest.mark.parametrize("targets", ["all-linear", ["embedding", "expand", "contract", "head"]])
@pytest.mark.parametrize("training", [True, False])
def test_lora_reaches_every_linear_layer(targets: str | list[str], training: bool) -> None:
    """Wrapped, called, and with the gradient that x (W + s B A)^T + b has."""
    plain = mixer().double()
    layers = linear_layers(plain)
    config = LoraConfig(r=2, lora_alpha=3, target_modules=targets, init_lora_weights=False)
    with torch_seeded(0, "adapters"):
        model = get_peft_model(mixer(), config).double().requires_grad_(True).train(training)
    inner: Any = model.get_base_model()
    assert {name for name, module in inner.named_modules() if isinstance(module, LinearWithLora)} == layers
    x = images(plain)

    def linear(name: str, x: Tensor) -> Tensor:
        layer = inner.get_submodule(name)
        shift = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
        return x @ (layer.base_layer.weight + 1.5 * shift).T + layer.base_layer.bias

    found, expected = (outputs_and_gradients(y, model) for y in (model(x), plainly(inner, x, linear)))
    assert largest_difference(found, expected) <= 1e-12
    adapters = {name: g for (name, _), g in zip(model.named_parameters(), found[1:], strict=True) if "lora" in name}
    assert len(adapters) == 2 * len(layers)
    assert all(g.abs().max() > 1e-6 for name, g in adapters.items())


def test_ia3_reaches_every_linear_layer() -> None:
    """Where it scales what a layer gets (`contract`), and where it scales what a layer gives."""
    plain = mixer().double()
    layers = linear_layers(plain)
    config = IA3Config(target_modules=["embedding", "expand", "contract", "head"], feedforward_modules=["contract"])
    model = get_peft_model(mixer(), config).double().requires_grad_(True).train()
    inner: Any = model.get_base_model()
    assert {name for name, module in inner.named_modules() if isinstance(module, LinearWithIA3)} == layers
    scales = {name: inner.get_submodule(name).ia3_l["default"] for name in layers}
    with torch_seeded(0, "adapters"):
        for scale in scales.values():
            nn.init.normal_(scale, 1.0, 0.3)
    x = images(plain)

    def linear(name: str, x: Tensor) -> Tensor:
        layer, scale = inner.get_submodule(name).base_layer, scales[name].flatten()
        if name.endswith("contract"):
            return (x * scale) @ layer.weight.T + layer.bias
        return (x @ layer.weight.T + layer.bias) * scale

    found, expected = (outputs_and_gradients(y, model) for y in (model(x), plainly(inner, x, linear)))
    assert largest_difference(found, expected) <= 1e-12
    adapters = [g for (name, _), g in zip(model.named_parameters(), found[1:], strict=True) if "ia3" in name]
    assert len(adapters) == len(layers)
    assert all(g.abs().max() > 1e-6 for g in adapters)


def test_each_row_may_have_its_own_adapter() -> None:
    """The images are the first axis of every linear layer's input: peft chooses the adapter by it."""
    with torch_seeded(0, "adapters"):
        config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
        model = get_peft_model(mixer().double(), config, adapter_name="one")
        model.add_adapter("two", LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    model.double().train()
    tuner: Any = model.base_model
    tuner.training = False  # all that peft checks before it allows names of adapters
    plain = mixer().double()
    x, rows = images(plain), ["one", "two", "two", "one", "two"]
    seen: dict[str, int] = {}
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LinearWithLora):
            module.register_forward_hook(lambda _, inputs, __, name=name: seen.update({name: len(inputs[0])}))
    mixed = model(x, adapter_names=rows)
    assert seen == dict.fromkeys(linear_layers(plain), len(x))
    alone = {name: model(x, adapter_names=[name] * len(x)) for name in ("one", "two")}
    assert not torch.allclose(alone["one"], alone["two"])
    torch.testing.assert_close(mixed, torch.stack([alone[name][i] for i, name in enumerate(rows)]))


def test_mixed_precision_by_autocast() -> None:
    model = mixer(dropout=0.1, **CIFAR, units=64)
    x = images(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(x)
        expected = model.eval()(x)
    assert outputs.dtype == torch.bfloat16
    gradients = outputs_and_gradients(outputs.float(), model)[1:]
    assert all(g.dtype == torch.float32 and g.isfinite().all() and g.abs().max() > 0 for g in gradients[-4:])
    torch.testing.assert_close(expected.float(), model(x), rtol=0.05, atol=0.05)


def test_training_fits_what_it_is_given() -> None:
    """With dropout, 32 random images of two classes."""
    with torch_seeded(0, "training"):
        model = MLPMixer(**DIGITS, units=32)
        x, targets = torch.randn(32, 1, 8, 8), torch.arange(32) % 2
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(60):
            optimizer.zero_grad()
            torch.autograd.backward(functional.cross_entropy(model(x), targets))
            optimizer.step()
    assert torch.equal(model.eval()(x).argmax(1), targets)
