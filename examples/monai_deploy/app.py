"""Posterior maps as an application of MONAI Deploy: a folder of images in, a folder of maps for each out.

    python app.py -i IMAGES -o OUT -m BUNDLE

The maps of each image are those of `monai-inn infer`, with their `result.json`. An image that cannot be read
is named on standard error, and the others follow.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from monai.deploy.conditions import CountCondition
from monai.deploy.core import Application, Operator, OperatorSpec

from monai_inn.bundles import image_items
from monai_inn.reports import infer_image


class ImageFolder(Operator):
    """Emit the path of one image after the other."""

    def __init__(self, fragment: Application, *args: Any, images: list[Path], **kwargs: Any) -> None:
        self.images = iter(images)
        super().__init__(fragment, CountCondition(fragment, len(images)), *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the output."""
        spec.output("image")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Emit the next path."""
        op_output.emit(next(self.images), "image")


class PosteriorMaps(Operator):
    """Write posterior maps of an image.

    Args:
        fragment: the application.
        *args: conditions.
        bundle: folder of the bundle.
        out: folder in which every image gets one.
        **kwargs: further arguments of an operator.
    """

    def __init__(self, fragment: Application, *args: Any, bundle: Path, out: Path, **kwargs: Any) -> None:
        self.bundle, self.out = bundle, out
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the input."""
        spec.input("image")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Infer one image."""
        image: Path = op_input.receive("image")
        try:
            result = infer_image(self.bundle, image, self.out / image.name)
        except (ValueError, OSError) as error:
            print(f"{image}: {error}", file=sys.stderr)
            return
        print(f"{image}: {result['summary']['valid_pixels']} pixels, {self.out / image.name}")


class MapsApplication(Application):
    """Images to maps."""

    def compose(self) -> None:
        """Connect the two operators."""
        context = Application.init_app_context(self.argv)
        images = [Path(item["image"]) for item in image_items(context.input_path)]
        source = ImageFolder(self, images=images, name="images")
        maps = PosteriorMaps(self, bundle=context.model_path, out=Path(context.output_path), name="maps")
        self.add_flow(source, maps, {("image", "image")})


if __name__ == "__main__":
    MapsApplication().run()
