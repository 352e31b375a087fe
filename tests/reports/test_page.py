import jinja2
import pytest

from dermgan_tf.reports import page


def test_filters():
    assert page.format_number(None) == "undefined"
    assert page.format_number(1234.5678) == "1235"
    assert page.format_interval(None) == "undefined"
    assert page.format_interval([0.1, 0.2]) == "0.1 to 0.2"
    assert page._data_uri(b"\x89PNG") == "data:image/png;base64,iVBORw=="


def test_a_missing_value_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        page.render_page("quickstart.html", sheets=[])
