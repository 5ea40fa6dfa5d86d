"""Which device tells how much about which parameter: devices compared on the same phantoms."""

from typing import TYPE_CHECKING

from monai_inn.lazy import lazy_attributes

if TYPE_CHECKING:
    from monai_inn.devices.comparing import compare_devices
    from monai_inn.devices.designing import design_bands

__all__ = ["compare_devices", "design_bands"]

__getattr__ = lazy_attributes(__name__, {"compare_devices": "comparing", "design_bands": "designing"})
