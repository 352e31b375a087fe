import jinja2
import pytest

from dermgan_tf import report


def test_filters():
    assert report.format_number(None) == "undefined"
    assert report.format_number(1234.5678) == "1235"
    assert report.format_interval(None) == "undefined"
    assert report.format_interval([0.1, 0.2]) == "0.1 to 0.2"
    assert report._data_uri(b"\x89PNG") == "data:image/png;base64,iVBORw=="


def test_a_missing_value_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        report.render_page("quickstart.html", sheets=[])
