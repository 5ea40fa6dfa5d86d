"""A chart of the scene as a picture, drawn by VTK's charts as Slicer's plot view does."""

from __future__ import annotations

from pathlib import Path

import slicer
import vtk

SIZE = 700, 380
_SERIES = slicer.vtkMRMLPlotSeriesNode
_LINES = {
    _SERIES.LineStyleNone: vtk.vtkPen.NO_PEN,
    _SERIES.LineStyleSolid: vtk.vtkPen.SOLID_LINE,
    _SERIES.LineStyleDash: vtk.vtkPen.DASH_LINE,
}


def draw_chart(chart: slicer.vtkMRMLPlotChartNode, path: Path) -> None:
    """Write a PNG of a chart node; needs OpenGL."""
    view = vtk.vtkContextView()
    view.GetRenderWindow().SetOffScreenRendering(1)
    view.GetRenderWindow().SetSize(*SIZE)
    view.GetRenderer().SetBackground(1, 1, 1)
    xy = vtk.vtkChartXY()
    view.GetScene().AddItem(xy)
    xy.SetTitle(chart.GetTitle())
    xy.GetTitleProperties().SetFontSize(13)
    for axis, title in ((1, chart.GetXAxisTitle()), (0, chart.GetYAxisTitle())):
        xy.GetAxis(axis).SetTitle(title)
        xy.GetAxis(axis).GetTitleProperties().SetFontSize(13)
    if not chart.GetXAxisRangeAuto():
        xy.GetAxis(1).SetBehavior(vtk.vtkAxis.FIXED)
        low, high = chart.GetXAxisRange()
        xy.GetAxis(1).SetRange(low, high)
    for index in range(chart.GetNumberOfPlotSeriesNodes()):
        series = chart.GetNthPlotSeriesNode(index)
        plot = xy.AddPlot(vtk.vtkChart.LINE)
        plot.GetPen().SetLineType(_LINES[series.GetLineStyle()])
        if series.GetMarkerStyle() == series.MarkerStyleCircle:
            plot.SetMarkerStyle(vtk.vtkPlotPoints.CIRCLE)
            plot.SetMarkerSize(series.GetMarkerSize())
        table = series.GetTableNode().GetTable()
        plot.SetInputData(table, series.GetXColumnName(), series.GetYColumnName())
        plot.SetColorF(*series.GetColor())
        plot.SetWidth(series.GetLineWidth())
    view.GetRenderWindow().Render()
    capture = vtk.vtkWindowToImageFilter()
    capture.SetInput(view.GetRenderWindow())
    capture.ReadFrontBufferOff()
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputConnection(capture.GetOutputPort())
    writer.Write()
