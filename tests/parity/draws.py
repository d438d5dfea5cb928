"""Random parameters for the models of the parity tests."""

import torch


@torch.no_grad()
def randomise(parameters, generator, *, is_table, norm, vector, table, matrix, gate=None):
    """Draws every one of `parameters` (pairs of name and parameter) anew, away from the zeros and
    ones that they start as: weights of norms about 1, other vectors about 0, tables of rows by
    `is_table` of their names, and matrices by fan-in, each with its spread. `gate` gives a gate's
    value from its draw; without it gates are vectors.
    """
    for name, parameter in parameters:
        draw = torch.randn(parameter.shape, generator=generator)
        if gate and "gate" in name.split(".")[-1]:
            draw = gate(draw)
        elif "norm" in name and name.endswith("weight") and parameter.dim() == 1:
            draw = 1 + norm * draw
        elif is_table(name):
            draw = table * draw
        elif parameter.dim() < 2:
            draw = vector * draw
        else:
            draw = matrix * draw / parameter[0].numel() ** 0.5
        parameter.copy_(draw)


def embeddings(model):
    """The names of the tables among a model's parameters."""
    modules = model.named_modules()
    return {f"{name}.weight" for name, module in modules if isinstance(module, torch.nn.Embedding)}
