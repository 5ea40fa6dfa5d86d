"""Coupling flows, their ensembles and the encoders in front of them."""

from monai_inn.networks.encoders import ConditionEncoder, QuantileHead, VectorEncoder
from monai_inn.networks.flows import ConditionalFlow, FlowEnsemble
from monai_inn.networks.freia import load_freia_state
from monai_inn.networks.parts import Encoder, register
from monai_inn.networks.posterior import ParameterPosterior, PosteriorNetwork
from monai_inn.networks.whitening import Whitening

__all__ = [
    "ConditionEncoder",
    "ConditionalFlow",
    "Encoder",
    "FlowEnsemble",
    "ParameterPosterior",
    "PosteriorNetwork",
    "QuantileHead",
    "VectorEncoder",
    "Whitening",
    "load_freia_state",
    "register",
]
