"""Generated source code as a module on disk, where numba keeps what it compiled of it."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["cache_folder", "compiled"]


def cache_folder() -> Path:
    """Return the folder for compiled kernels: ``MONAI_INN_CACHE``, the user's cache, or a temporary one."""
    from platformdirs import user_cache_path

    override = os.environ.get("MONAI_INN_CACHE")
    candidates = [Path(override)] if override else [user_cache_path("monai_inn")]
    # A shared temporary folder could hold another user's code, hence the user's own sub-folder.
    owner = str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    for folder in (*candidates, Path(tempfile.gettempdir()) / f"monai_inn-{owner}"):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.access(folder, os.W_OK) and (
                not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
            ):
                return folder
        except OSError:
            continue
    return Path(tempfile.mkdtemp(prefix="monai_inn-"))


@functools.cache
def compiled(name: str, source: str) -> Callable[..., None]:
    """Return the function ``solve`` of generated source code, of a module whose file begins with ``name``."""
    import numba

    digest = hashlib.sha256(f"{source}{numba.__version__}{sys.version}".encode()).hexdigest()[:16]
    name = f"{name}_{digest}"
    path = cache_folder() / f"{name}.py"
    # The text is compared, not only its name: a damaged or foreign file is never run.
    if not path.exists() or path.read_text() != source:
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(handle, "w") as file:
            file.write(source)
        os.replace(temporary, path)
    spec = importlib.util.spec_from_file_location(f"monai_inn_generated.{name}", path)
    if spec is None or spec.loader is None:
        raise ImportError(
            f"cannot import the generated kernel {path}; set MONAI_INN_CACHE to a writable folder."
        )
    module = importlib.util.module_from_spec(spec)
    # numba looks functions up by module name when it loads compiled code from disk.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.solve  # type: ignore[no-any-return]
