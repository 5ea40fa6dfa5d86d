"""Source code of the compiled kernel of the fluence at a depth, on top of that of the reflectance.

In a half-space the light that goes down at a depth is ``P(z)`` times that which goes down at its top, and
``P(z + z') = P(z) P(z')``, since what lies below looks the same from everywhere. So a thin layer and its
squares replace the doubling of ``R`` and ``T`` between the top of the half-space and the depth.
"""

from __future__ import annotations

import functools

from monai_inn.physics.transport.codegen import (
    Emitter,
    Pairs,
    State,
    entering,
    function,
    module_source,
    scalars,
)

__all__ = ["fluence_source"]


@functools.cache
def fluence_source(num_directions: int) -> str:
    """Return the text of a Python module with one function ``solve``, the kernel for ``num_directions``."""
    return module_source(num_directions, (_propagate, _square, _enter, _descend, _arrive), (_SAVE, _DRIVER))


def _propagate(n: int, pairs: Pairs) -> str:
    """``P = (1 - R up)^-1 T`` of the starting layer, where ``up`` is the reflection of the half-space."""
    e, state = Emitter(n), State(n, pairs)
    r, t, up = (state.grid(name) for name in ("r", "t", "up"))
    p = e.solve(e.identity_plus(e.multiply(r, up), "-"), t)
    loads = [line for name in ("r", "t", "up") for line in state.load(name)]
    stores = [f"{state.further(i * n + j)} = {p[i][j]}" for i in range(n) for j in range(n)]
    return function("propagate(state)", [], [*loads, *e.lines, *stores])


def _loaded(n: int, state: State) -> tuple[list[str], list[list[str]]]:
    """Lines that take ``P`` out of ``state``, and the names of its entries."""
    lines = [f"p{q} = {state.further(q)}" for q in range(n * n)]
    return lines, [[f"p{i * n + j}" for j in range(n)] for i in range(n)]


def _square(n: int, pairs: Pairs) -> str:
    """``P`` of twice the depth."""
    e, state = Emitter(n), State(n, pairs)
    loads, p = _loaded(n, state)
    pp = e.multiply(p, p)
    stores = [f"{state.further(i * n + j)} = {pp[i][j]}" for i in range(n) for j in range(n)]
    return function("square(state)", [], [*loads, *e.lines, *stores])


def _enter(n: int, pairs: Pairs) -> str:
    """Light that goes down below the surface, of collimated light that fell on it."""
    e, state = Emitter(n), State(n, pairs)
    down = entering(e, state.grid("up"))
    stores = [f"{state.further(n * n + i)} = {down[i][0]}" for i in range(n)]
    return function(
        "enter(state, refl, source)", scalars(["refl"], n), [*state.load("up"), *e.lines, *stores]
    )


def _descend(n: int, pairs: Pairs) -> str:
    """The same below one more layer, of which ``saved`` holds ``R``, ``T`` and what reflects below it."""
    e, state = Emitter(n), State(n, pairs)
    r, t, up = (state.grid(name) for name in ("r", "t", "up"))
    down = [[f"down{i}"] for i in range(n)]
    rest = [[e.let(" + ".join(f"{t[i][j]} * {down[j][0]}" for j in range(n)))] for i in range(n)]
    below = e.solve(e.identity_plus(e.multiply(r, up), "-"), rest)
    loads = [line for name in ("r", "t", "up") for line in state.load(name, "saved")]
    loads += [f"down{i} = {state.further(n * n + i)}" for i in range(n)]
    stores = [f"{state.further(n * n + i)} = {below[i][0]}" for i in range(n)]
    return function("descend(saved, state)", [], [*loads, *e.lines, *stores])


def _arrive(n: int, pairs: Pairs) -> str:
    """Fluence at the depth."""
    e, state = Emitter(n), State(n, pairs)
    loads, p = _loaded(n, state)
    loads += [f"down{i} = {state.further(n * n + i)}" for i in range(n)]
    up = state.grid("up")
    down = [e.let(" + ".join(f"{p[i][j]} * down{j}" for j in range(n))) for i in range(n)]
    total = [
        f"scale_{i} * ({down[i]} + " + " + ".join(f"{up[i][j]} * {down[j]}" for j in range(n)) + ")"
        for i in range(n)
    ]
    body = [*state.load("up", "saved"), *loads, *e.lines, f"{state.lane('result')} = {' + '.join(total)}"]
    return function("arrive(saved, state, scale)", scalars(["scale"], n), body)


_SAVE = '''def save(state, saved):
    """Copy R, T and what reflects below them."""
    for q in range(3 * {size} * {lanes}):
        saved[q] = state[q]
'''

_DRIVER = '''def solve(first, last, imu, refl, scale, source, forward, backward, removed, g, lowest, highest,
          mu_a, mu_s, depth, out):
    """Fluence of the spectra first … last - 1 at the depth of the last layer."""
    layers, wavelengths = mu_a.shape[1], mu_a.shape[2]
    blocks, bottom = (wavelengths + {lanes} - 1) // {lanes}, layers - 1
    state, series = np.zeros({with_vectors}), np.empty({size} * {nodes})
    saved = np.empty((layers, 3 * {size} * {lanes}))
    at_nodes, cosine = np.empty(({size}, {nodes})), cosines()
    albedo, half = np.empty((layers, blocks * {lanes})), np.empty((layers, blocks * {lanes}))
    root, spectrum = np.empty(blocks * {lanes}), np.empty(blocks * {lanes})
    endless = np.full(blocks * {lanes}, 1e9)
    centre, width = 0.5 * (highest + lowest), 0.5 * (highest - lowest)
    half_space(centre, width, g, imu, backward, forward, cosine, state, at_nodes, series)
    for s in range(first, last):
        for k in range(layers):
            properties(mu_a[s, k], mu_s[s, k], depth[s, k], 1.0 - removed, albedo[k], half[k], root)
        for block in range(blocks):
            a = block * {lanes}
            low, high = 2.0, 0.0
            for l in range({lanes}):
                low, high = min(low, root[a + l]), max(high, root[a + l])
            if low >= lowest and high <= highest:
                for l in range({lanes}):
                    state[{position} + l] = (root[a + l] - centre) / width
                expand(series, state)
            else:
                ground(imu, backward, forward, albedo[bottom], endless, a, g, state)
            for l in range({lanes}):
                state[{albedo} + l] = albedo[bottom, a + l]
                state[{half} + l] = half[bottom, a + l]
            steps = halve(imu, state)
            start(imu, backward, forward, state)
            save(state, saved[bottom])
            propagate(state)
            for _ in range(steps):
                square(state)
            for k in range(bottom - 1, -1, -1):
                slab(imu, backward, forward, albedo[k], half[k], a, g, state)
                save(state, saved[k])
                add(state)
            enter(state, refl, source)
            for k in range(bottom):
                descend(saved[k], state)
            arrive(saved[bottom], state, scale)
            for l in range({lanes}):
                spectrum[a + l] = state[{result} + l]
        out[s] = spectrum[:wavelengths]
'''
