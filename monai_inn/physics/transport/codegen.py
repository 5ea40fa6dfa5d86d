"""Source code of the compiled adding-doubling kernel, written out for a given number of directions.

For N directions the N × N linear algebra is emitted once as straight-line scalar code, so that the only loop
left runs over the wavelengths ("lanes") of a block and becomes vector instructions. For that, all matrices of
a block lie in one array at constant distances (``state``): with several arrays the compiler cannot rule out
that they overlap and gives up. Matrices that are symmetric in the flux scaling are kept as upper triangles.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from monai_inn.physics.transport.layers import MAX_ALBEDO, MAX_HALF_DEPTH, START
from monai_inn.physics.transport.template import DRIVER, INLINED, SHARED

__all__ = [
    "LANES",
    "NODES",
    "ROWS",
    "Emitter",
    "Matrix",
    "Pairs",
    "State",
    "entering",
    "function",
    "kernel_source",
    "module_source",
    "scalars",
]

LANES = 8
"""Wavelengths in one block: the float64 numbers in the widest vector register."""

NODES = 16
"""Chebyshev nodes through which the reflection of a semi-infinite layer is interpolated."""

ROWS = ("albedo", "half", "position", "result")
"""Quantities of a block that have one value a lane, in the order in which ``state`` holds them."""

Matrix = list[list[str]]
Pairs = list[tuple[int, int]]


class Emitter:
    """Collects assignments for small linear algebra; matrix entries are names of scalars or literals."""

    def __init__(self, size: int) -> None:
        self.size, self.lines = size, list[str]()

    def let(self, expression: str) -> str:
        """Assign an expression, and return the name of its value."""
        name = f"v{len(self.lines)}"
        self.lines.append(f"{name} = {expression}")
        return name

    def build(self, entry: Callable[[int, int], str]) -> Matrix:
        """Assign every entry of a matrix."""
        return [[self.let(entry(i, j)) for j in range(self.size)] for i in range(self.size)]

    def identity_plus(self, matrix: Matrix, sign: str) -> Matrix:
        """Return one plus or minus a matrix, by ``sign``."""
        return self.build(lambda i, j: f"{float(i == j)} {sign} {matrix[i][j]}")

    def multiply(self, a: Matrix, b: Matrix, symmetric: bool = False) -> Matrix:
        """Return a product; half of it is computed where it is symmetric."""
        out = [[""] * self.size for _ in range(self.size)]
        for i in range(self.size):
            for j in range(i if symmetric else 0, self.size):
                out[i][j] = self.let(" + ".join(f"{a[i][k]} * {b[k][j]}" for k in range(self.size)))
                if symmetric:
                    out[j][i] = out[i][j]
        return out

    def reciprocals(self, names: Sequence[str]) -> list[str]:
        """``1 / x`` of one or two numbers with one division, which costs a dozen multiplications."""
        if len(names) == 1:
            return [self.let(f"1.0 / {names[0]}")]
        both = self.let(f"1.0 / ({names[0]} * {names[1]})")
        return [self.let(f"{both} * {names[1]}"), self.let(f"{both} * {names[0]}")]

    def solve(self, matrix: Matrix, rhs: Matrix) -> Matrix:
        """``matrix^-1 rhs`` without pivoting: matrices here are dominant or similar to a positive one."""
        m, x, inverse = [row[:] for row in matrix], [row[:] for row in rhs], list[str]()
        for k in range(self.size):
            inverse += self.reciprocals([m[k][k]])
            for i in range(k + 1, self.size):
                factor = self.let(f"{m[i][k]} * {inverse[k]}")
                for j in range(k + 1, self.size):
                    m[i][j] = self.let(f"{m[i][j]} - {factor} * {m[k][j]}")
                x[i] = [self.let(f"{x[i][j]} - {factor} * {x[k][j]}") for j in range(len(x[0]))]
        for k in reversed(range(self.size)):
            for j in range(len(x[0])):
                rest = "".join(f" - {m[k][q]} * {x[q][j]}" for q in range(k + 1, self.size))
                x[k][j] = self.let(f"({x[k][j]}{rest}) * {inverse[k]}")
        return x

    def congruences(self, matrices: Sequence[Matrix], t: Matrix) -> list[Matrix]:
        """``tᵀ m^-1 t`` for one or two symmetric positive matrices, which share their divisions."""
        m, z = [[row[:] for row in a] for a in matrices], [[row[:] for row in t] for _ in matrices]
        inverse: list[list[str]] = [[] for _ in matrices]
        for k in range(self.size):
            for a, reciprocal in enumerate(self.reciprocals([a[k][k] for a in m])):
                inverse[a].append(reciprocal)
            for a in range(len(m)):
                for i in range(k + 1, self.size):
                    factor = self.let(f"{m[a][k][i]} * {inverse[a][k]}")
                    for j in range(i, self.size):
                        m[a][i][j] = self.let(f"{m[a][i][j]} - {factor} * {m[a][k][j]}")
                    z[a][i] = [self.let(f"{z[a][i][j]} - {factor} * {z[a][k][j]}") for j in range(self.size)]
        out = []
        for a in range(len(m)):
            y = self.build(lambda k, i, a=a: f"{z[a][k][i]} * {inverse[a][k]}")  # type: ignore[misc]
            transposed = [list(column) for column in zip(*y, strict=True)]
            out.append(self.multiply(transposed, z[a], symmetric=True))
        return out


@functools.cache
def kernel_source(num_directions: int) -> str:
    """Return the text of a Python module with one function ``solve``, the kernel for ``num_directions``."""
    return module_source(num_directions, (_top,), (DRIVER,))


def module_source(
    num_directions: int, emitters: Sequence[Callable[[int, Pairs], str]], templates: Sequence[str]
) -> str:
    """Return the text of a module that solves layers, and functions of its own that make something of it.

    Args:
        num_directions: directions per hemisphere.
        emitters: what writes straight-line functions, of the number of directions and the entries of a
            symmetric matrix.
        templates: text of further functions, the last of them ``solve``; sizes are named in braces.
    """
    n = num_directions
    pairs = [(i, j) for i in range(n) for j in range(i, n)]
    length = (3 * len(pairs) + len(ROWS)) * LANES
    numbers = {
        "n": n,
        "size": len(pairs),
        "nodes": NODES,
        "lanes": LANES,
        "length": length,
        "with_vectors": length + n * (n + 1) * LANES,
        **{row: (3 * len(pairs) + k) * LANES for k, row in enumerate(ROWS)},
        "start": START,
        "max_albedo": repr(MAX_ALBEDO),
        "max_half_depth": MAX_HALF_DEPTH,
    }
    parts = [emit(n, pairs) for emit in (_start, _double, _add, _expand, *emitters)]
    parts += [template.format(**numbers) for template in (*SHARED, *templates)]
    inlined = [template.format(**numbers) for template in INLINED]
    texts = [f"{_JIT.format('always')}\n{text}" for text in inlined]
    texts += [f"{_JIT.format('never')}\n{text}" for text in parts]
    return "\n\n".join([_HEADER, *texts])


class State:
    """Place of the matrices in ``state``: entry q of matrix m in lane l at ``(m size + q) LANES + l``."""

    def __init__(self, n: int, pairs: Pairs) -> None:
        self.n, self.pairs, self.size = n, pairs, len(pairs)
        self.slot = {pair: q for q, pair in enumerate(pairs)}

    def grid(self, name: str) -> Matrix:
        """Names of the entries of a symmetric matrix."""
        return [[f"{name}{self.slot[min(i, j), max(i, j)]}" for j in range(self.n)] for i in range(self.n)]

    def load(self, name: str, array: str = "state") -> list[str]:
        """Return lines that take a matrix out of an array of this layout."""
        return [f"{name}{q} = {self.cell(name, q, array)}" for q in range(self.size)]

    def store(self, name: str, value: Callable[[int, int], str]) -> list[str]:
        """Return lines that put a matrix into ``state``."""
        return [f"{self.cell(name, q)} = {value(i, j)}" for q, (i, j) in enumerate(self.pairs)]

    def further(self, q: int) -> str:
        """Cell ``q`` behind all others: ``n`` by ``n`` matrix, row by row, then a vector."""
        return f"state[{(3 * self.size + len(ROWS) + q) * LANES} + l]"

    def lane(self, name: str) -> str:
        """Cell of a quantity with one value a lane, behind the matrices."""
        return f"state[{(3 * self.size + ROWS.index(name)) * LANES} + l]"

    def cell(self, name: str, q: int, array: str = "state") -> str:
        """Return the place of one entry."""
        return f"{array}[{(('r', 't', 'up').index(name) * self.size + q) * LANES} + l]"


def function(signature: str, constants: list[str], body: list[str]) -> str:
    """Function that takes constants out of arrays and then runs over the lanes of a block."""
    text = f"def {signature}:\n" + "".join(f"    {line}\n" for line in constants)
    return f"{text}    for l in range({LANES}):\n" + "".join(f"        {line}\n" for line in body)


def scalars(names: Sequence[str], count: int) -> list[str]:
    """Copies of array entries into scalars ``name_0, name_1, …``."""
    return [f"{name}_{q} = {name}[{q}]" for name in names for q in range(count)]


def _start(n: int, pairs: Pairs) -> str:
    """Reflection and transmission of the starting layer; see ``layers._tanh_fraction`` for the fraction."""
    e, state = Emitter(n), State(n, pairs)
    odd, even = state.grid("odd_"), state.grid("even_")
    plus = e.build(lambda i, j: f"{f'imu_{i}' if i == j else '0.0'} - albedo * {odd[i][j]}")
    minus = e.build(lambda i, j: f"{f'imu_{i}' if i == j else '0.0'} - albedo * {even[i][j]}")
    c = e.multiply(plus, minus)
    x = e.build(lambda i, j: f"{c[i][j]} * half * half")
    xx = e.multiply(x, x)
    xxx = e.multiply(xx, x)
    unit = [[10395.0 * (i == j) for j in range(n)] for i in range(n)]
    denominator = e.build(
        lambda i, j: f"{unit[i][j]} + 4725.0 * {x[i][j]} + 210.0 * {xx[i][j]} + {xxx[i][j]}"
    )
    numerator = e.build(lambda i, j: f"half * ({unit[i][j]} + 1260.0 * {x[i][j]} + 21.0 * {xx[i][j]})")
    g = e.solve(denominator, numerator)
    eye = [[str(float(i == j)) for j in range(n)] for i in range(n)]
    q, p = e.multiply(minus, g, symmetric=True), e.multiply(g, plus, symmetric=True)
    a, b = e.congruences([e.identity_plus(q, "+"), e.identity_plus(p, "+")], eye)
    results = state.store("r", lambda i, j: f"{a[i][j]} - {b[i][j]}")
    results += state.store("t", lambda i, j: f"{a[i][j]} + {b[i][j]} - {eye[i][j]}")
    constants = scalars(["odd", "even"], len(pairs)) + scalars(["imu"], n)
    body = [f"albedo = {state.lane('albedo')}", f"half = {state.lane('half')}", *e.lines, *results]
    return function("start(imu, odd, even, state)", constants, body)


def _double(n: int, pairs: Pairs) -> str:
    """``R' = R + T (U - V) T / 2``, ``T' = T (U + V) T / 2`` with ``U = (1 - R)^-1``, ``V = (1 + R)^-1``."""
    e, state = Emitter(n), State(n, pairs)
    r, t = state.grid("r"), state.grid("t")
    u, v = e.congruences([e.identity_plus(r, "-"), e.identity_plus(r, "+")], t)
    results = state.store("r", lambda i, j: f"{r[i][j]} + 0.5 * ({u[i][j]} - {v[i][j]})")
    results += state.store("t", lambda i, j: f"0.5 * ({u[i][j]} + {v[i][j]})")
    return function("double(state)", [], [*state.load("r"), *state.load("t"), *e.lines, *results])


def _add(n: int, pairs: Pairs) -> str:
    """Reflection with one more layer on top: ``R + T (1 - U R)^-1 U T``."""
    e, state = Emitter(n), State(n, pairs)
    r, t, up = (state.grid(name) for name in ("r", "t", "up"))
    inner = e.solve(e.identity_plus(e.multiply(up, r), "-"), e.multiply(up, t))
    y = e.multiply(t, inner, symmetric=True)
    results = state.store("up", lambda i, j: f"{r[i][j]} + {y[i][j]}")
    loads = [line for name in ("r", "t", "up") for line in state.load(name)]
    return function("add(state)", [], [*loads, *e.lines, *results])


def entering(e: Emitter, up: Matrix) -> Matrix:
    """Light that goes down below the surface, a column: what falls on it, and what it reflects back down."""
    matrix = e.build(lambda i, j: f"{float(i == j)} - refl_{i} * {up[i][j]}")
    return e.solve(matrix, [["0.0"]] * (e.size - 1) + [["source"]])


def _top(n: int, pairs: Pairs) -> str:
    """Collimated light through the surface, back out through it."""
    e, state = Emitter(n), State(n, pairs)
    up = state.grid("up")
    down = entering(e, up)
    back = [" + ".join(f"{up[i][j]} * {down[j][0]}" for j in range(n)) for i in range(n)]
    result = " + ".join(f"leaving_{i} * ({row})" for i, row in enumerate(back))
    body = [*state.load("up"), *e.lines, f"{state.lane('result')} = {result}"]
    return function("top(state, refl, leaving, source)", scalars(["refl", "leaving"], n), body)


def _expand(n: int, pairs: Pairs) -> str:
    """Chebyshev series of every matrix entry at the positions of one block."""
    state = State(n, pairs)
    terms = [f"x = {state.lane('position')}", "c1 = x"]
    terms += [f"c{k} = 2.0 * x * c{k - 1} - {'1.0' if k == 2 else f'c{k - 2}'}" for k in range(2, NODES)]
    sums = [
        f"series_{q * NODES} + " + " + ".join(f"series_{q * NODES + k} * c{k}" for k in range(1, NODES))
        for q in range(state.size)
    ]
    results = [f"{state.cell('up', q)} = {value}" for q, value in enumerate(sums)]
    constants = scalars(["series"], state.size * NODES)
    return function("expand(series, state)", constants, terms + results)


_HEADER = '''"""Generated adding-doubling kernel; see monai_inn.physics.transport.codegen."""
import math

import numpy as np
from numba import njit'''
_JIT = '@njit(cache=True, nogil=True, fastmath=True, error_model="numpy", inline="{}")'
