"""Distributions of images given images, all trained by one loop for the same processor time.

Images are ``(N, 1, *size)`` of unit variance, about, observations ``(N, F, *size)``; log densities are
in nats.
"""

from __future__ import annotations

import abc
import math
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from monai.networks.nets.basic_unet import BasicUNet
from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from monai.networks.schedulers import DDIMScheduler
from torch import Tensor, nn

from monai_inn.networks import ImageFlow
from monai_inn.networks.images.couplings import Pyramid

Draw = Callable[[int], tuple[Tensor, Tensor]]  # from a number to a batch of images and observations

_LEVELS, _HIDDEN, _FEATURES = 3, 24, (8, 16, 32, 32, 32)
_START_BATCHES = 64
_RATE, _WARM_STEPS, _MOST_GRADIENT = 1e-3, 50, 10.0
_ROWS = 256  # images that go through a network at once


class Method(nn.Module, abc.ABC):
    """A conditional distribution of images."""

    name: ClassVar[str]
    is_bound: ClassVar[bool] = False  # whether ``log_prob`` is a lower bound

    def prepare(self, draw: Draw) -> None:
        """Do what comes before the first step."""

    @abc.abstractmethod
    def log_prob(self, image: Tensor, observation: Tensor) -> Tensor:
        """Log density or its bound, ``(N,)``; minus its mean is the loss of the training."""

    @abc.abstractmethod
    def sample(self, observation: Tensor, samples: int) -> Tensor:
        """Draw images ``(S, N, 1, *size)``."""

    def loss(self, image: Tensor, observation: Tensor) -> Tensor:
        """Loss of a batch, per pixel."""
        return -self.log_prob(image, observation).mean() / image[0].numel()

    def tested(self, image: Tensor, observation: Tensor) -> Tensor:
        """What ``log_prob`` is when it may cost more than in a training."""
        return self.log_prob(image, observation)


def train(method: Method, draw: Draw, seconds: float) -> int:
    """Train for some processor time, whatever comes before the first step included; return the steps."""
    began, step = time.process_time(), 0
    method.prepare(draw)
    optimiser = torch.optim.Adam([p for p in method.parameters() if p.requires_grad] or [torch.zeros(1)])
    method.train()
    while any(p.requires_grad for p in method.parameters()):
        share = (time.process_time() - began) / seconds
        if share >= 1:
            break
        rate = _RATE * min(1.0, (step + 1) / _WARM_STEPS) * 0.5 * (1 + math.cos(math.pi * share))
        optimiser.param_groups[0]["lr"] = rate
        optimiser.zero_grad()
        method.loss(*draw(step)).backward()
        nn.utils.clip_grad_norm_(method.parameters(), _MOST_GRADIENT)
        optimiser.step()
        step += 1
    method.eval()
    return step


class OurFlow(Method):
    """``ImageFlow``, its Gaussian posterior in closed form included."""

    name = "ImageFlow"
    num_blocks: ClassVar[int] = 2

    def __init__(self, channels: int, size: Sequence[int]) -> None:
        super().__init__()
        widths = {"hidden_channels": _HIDDEN, "features": _FEATURES}
        self.flow = ImageFlow(2, 1, channels, size, _LEVELS, self.num_blocks, **widths)  # type: ignore[arg-type]
        if not self.num_blocks:
            self.requires_grad_(False)

    def prepare(self, draw: Draw) -> None:
        self.flow.initialise((*draw(-1 - number), None) for number in range(_START_BATCHES))

    def log_prob(self, image: Tensor, observation: Tensor) -> Tensor:
        return self.flow(observation).log_prob(image)

    def sample(self, observation: Tensor, samples: int) -> Tensor:
        return self.flow(observation).sample((samples,))


class OurStart(OurFlow):
    """The Gaussian posterior alone: linear in the observation, no training."""

    name = "Gaussian start alone"
    num_blocks = 0


