"""Posterior maps as an application of MONAI Deploy: images in, maps that a viewer may show out.

    python examples/monai_deploy/app.py -i IMAGES -o OUT -m BUNDLE

IMAGES is a folder; every multispectral image in it gets a folder of maps in OUT, as `monai-inn infer` writes
them. BUNDLE is the folder of a bundle. Values of pixels that the bundle does not explain are NaN here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.deploy.conditions import CountCondition
from monai.deploy.core import Application, Fragment, Operator, OperatorSpec

import monai_inn
from monai_inn.bundles import image_items
from monai_inn.reports.image_files import write_nifti
from monai_inn.transforms import read_multispectral
