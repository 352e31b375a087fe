"""What the figures of all reports share: plain axes, and PNG bytes."""

import io

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_DPI = 110


def plain_axes(axis: Axes) -> None:
    """Leaves out the frame's upper and right line."""
    axis.spines[["top", "right"]].set_visible(False)


def figure_png(figure: Figure) -> bytes:
    """The same bytes for the same figure."""
    figure.set_layout_engine("constrained")
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()
