"""Flows of whole images: Haar levels, a closed-form Gaussian start, convolutional couplings."""