class FreiaFlow(Method):
    """FrEIA's Haar steps and conditional couplings, with features of the observation as ``ImageFlow`` has."""

    name = "FrEIA flow"
    num_blocks: ClassVar[int] = 4  # couplings of a level, as many as ours has

    def __init__(self, channels: int, size: Sequence[int]) -> None:
        super().__init__()
        from FrEIA import framework, modules

        self.pyramid = Pyramid(2, channels, _FEATURES, _LEVELS)
        node = framework.InputNode(1, *size, name="image")
        nodes, conditions, ends = [node], [], []
        for level in range(_LEVELS):
            node = framework.Node(node, modules.HaarDownsampling, {}, name=f"haar {level}")
            nodes.append(node)
            smaller = [n // 2 ** (level + 1) for n in size]
            conditions.append(framework.ConditionNode(self.pyramid.out_channels[level], *smaller))
            for _ in range(self.num_blocks):
                options = {"subnet_constructor": _subnet, "permute_soft": True}
                node = framework.Node(node, modules.AllInOneBlock, options, conditions=conditions[-1])
                nodes.append(node)
            if level < _LEVELS - 1:
                half = 2 ** (level + 1)
                node = framework.Node(node, modules.Split, {"section_sizes": [half, half]})
                nodes.append(node)
                ends.append(framework.OutputNode(node.out1))
                node = node.out0
        ends.append(framework.OutputNode(node))
        self.net = framework.GraphINN([*nodes, *conditions, *ends], verbose=False)

    def log_prob(self, image: Tensor, observation: Tensor) -> Tensor:
        latents, log_det = self.net(image, c=self.pyramid(observation))
        square = sum(latent.square().flatten(1).sum(1) for latent in latents)
        return log_det - 0.5 * square - 0.5 * image[0].numel() * math.log(2 * math.pi)

    def sample(self, observation: Tensor, samples: int) -> Tensor:
        features = self.pyramid(observation)
        drawn = []
        for part in _parts(samples, len(observation)):
            seen = [f.repeat(part, 1, 1, 1) for f in features]
            latents = [torch.randn(len(seen[0]), *shape) for shape in self.net.global_out_shapes]
            images, _ = self.net(latents, c=seen, rev=True, jac=False)
            drawn.append(images.unflatten(0, (part, -1)))
        return torch.cat(drawn)


class ConditionalVae(Method):
    """Variational autoencoder, its prior learned given the observation, its decoder's spread by pixel."""

    name, is_bound = "conditional VAE", True
    latents: ClassVar[int] = 16  # at each place of an eighth of the size
    weighted: ClassVar[int] = 64  # latents of the importance-weighted bound

    def __init__(self, channels: int, size: Sequence[int]) -> None:
        super().__init__()
        self.prior = _downwards(channels, 2 * self.latents)
        self.encoder = _downwards(channels + 1, 2 * self.latents)
        widths = (*_FEATURES, _FEATURES[0])
        self.decoder = BasicUNet(2, channels + self.latents, 2, widths, norm=None, upsample="nontrainable")  # type: ignore[arg-type]

    def log_prob(self, image: Tensor, observation: Tensor) -> Tensor:
        return self._weight(image, observation)

    def tested(self, image: Tensor, observation: Tensor) -> Tensor:
        weights = torch.stack([self._weight(image, observation) for _ in range(self.weighted)])
        return weights.logsumexp(0) - math.log(self.weighted)

    def sample(self, observation: Tensor, samples: int) -> Tensor:
        prior, drawn = _normal(self.prior(observation)), []
        for part in _parts(samples, len(observation)):
            seen = observation.repeat(part, 1, 1, 1)
            pixels = self._decoded(prior.sample((part,)).flatten(0, 1), seen)
            drawn.append(pixels.sample().unflatten(0, (part, -1)))
        return torch.cat(drawn)

    def _weight(self, image: Tensor, observation: Tensor) -> Tensor:
        """Logarithm of the importance weight of one latent, ``(N,)``; its mean is the evidence bound."""
        inner = _normal(self.encoder(torch.cat([image, observation], 1)))
        z = inner.rsample()
        outer = _normal(self.prior(observation)).log_prob(z) - inner.log_prob(z)
        return self._decoded(z, observation).log_prob(image).flatten(1).sum(1) + outer.flatten(1).sum(1)

    def _decoded(self, z: Tensor, observation: Tensor) -> torch.distributions.Normal:
        seen = nn.functional.interpolate(z, observation.shape[2:])
        return _normal(self.decoder(torch.cat([observation, seen], 1)))


class Diffusion(Method):
    """MONAI's diffusion network; 1,000 steps of noise, of which DDIM takes 15.

    The bound is own code: ``DiffusionInferer.get_likelihood`` of MONAI 1.6 mixes the observation's channels
    into the image's, and gives the last step, whose variance is 0, no width.
    """

    name, is_bound = "MONAI diffusion", True
    drawn_steps: ClassVar[int] = 15
    bound_steps: ClassVar[int] = 50  # of the 1,000 at which the bound is evaluated

    def __init__(self, channels: int, size: Sequence[int]) -> None:
        super().__init__()
        self.net = DiffusionModelUNet(
            2,
            1 + channels,
            1,
            num_res_blocks=1,
            channels=(16, 32, 64),
            attention_levels=(False, False, True),
            norm_num_groups=8,
            num_head_channels=16,
        )
        self.scheduler = DDIMScheduler(1000, clip_sample=False)

    def loss(self, image: Tensor, observation: Tensor) -> Tensor:
        t = torch.randint(1000, (len(image),))
        return self._missed(image, observation, t).mean()

    def log_prob(self, image: Tensor, observation: Tensor) -> Tensor:
        """Bound of Ho et al., 2020, with the smaller of their variances."""
        s, pixels = self.scheduler, image[0].numel()
        kept, alpha, beta = s.alphas_cumprod, s.alphas, s.betas
        first = torch.zeros(len(image), dtype=torch.long)
        log_sd = 0.5 * (beta[0] / alpha[0]).log()
        last = 0.5 * self._missed(image, observation, first) + log_sd + 0.5 * math.log(2 * math.pi)
        total = last.flatten(1).sum(1)
        far = 0.5 * (kept[-1] * image.square() - kept[-1] - (1 - kept[-1]).log())
        total = total + far.flatten(1).sum(1)
        strata = torch.linspace(1, 1000, self.bound_steps + 1)
        for low, high in pairwise(strata):
            t = (low + (high - low) * torch.rand(len(image))).long().clamp(1, 999)
            # β² / (2 β̃ α (1 − ᾱ)), with β̃ = β (1 − ᾱ before) / (1 − ᾱ)
            weight = (high - low) * beta[t] / (2 * alpha[t] * (1 - kept[t - 1]))
            total = total + weight * self._missed(image, observation, t).flatten(1).mean(1) * pixels
        return -total

    def sample(self, observation: Tensor, samples: int) -> Tensor:
        self.scheduler.set_timesteps(self.drawn_steps)
        drawn = []
        for part in _parts(samples, len(observation)):
            seen = observation.repeat(part, 1, 1, 1)
            image = torch.randn(len(seen), 1, *seen.shape[2:])
            for t in self.scheduler.timesteps:
                noise = self.net(torch.cat([image, seen], 1), t.expand(len(seen)))
                image, _ = self.scheduler.step(noise, int(t), image)
            drawn.append(image.unflatten(0, (part, -1)))
        return torch.cat(drawn)

    def _missed(self, image: Tensor, observation: Tensor, t: Tensor) -> Tensor:
        """Squared error of the noise that the network sees, pixel by pixel."""
        noise = torch.randn_like(image)
        noisy = self.scheduler.add_noise(image, noise, t)
        return (self.net(torch.cat([noisy, observation], 1), t) - noise).square()


METHODS = (OurStart, OurFlow, Diffusion, FreiaFlow, ConditionalVae)


def _subnet(channels: int, out_channels: int) -> nn.Module:
    """Convolutions as those of ``ImageFlow``."""
    last = nn.Conv2d(_HIDDEN, out_channels, 3, padding=1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    first, middle = nn.Conv2d(channels, _HIDDEN, 3, padding=1), nn.Conv2d(_HIDDEN, _HIDDEN, 1)
    return nn.Sequential(first, nn.SiLU(), middle, nn.SiLU(), last)


def _downwards(channels: int, out_channels: int) -> nn.Module:
    """Convolutions to an eighth of the size."""
    layers: list[nn.Module] = []
    for width in _FEATURES[1:4]:
        layers += [
            nn.Conv2d(channels, width, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, 1, 1),
            nn.SiLU(),
        ]
        channels = width
    return nn.Sequential(*layers, nn.Conv2d(channels, out_channels, 1))


def _normal(raw: Tensor) -> torch.distributions.Normal:
    mean, log_sd = raw.chunk(2, 1)
    return torch.distributions.Normal(mean, log_sd.clamp(-5, 3).exp(), validate_args=False)


def _parts(samples: int, rows: int) -> list[int]:
    """Numbers of samples that are drawn at a time."""
    each = max(1, _ROWS // rows)
    return [min(each, samples - start) for start in range(0, samples, each)]
