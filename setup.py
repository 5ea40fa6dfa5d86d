"""Puts example images and the display library of the Slicer module into the package; makes links absolute."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

# They live in Resources/, where 3D Slicer and people look for them; the installed demo needs them too.
EXAMPLES = (
    "*.hdr",
    "*.dat",
    "*.npz",
    "README.md",
    "organ_mosaic_labels.*",
    "breast_dce.*",
    "*_xray.png",
    "ct/torso_ct.nii.gz",
)


class BuildWithExamples(build_py):
    """Copies the example images to ``monai_inn/examples`` of what is built."""

    def run(self) -> None:
        """Build the package, then add the images."""
        super().run()
        if self.editable_mode:
            return  # a checkout has Resources/ beside the package
        target = Path(self.build_lib) / "monai_inn" / "examples"
        target.mkdir(parents=True, exist_ok=True)
        for pattern in EXAMPLES:
            for source in Path("Resources").glob(pattern):
                place = target / source.relative_to("Resources")
                place.parent.mkdir(exist_ok=True)
                shutil.copy(source, place)


# 3D Slicer finds its part beside the module that it belongs to; the viewer finds the same files by this name.
DISPLAY = "monai_inn.viewer.display"
DISPLAY_FOLDER = "SlicerINN/INNUncertainty/INNDisplayLib"


def description() -> str:
    """Return README.md with absolute links, since a package index shows it without the files beside it.

    The address of the repository is EXTENSION_HOMEPAGE of CMakeLists.txt, and written nowhere else.
    """
    home = re.search(r'EXTENSION_HOMEPAGE "(.*)"', Path("CMakeLists.txt").read_text(encoding="utf-8"))[1]
    raw = home.replace("github.com", "raw.githubusercontent.com")
    text = Path("README.md").read_text(encoding="utf-8")
    text = re.sub(r"(!\[[^]]*\]\()(?!https?:)", rf"\g<1>{raw}/HEAD/", text)
    return re.sub(r"((?<!!)\[[^]]*\]\()(?!https?:)", rf"\g<1>{home}/blob/HEAD/", text)


setup(
    long_description=description(),
    long_description_content_type="text/markdown",
    packages=[
        *find_packages(include=["monai_inn*"]),
        DISPLAY,
        *(f"{DISPLAY}.{name}" for name in find_packages(DISPLAY_FOLDER)),
    ],
    package_dir={DISPLAY: DISPLAY_FOLDER},
    cmdclass={"build_py": BuildWithExamples},
)
