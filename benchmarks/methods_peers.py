"""Other libraries, each as its users would train it; a library that is not installed is left out."""

from __future__ import annotations

import io
import logging
import math
import os
import tempfile
import time
from contextlib import AbstractContextManager, redirect_stderr
from typing import ClassVar

import numpy as np
import torch
from flow_work import Work, freia_net
from methods_base import Method, train_adam
from torch import Tensor, nn

from monai_inn.networks import ConditionEncoder
from monai_inn.training import Recipe

# The better of two that were tried, on kinematics for half a minute.
_FREIA_RATE, _ZUKO_RATE = 2e-3, 3e-3
_FREIA_CONDITION = 32
_BAYESFLOW_TRIAL = (20, 40)


class Sbi(Method):
    """sbi's neural posterior estimation with its defaults, stopped at the last epoch that ends in time."""

    name = "sbi NPE, MAF"
    estimator: ClassVar[str] = "maf"

    def _train(self, seconds: float, seed: int) -> int:
        from torch.utils.tensorboard import SummaryWriter

        with tempfile.TemporaryDirectory() as logs, SummaryWriter(logs) as writer:
            return self._epochs(seconds, seed, writer)

    def _epochs(self, seconds: float, seed: int, writer: object) -> int:
        from sbi.inference import NPE

        torch.manual_seed(seed)
        began = time.process_time()
        inference = NPE(density_estimator=self.estimator, show_progress_bars=False, summary_writer=writer)
        inference.append_simulations(*self.pool.pairs(seed), exclude_invalid_x=False)
        epochs, spent = 0, 0.0
        while epochs == 0 or spent * (epochs + 0.5) / epochs < seconds:
            # It trains one epoch more than asked for, so that the first call gives two.
            self.module = inference.train(resume_training=epochs > 0, max_num_epochs=max(1, epochs))
            epochs, spent = max(2, epochs + 1), time.process_time() - began
        pairs = int(0.9 * len(self.pool.simulations))  # the others are held out
        return epochs * (pairs // 200)

    def _sample(self, condition: Tensor, samples: int) -> Tensor:
        return self.module.sample((samples,), condition=condition)

    def _log_prob(self, latent: Tensor, condition: Tensor) -> Tensor:
        return self.module.log_prob(latent, condition=condition)


class SbiSpline(Sbi):
    """The same with neural spline flows."""

    name = "sbi NPE, NSF"
    estimator = "nsf"


class Zuko(Method):
    """zuko's autoregressive spline flow, as in its tutorials: three transforms, three layers of 128."""

    name = "zuko NSF"

    def _train(self, seconds: float, seed: int) -> int:
        import zuko

        torch.manual_seed(seed)
        pool = self.pool
        self.module = zuko.flows.NSF(
            pool.num_parameters, pool.num_features, transforms=3, hidden_features=(128, 128, 128)
        )

        def nll(latent: Tensor, condition: Tensor) -> Tensor:
            return -self.module(condition).log_prob(latent).mean()

        return train_adam(self.module, nll, pool, seconds, seed, _ZUKO_RATE)

    def _sample(self, condition: Tensor, samples: int) -> Tensor:
        return self.module(condition).sample((samples,))

    def _log_prob(self, latent: Tensor, condition: Tensor) -> Tensor:
        return self.module(condition).log_prob(latent)


class Freia(Method):
    """FrEIA's conditional GLOW: eight two-sided blocks of width 128 behind our encoder."""

    name = "FrEIA GLOW cINN"

    def _train(self, seconds: float, seed: int) -> int:
        torch.manual_seed(seed)
        np.random.seed(seed)  # its permutations follow numpy's global stream
        pool = self.pool
        encoder = ConditionEncoder(pool.num_features, _FREIA_CONDITION)
        flow = freia_net(Work(channels=pool.num_parameters, condition_channels=_FREIA_CONDITION))
        self.module = nn.ModuleDict({"encoder": encoder, "flow": flow})

        def nll(latent: Tensor, condition: Tensor) -> Tensor:
            return -self._densities(latent, encoder(condition)).mean()

        return train_adam(self.module, nll, pool, seconds, seed, _FREIA_RATE)

    def _densities(self, latent: Tensor, encoded: Tensor) -> Tensor:
        z, log_det = self.module["flow"](latent, c=[encoded])
        return log_det - 0.5 * z.square().sum(1) - 0.5 * math.log(2 * math.pi) * z.shape[1]

    def _sample(self, condition: Tensor, samples: int) -> Tensor:
        encoded, drawn = self.module["encoder"](condition), []
        for part in encoded.split(64):
            rows = part.repeat_interleave(samples, 0)
            z = torch.randn(len(rows), self.pool.num_parameters)
            drawn.append(self.module["flow"](z, c=[rows], rev=True, jac=False)[0].unflatten(0, (-1, samples)))
        return torch.cat(drawn).transpose(0, 1)

    def _log_prob(self, latent: Tensor, condition: Tensor) -> Tensor:
        encoded = self.module["encoder"](condition)
        return torch.stack([self._densities(rows, encoded) for rows in latent])


class BayesFlow(Method):
    """BayesFlow's basic workflow with its default coupling flow and schedule, fed from the pool."""

    name = "BayesFlow 2"

    def _train(self, seconds: float, seed: int) -> int:
        os.environ.setdefault("KERAS_BACKEND", "torch")
        with _silence():
            import bayesflow
            import keras

        logging.getLogger("bayesflow").setLevel(logging.ERROR)
        keras.utils.set_random_seed(seed)
        began, steps = time.process_time(), 0

        def simulate(batch_shape: tuple[int, ...]) -> dict[str, np.ndarray]:
            nonlocal steps
            steps += 1
            latent, condition = self.pool.batch(batch_shape[0], seed, steps)
            return {"theta": latent.numpy(), "x": condition.numpy()}

        def fitted(num_steps: int) -> bayesflow.BasicWorkflow:
            workflow = bayesflow.BasicWorkflow(
                simulator=bayesflow.simulators.LambdaSimulator(simulate, is_batched=True),
                inference_variables="theta",
                inference_conditions="x",
            )
            workflow.fit_online(
                epochs=1, num_batches_per_epoch=num_steps, batch_size=Recipe().batch_size, verbose=0
            )
            return workflow

        # The schedule needs the number of steps, and the first steps have work of their own.
        spent = []
        for trial in _BAYESFLOW_TRIAL:
            start = time.process_time()
            fitted(trial)
            spent.append(time.process_time() - start)
        per_step = (spent[1] - spent[0]) / (_BAYESFLOW_TRIAL[1] - _BAYESFLOW_TRIAL[0])
        left = seconds - (time.process_time() - began)
        num_steps = max(20, int(left / max(per_step, 1e-3)))
        self.workflow = fitted(num_steps)
        return num_steps

    def num_weights(self) -> int:
        """Number of trained numbers."""
        return int(sum(np.prod(w.shape) for w in self.workflow.approximator.trainable_weights))

    def _sample(self, condition: Tensor, samples: int) -> Tensor:
        with _silence():
            found = self.workflow.sample(num_samples=samples, conditions={"x": condition.numpy()})
        return torch.as_tensor(np.asarray(found["theta"], np.float32)).transpose(0, 1)

    def _log_prob(self, latent: Tensor, condition: Tensor) -> Tensor:
        rows = [
            np.asarray(self.workflow.log_prob({"theta": theta.numpy(), "x": condition.numpy()}))
            for theta in latent
        ]
        return torch.as_tensor(np.stack(rows))


def _silence() -> AbstractContextManager[object]:
    """No progress bars and no advice on gradients."""
    return redirect_stderr(io.StringIO())
