"""Report pages: one self-contained HTML file each, that opens offline."""

import base64
from typing import Any

import jinja2


def render_page(template: str, **values: Any) -> str:
    """Fills in a page of `dermgan_tf/templates`.

    Args:
        template: str. The page's file name.
        **values: what the template names; a missing one is an error.

    Returns:
        HTML. Text is escaped; PNG bytes become pictures by the filter `data_uri`.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dermgan_tf.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=format_number, interval=format_interval, data_uri=_data_uri
    )
    return environment.get_template(template).render(**values)


def format_number(value: float | None, digits: int = 4) -> str:
    """Significant digits; a word for what is undefined."""
    return "undefined" if value is None else f"{value:.{digits}g}"


def format_interval(ends: list[float] | None) -> str:
    return "undefined" if ends is None else f"{ends[0]:.4g} to {ends[1]:.4g}"


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
