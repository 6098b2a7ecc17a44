"""The run-time checker of signatures that jaxtyping applies to every function of ours while tests run."""

from collections.abc import Callable

import beartype

# As for static checkers, an int is a float (PEP 484).
_check = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))


def check(function: Callable) -> Callable:
    """Returns `function`, checking its arguments and result; constructors are returned as they are.

    JAX rebuilds structs with placeholders, shardings and rows of other rank in their fields (`eval_shape`, `tree.map`,
    `vmap`, `scan`): the shapes on a struct are documentation, those on a function are claims.
    """
    return function if function.__name__ == "__init__" else _check(function)
