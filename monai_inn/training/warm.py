"""Starting from the network of another object, whose images look alike: that of another patient's CT."""

from __future__ import annotations

import torch

from monai_inn.fitted import FittedPosterior
from monai_inn.networks import PosteriorNetwork
from monai_inn.networks.encoders.encoders import ImageEncoder
from monai_inn.training.pool import SimulationPool

__all__ = ["WARM_ROWS", "warm_start"]

WARM_ROWS = 4096  # simulations of both objects that are compared
_RIDGE = 1e-2
_OF_ENCODER = ("out_channels", "width", "num_blocks", "templates", "periodic")
_LAYER = "encoder.network.inlet"


@torch.no_grad()
def warm_start(net: PosteriorNetwork, donor: FittedPosterior, pool: SimulationPool) -> None:
    """Give a new network the encoder and the posterior flow of a trained one.

    Principal components of two objects have nothing in common but the parameters that they stem from. So both
    are computed for the same parameters, the donor's are regressed on the new ones, and that map goes into
    the encoder's first layer: the new network then answers as the donor would to its own image of them.
    What templates say means the same for all objects.

    Args:
        net: new network, its fixed maps fitted.
        donor: trained posterior of the same parameters and ranges.
        pool: simulations of the new object.

    Raises:
        ValueError: if parameters, ranges or sizes differ, or one network is not of images.
    """
    theirs, ours = donor.network, pool.problem.space
    if donor.problem.space.to_config() != ours.to_config():
        raise ValueError(
            "a warm start needs a bundle of the same parameters and ranges; it has "
            f"{', '.join(f'{p.name} {p.low:g} to {p.high:g}' for p in donor.problem.parameters)}."
        )
    mine, donors = net.encoder, theirs.encoder
    if not isinstance(mine, ImageEncoder) or not isinstance(donors, ImageEncoder):
        raise ValueError("a warm start works between networks of images only.")
    differing = [name for name in _OF_ENCODER if mine.config[name] != donors.config[name]]
    sizes = (net.flow.config, theirs.flow.config)
    differing += [name for name in ("num_blocks", "hidden_channels") if sizes[0][name] != sizes[1][name]]
    if differing:
        raise ValueError(f"a warm start needs networks of one size; {', '.join(differing)} differ.")
    device = pool.device
    theta = ours.inverse(pool.latent[:WARM_ROWS])
    new = mine.components(pool.problem.features(pool.clean[:WARM_ROWS].float()).to(device))
    old = donors.components(donor.problem.features(donor.problem.forward(theta)).to(device))
    columns = torch.cat([new, new.new_ones(len(new), 1)], 1).double()
    ridge = _RIDGE * len(new) * torch.eye(columns.shape[1], dtype=torch.float64, device=device)
    ridge[-1, -1] = 0
    fitted = torch.linalg.solve(columns.T @ columns + ridge, columns.T @ old.double()).float()
    state = {
        name: value
        for name, value in theirs.state_dict().items()
        if name.startswith(("encoder.network.", "flow.")) and name != f"{_LAYER}.weight"
    }
    first = donors.network.inlet.weight
    components, rest = first[:, : old.shape[1]], first[:, old.shape[1] :]
    state[f"{_LAYER}.weight"] = torch.cat([components @ fitted[:-1].T, rest], 1)
    state[f"{_LAYER}.bias"] = donors.network.inlet.bias + components @ fitted[-1]
    net.load_state_dict(net.state_dict() | state)
