"""Gradients of whole models in few numbers.

A sketch of a gradient is its norm and its products with eight fixed random directions. Of two
gradients of one parameter, the mean square of the differences of those products is an unbiased
estimate of the square of the norm of their difference.
"""

import torch

DIRECTIONS = 8


def wave(shape):
    """Fixed coefficients of a linear function, which nobody needs to store: cos 0, cos 1, …"""
    count = torch.Size(shape).numel()
    return torch.arange(count, dtype=torch.float64).cos().float().reshape(shape)


def sketch(gradient):
    flat = gradient.detach().double().flatten()
    generator = torch.Generator().manual_seed(flat.numel())
    directions = torch.randn(DIRECTIONS, flat.numel(), generator=generator).double()
    return torch.cat([flat.norm().reshape(1), directions @ flat]).float()


def sketches(parameters):
    """Of the gradients that (name, parameter) pairs have received; zeros where there is none."""
    return {
        name: sketch(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
        for name, parameter in parameters
    }
