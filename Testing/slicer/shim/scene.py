"""The scene with its logics and slice views: Slicer's own classes, put together as the application does."""

from __future__ import annotations

import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import slicer
import vtk
from PySide6.QtGui import QImage
from vtk.util.numpy_support import vtk_to_numpy

__all__ = ["SceneCore", "SliceView", "has_opengl"]

# Modules of Slicer that a scripted module may ask for their logic, as `slicer.modules.colors.logic()`.
LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Volumes": "vtkSlicerVolumesLogic",
}
_SIZE = 640, 480
_MANAGERS = (
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
)


@lru_cache(maxsize=1)
def has_opengl() -> bool:
    """Whether a render window can draw here. Without a driver it ends its process, so another one tries."""
    attempt = "import vtk; w = vtk.vtkRenderWindow(); w.SetOffScreenRendering(1); w.Render()"
    return subprocess.run([sys.executable, "-c", attempt], capture_output=True, check=False).returncode == 0


class SceneCore:
    """The scene, the application logic and the logics of the modules."""

    def __init__(self, folder: Path) -> None:
        self.scene = slicer.vtkMRMLScene()
        self.logic = slicer.vtkSlicerApplicationLogic()
        self.logic.SetMRMLScene(self.scene)
        # The logic looks for color files there and complains if the folder is missing.
        (folder / "share" / "ColorFiles").mkdir(parents=True)
        self.logic.SetHomeDirectory(str(folder))
        self.logic.SetShareDirectory("share")
        self.logic.SetSliceLogics(vtk.vtkCollection())
        self.logic.SetViewLogics(vtk.vtkCollection())
        self.logic.GetColorLogic().SetMRMLScene(self.scene)
        self.logic.GetColorLogic().AddDefaultColorNodes()
        self.module_logics = {
            name: self._add_logic(name, getattr(slicer, cls)()) for name, cls in LOGICS.items()
        }
        self._add_crosshair()
        self._add_file_managers(folder)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)

    def _add_logic(self, name: str, logic: slicer.vtkMRMLAbstractLogic) -> slicer.vtkMRMLAbstractLogic:
        logic.SetMRMLApplicationLogic(self.logic)
        logic.SetMRMLScene(self.scene)  # this also tells the scene the classes of the module's nodes
        self.logic.SetModuleLogic(name, logic)
        return logic

    def _add_crosshair(self) -> None:
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.scene.AddNode(crosshair)

    def _add_file_managers(self, folder: Path) -> None:
        """Without both of them a `.mrb` file cannot be read."""
        cache = slicer.vtkCacheManager()
        (folder / "cache").mkdir()
        cache.SetRemoteCacheDirectory(str(folder / "cache"))
        files = slicer.vtkDataIOManager()
        files.SetCacheManager(cache)
        self.scene.SetCacheManager(cache)
        self.scene.SetDataIOManager(files)


class SliceView:
    """One slice view: real reslicing and blending; drawn with legend only where OpenGL works."""

    def __init__(self, core: SceneCore, name: str, orientation: str) -> None:
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(core.logic)
        core.logic.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(core.scene)
        self.node = self.logic.AddSliceNode(name)
        self.node.SetOrientation(orientation)
        self.logic.ResizeSliceNode(*_SIZE)
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)
        self._window.SetSize(*_SIZE)
        self._interactor = vtk.vtkRenderWindowInteractor()  # the displayable managers ask for one
        self._interactor.SetRenderWindow(self._window)
        renderer = vtk.vtkRenderer()
        renderer.GetActiveCamera().ParallelProjectionOn()
        self._window.AddRenderer(renderer)
        self._mapper = self._add_image(renderer)
        self._managers = self._add_managers(core.logic, renderer)

    @staticmethod
    def _add_image(renderer: vtk.vtkRenderer) -> vtk.vtkImageMapper:
        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        renderer.AddViewProp(actor)
        return mapper

    def _add_managers(
        self, logic: slicer.vtkMRMLApplicationLogic, renderer: vtk.vtkRenderer
    ) -> slicer.vtkMRMLDisplayableManagerGroup:
        """They draw the legend, and see only legends that are added after them."""
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(logic)
        for manager in _MANAGERS:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        group = slicer.vtkMRMLDisplayableManagerGroup()
        group.Initialize(factory, renderer)
        group.SetMRMLDisplayableNode(self.node)
        return group

    @property
    def composite(self) -> slicer.vtkMRMLSliceCompositeNode:
        """The node that says which volumes lie on top of each other."""
        return self.logic.GetSliceCompositeNode()

    def fit(self) -> None:
        self.logic.FitSliceToBackground()

    def pixels(self) -> np.ndarray:
        """The blended picture, (height, width, 3) of uint8; black while there is no volume."""
        port = self._picture()
        if port is None:
            return np.zeros((*_SIZE[::-1], 3), np.uint8)
        port.GetProducer().Update()
        return _as_array(port.GetProducer().GetOutputDataObject(port.GetIndex()))

    def grab(self, path: str | Path | None = None) -> np.ndarray:
        """Like `pixels`, with the color legend where OpenGL works; also written to a PNG file."""
        picture = self._render() if has_opengl() else self.pixels()
        if path is not None:
            height, width, _ = picture.shape
            image = QImage(picture.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
            if not image.save(str(path)):
                raise OSError(f"cannot write {path}")
        return picture

    def _picture(self) -> vtk.vtkAlgorithmOutput | None:
        """Where the picture comes out: another place when the number of layers has changed."""
        self.logic.ResizeSliceNode(*_SIZE)  # a scene that was read brings its own size
        return self.logic.GetImageDataConnection()

    def _render(self) -> np.ndarray:
        self._mapper.SetInputConnection(self._picture())
        self._window.Render()
        capture = vtk.vtkWindowToImageFilter()
        capture.SetInput(self._window)
        capture.ReadFrontBufferOff()
        capture.Update()
        return _as_array(capture.GetOutput())


def _as_array(image: vtk.vtkImageData) -> np.ndarray:
    width, height, _ = image.GetDimensions()
    values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)
    return values[::-1, :, :3].copy()  # VTK counts rows from below
