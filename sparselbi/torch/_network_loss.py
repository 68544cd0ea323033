"""The loss of a path that was recorded while a network trained (needs no torch)."""

from typing import Any, NamedTuple


class NetworkLoss(NamedTuple):
    """Stands for a loss that lives in a training loop; cannot be evaluated."""

    @property
    def name(self) -> str:
        return "network"

    def inverse_link(self, eta: Any) -> Any:
        raise TypeError(
            "The path holds norms of groups of weights of a network, not coefficients: "
            "it cannot predict. Use sparselbi.torch.sparse_weights(model, optimizer) "
            "and the model itself."
        )
