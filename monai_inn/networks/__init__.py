"""Coupling flows, their ensembles and the encoders in front of them."""

from monai_inn.networks.encoders import ConditionEncoder, QuantileHead, Whitening
from monai_inn.networks.flows import ConditionalFlow, FlowEnsemble
from monai_inn.networks.freia import load_freia_state
from monai_inn.networks.posterior import ParameterPosterior, PosteriorNetwork

__all__ = [
    "ConditionEncoder",
    "ConditionalFlow",
    "FlowEnsemble",
    "ParameterPosterior",
    "PosteriorNetwork",
    "QuantileHead",
    "Whitening",
    "load_freia_state",
]
