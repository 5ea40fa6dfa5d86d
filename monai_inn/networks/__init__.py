"""Coupling flows, their ensembles and the encoders in front of them."""

from monai_inn.lazy import lazy_attributes
from monai_inn.networks.autoencoder import InvertibleAutoencoder
from monai_inn.networks.contracts import check_encoder, check_flow
from monai_inn.networks.encoders.encoders import ConditionEncoder, QuantileHead, VectorEncoder
from monai_inn.networks.encoders.whitening import Whitening
from monai_inn.networks.flows.flows import ConditionalFlow, FlowEnsemble
from monai_inn.networks.freia.importing import load_freia_state
from monai_inn.networks.parameter_posterior import ParameterPosterior
from monai_inn.networks.parts import Encoder, register
from monai_inn.networks.posterior import PosteriorNetwork

__all__ = [
    "ConditionEncoder",
    "ConditionalFlow",
    "Encoder",
    "FlowEnsemble",
    "ImageFlow",
    "InvertibleAutoencoder",
    "ParameterPosterior",
    "PosteriorNetwork",
    "QuantileHead",
    "VectorEncoder",
    "Whitening",
    "check_encoder",
    "check_flow",
    "load_freia_state",
    "register",
]

# Its features come from MONAI, which takes seconds to import.
__getattr__ = lazy_attributes(__name__, {"ImageFlow": "images.flow"})
