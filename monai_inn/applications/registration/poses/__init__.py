"""Poses that explain X-rays: from a network, or by fits of the likelihood; drawn, weighed and joined."""
