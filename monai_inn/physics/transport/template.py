"""Hand-written part of the compiled kernels: the loops over spectra, layers and blocks of wavelengths."""

from __future__ import annotations

__all__ = ["DRIVER", "INLINED", "SHARED"]

_COSINES = '''def cosines():
    """What turns values at the nodes into Chebyshev coefficients."""
    cosine = np.empty(({nodes}, {nodes}))
    for a in range({nodes}):
        for b in range({nodes}):
            cosine[a, b] = math.cos(math.pi * a * (b + 0.5) / {nodes}) * (1.0 if a == 0 else 2.0) / {nodes}
    return cosine
'''

_HALVE = '''def halve(imu, state):
    """Halve the layer of one block until it is thin enough to start from; return how often."""
    thickest, steps = 0.0, 0
    for l in range({lanes}):
        thickest = max(thickest, state[{half} + l])
    while thickest * imu[0] > {start}:
        thickest *= 0.5
        steps += 1
    for l in range({lanes}):
        state[{half} + l] *= 0.5**steps
    return steps
'''

_LAYER = '''def layer(imu, odd, even, state):
    """R and T of one homogeneous layer for one block."""
    steps = halve(imu, state)
    start(imu, odd, even, state)
    for _ in range(steps):
        double(state)
'''

_SLAB = '''def slab(imu, odd, even, albedo, half, first, g, state):
    """R and T of a stack's layer in the block from ``first`` on, cut where nothing comes back from below."""
    for l in range({lanes}):
        value = albedo[first + l]
        deep = math.sqrt(3.0 * (1.0 - value) * (1.0 - value * g))
        state[{albedo} + l] = value
        state[{half} + l] = min(half[first + l], {max_half_depth} / max(1e-4, deep))
    layer(imu, odd, even, state)
'''

_GROUND = '''def ground(imu, odd, even, albedo, half, first, g, state):
    """The same of the last layer, which is all that reflects below the others."""
    slab(imu, odd, even, albedo, half, first, g, state)
    for q in range({size} * {lanes}):
        state[2 * {size} * {lanes} + q] = state[q]
'''

_HALF_SPACE = '''def half_space(centre, width, g, imu, odd, even, cosine, state, at_nodes, series):
    """Chebyshev coefficients of R of a semi-infinite layer in sqrt(1 - albedo) = centre + width x."""
    for first in range(0, {nodes}, {lanes}):
        for l in range({lanes}):
            root = centre + width * math.cos(math.pi * (first + l + 0.5) / {nodes})
            albedo = 1.0 - root * root
            state[{albedo} + l] = albedo
            state[{half} + l] = {max_half_depth} / (root * math.sqrt(3.0 * (1.0 - albedo * g)))
        layer(imu, odd, even, state)
        for q in range({size}):
            for l in range({lanes}):
                at_nodes[q, first + l] = state[q * {lanes} + l]
    for q in range({size}):
        for a in range({nodes}):
            total = 0.0
            for b in range({nodes}):
                total += cosine[a, b] * at_nodes[q, b]
            series[q * {nodes} + a] = total
'''

_PROPERTIES = '''def properties(mu_a, mu_s, depth, part, albedo, half, root):
    """Albedo, half optical thickness and sqrt(1 - albedo) after Delta-M; padding repeats the last lane."""
    low, high, last = 2.0, 0.0, mu_a.size - 1
    for m in range(albedo.size):
        w = min(m, last)
        scatter = mu_s[w] * part
        extinction = max(mu_a[w] + scatter, 1e-30)
        albedo[m] = min(scatter / extinction, {max_albedo})
        half[m] = 0.5 * min(depth, 1e9) * extinction
        root[m] = math.sqrt(1.0 - albedo[m])
        low, high = min(low, root[m]), max(high, root[m])
    return low, high
'''

INLINED = (_HALVE, _SLAB, _GROUND)
"""Functions of both kernels for one block; numba copies them into their callers, since a call costs 5 %."""

SHARED = (_COSINES, _LAYER, _HALF_SPACE, _PROPERTIES)
"""Functions of both kernels that are called."""

DRIVER = '''def solve(first, last, mu, weight, refl, forward, backward, removed, mu_a, mu_s, g, depth, index,
          bands, begin, end, out):
    """Diffuse reflectance of the spectra first … last - 1, averaged to bands if there are any."""
    layers, wavelengths = mu_a.shape[1], mu_a.shape[2]
    blocks = (wavelengths + {lanes} - 1) // {lanes}
    state, series = np.zeros({length}), np.empty({size} * {nodes})
    at_nodes, cosine = np.empty(({size}, {nodes})), cosines()
    albedo, half = np.empty((layers, blocks * {lanes})), np.empty((layers, blocks * {lanes}))
    even, odd = np.empty((layers, {size})), np.empty((layers, {size}))
    root, spectrum = np.empty(blocks * {lanes}), np.empty(blocks * {lanes})
    for s in range(first, last):
        imu, flux, scale = 1.0 / mu[s], 2.0 * np.sqrt(mu[s] * weight[s]), np.sqrt(weight[s] / mu[s])
        leaving = flux * (1.0 - refl[s])
        source = (1.0 - ((index[s] - 1.0) / (index[s] + 1.0)) ** 2) / flux[{n} - 1]
        low, high = 0.0, 0.0
        for k in range(layers):
            q = 0
            for i in range({n}):
                for j in range(i, {n}):
                    f = 0.5 * scale[i] * scale[j]
                    even[k, q] = f * (forward[s, k, i, j] + backward[s, k, i, j])
                    odd[k, q] = f * (forward[s, k, i, j] - backward[s, k, i, j])
                    q += 1
            part = 1.0 - removed[s, k]
            low, high = properties(mu_a[s, k], mu_s[s, k], depth[s, k], part, albedo[k], half[k], root)
        bottom = layers - 1
        centre, width = 0.5 * (high + low), max(0.5 * (high - low), 1e-6)
        # Worth it only for more wavelengths than nodes; near zero absorption the cut-off depth is not
        # analytic.
        interpolate = depth[s, bottom] > 1e9 and wavelengths > {nodes} and low > 1e-3
        if interpolate:
            deepest = odd[bottom], even[bottom]
            half_space(centre, width, g[s, bottom], imu, *deepest, cosine, state, at_nodes, series)
            for m in range(root.size):
                root[m] = (root[m] - centre) / width
        for block in range(blocks):
            a = block * {lanes}
            if interpolate:
                for l in range({lanes}):
                    state[{position} + l] = root[a + l]
                expand(series, state)
            else:
                ground(imu, odd[bottom], even[bottom], albedo[bottom], half[bottom], a, g[s, bottom], state)
            for k in range(bottom - 1, -1, -1):
                slab(imu, odd[k], even[k], albedo[k], half[k], a, g[s, k], state)
                add(state)
            top(state, refl[s], leaving, source)
            for l in range({lanes}):
                spectrum[a + l] = state[{result} + l]
        if bands.shape[0] == 0:
            out[s] = spectrum[:wavelengths]
        for c in range(bands.shape[0]):
            total = 0.0
            for w in range(begin[c], end[c]):
                total += bands[c, w] * spectrum[w]
            out[s, c] = total
'''
