"""DEAL as released, as its paper writes it, and so that a task begins where the last one ended."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from realdata.continual import penalties
from realdata.continual.factors import ADAPTER, factors, modules
from realdata.continual.methods import Method, Stage, State
from realdata.continual.parametrisations import ActivationNetwork, Haar, Layer, Residual, filters_of, register

NETWORK = "network"


class DealAsWritten(Method):
    """Both factors of the pair that goes on pass through a filter and a layer (eq. 10 and 11), with eq. 12's penalty.

    The paper leaves open what the layer acts on, its δ and its start: here it acts on the rank of a factor, δ is the
    positive part and ω is drawn by Kaiming, so that a task does not begin where the last one ended.
    """

    network: type[Layer | Residual] = Layer
    identity = 0.0
    """Where the penalty pulls the filter's parameters."""

    def prepare(self, model: nn.Module, state: State) -> None:
        """Give both factors a filter and a network, from the second task on."""
        self._filters: list[nn.Module] = []
        self._networks: list[Layer | Residual] = []
        for layer in modules(model).values() if state.pairs else ():
            A, B = layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]
            steps = filters_of(self.settings.deal.filter, A, B)
            networks = self.network(A.weight), self.network(B.weight)
            register(A, steps[0], networks[0])
            register(B, steps[1], networks[1])
            self._filters += [step for step in steps if step is not None]
            self._networks += networks

    def penalty(self, model: nn.Module, state: State) -> Tensor | None:  # noqa: ARG002
        """Return ``λ1 ‖filters‖_a^a + λ2 ‖networks‖_b^b``."""
        if not self._filters:
            return None
        deal = self.settings.deal
        own = [parameter for one in self._filters for parameter in one.parameters()]
        of_networks = [parameter for one in self._networks for parameter in one.penalised()]
        return deal.filter_weight * penalties.powers(own, deal.filter_power, around=self.identity) + (
            deal.network_weight * penalties.powers(of_networks, deal.network_power)
        )


class DealPreserving(DealAsWritten):
    """The same with a residual network whose last layer starts at 0, and a filter that starts as the identity.

    A task then begins where the last one ended. The penalty pulls both towards the identity.
    """

    network = Residual
    identity = 1.0

    def prepare(self, model: nn.Module, state: State) -> None:
        """Give both factors a filter and a network, from the second task on.

        Raises
        ------
        ValueError
            If the filter does not start as the identity.
        """
        if self.settings.deal.filter == "heat":
            raise ValueError("deal-preserving: the filter heat is not the identity for any s, expected another filter")
        self.identity = 0.0 if self.settings.deal.filter == "wiener" else 1.0
        super().prepare(model, state)


class DealReleased(Method):
    """From the second task on, lora_A passes through a Haar filter and what it gives through a network on activations.

    The filter's θ starts at 1. What else the public code does is a switch each, see `DealSettings.quirks`; without
    ``drop-mlp-on-load`` the network is kept beside the adapter, since no lora_A is the same as both, and goes on.
    """

    def prepare(self, model: nn.Module, state: State) -> None:
        """Filter lora_A, add the network, and freeze lora_B."""
        quirks = self.settings.deal.quirks
        self._filters: list[Haar] = []
        self._networks: dict[str, ActivationNetwork] = {}
        for name, layer in modules(model).items() if state.pairs else ():
            A = layer.lora_A[ADAPTER]
            step = Haar(A.weight)
            self._filters.append(step)
            register(A, step)
            self._networks[name] = self._network(A, name, state)
            layer.lora_B[ADAPTER].weight.requires_grad_("freeze-b" not in quirks)

    def penalty(self, model: nn.Module, state: State) -> Tensor | None:  # noqa: ARG002
        """Return eq. 12's penalty, which the public code means to have; it pulls θ to 0."""
        deal = self.settings.deal
        if "no-penalty" in deal.quirks or not self._filters:
            return None
        theta = [step.theta for step in self._filters]
        networks = [parameter for one in self._networks.values() for parameter in one.parameters()]
        return deal.filter_weight * penalties.powers(theta, deal.filter_power) + (
            deal.network_weight * penalties.powers(networks, deal.network_power)
        )

    def ended(self, model: nn.Module, state: State, stage: Stage) -> State:  # noqa: ARG002
        """Keep the filtered factors, and the networks where they are not dropped."""
        kept = {}
        if "drop-mlp-on-load" not in self.settings.deal.quirks:
            kept = {
                f"{name}.{key}": value.detach().clone()
                for name, network in self._networks.items()
                for key, value in network.state_dict().items()
            }
        return State([factors(model)], kept)

    def equip(self, model: nn.Module, state: State) -> None:
        """Put the networks back, where there are any."""
        for name, layer in modules(model).items() if state.kept else ():
            self._network(layer.lora_A[ADAPTER], name, state)

    def _network(self, A: Any, name: str, state: State) -> ActivationNetwork:
        """Let what lora_A gives pass through a network: that which was kept, or a new one."""
        network = ActivationNetwork(A.out_features, identity="fresh-mlp" not in self.settings.deal.quirks)
        own = {key.removeprefix(f"{name}."): x for key, x in state.kept.items() if key.startswith(f"{name}.")}
        if own:
            network.load_state_dict(own)
        A.add_module(NETWORK, network.to(A.weight.device))
        A.register_forward_hook(lambda module, _, given: module.get_submodule(NETWORK)(given))
        return network
