"""Writes an evaluation down: metrics.json, the sheet, a page that opens offline."""

import base64
import json
import os
import pathlib

import jinja2

from dermgan_tf.evaluation import SKIN_TYPE_NAMES, Evaluation
from dermgan_tf.photo_io import encode_png

SHEET_FILE = "held_out_maps.png"


def write_evaluation(folder: str | os.PathLike, evaluation: Evaluation) -> None:
    """Writes metrics.json, held_out_maps.png and report.html.

    The sheet is marked as synthetic in its PNG text, though it shows the real images
    beside the synthetic ones: nothing should take it for a photograph.

    Args:
        folder: an existing folder.
        evaluation: what `evaluate` returned.
    """
    folder = pathlib.Path(folder)
    metrics = evaluation.metrics
    sheet = encode_png(
        evaluation.sheet,
        {
            "synthetic": "true",
            "generator": metrics["generator"]["fingerprint"],
            "shows": "held-out maps with real and synthetic images",
        },
    )
    text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "metrics.json").write_text(text + "\n", "utf-8")
    (folder / SHEET_FILE).write_bytes(sheet)
    (folder / "report.html").write_text(_page(metrics, sheet), "utf-8")


def _page(metrics: dict, sheet: bytes) -> str:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["number"] = _number
    environment.filters["interval"] = _interval
    environment.filters["height"] = _height
    return environment.from_string(_TEMPLATE).render(
        metrics=metrics,
        sheet=base64.b64encode(sheet).decode(),
        type_names=SKIN_TYPE_NAMES,
    )


def _number(value: float | None) -> str:
    """Four significant digits; a word for what is undefined."""
    return "undefined" if value is None else f"{value:.4g}"


def _interval(ends: list[float] | None) -> str:
    return "undefined" if ends is None else f"{_number(ends[0])} … {_number(ends[1])}"


def _height(ita: float) -> float:
    """Where the chart shows an ITA, in pixels from its top; kept within it."""
    return round(110 - min(max(ita, -90), 90), 1)


_TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Synthetic skin images, judged</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem;
         margin: 2rem auto; padding: 0 1rem; }
  h1 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
  table { border-collapse: collapse; margin: 1rem 0; }
  th, td { padding: .35rem .8rem; border-bottom: 1px solid #ccc; text-align: right;
           vertical-align: top; }
  th:first-child, td:first-child { text-align: left; }
  thead th { border-bottom: 2px solid #666; }
  .note { color: #555; } .scroll { overflow-x: auto; }
  img { max-width: 100%; height: auto; }
  svg text { font-size: 12px; fill: #444; }
</style>
</head>
<body>
{% set data = metrics.data %}
{% set embedding = metrics.embedding %}
{% set synthetic = metrics.distances.synthetic_real %}
{% set real = metrics.distances.real_real %}
{% set tone = metrics.skin_tone %}
<h1>Synthetic skin images, judged</h1>
<p>{{ data.images }} images were painted from the maps of {{ data.images }} of
{{ data.images_in_split }} {{ data.source }} images of the {{ data.split }} split
({{ data.cases }} cases, {{ data.image_size }} × {{ data.image_size }} pixels).
Embedding: <strong>{{ embedding.name }}</strong>, {{ embedding.features }} features,
images resized to {{ embedding.image_size[0] }} × {{ embedding.image_size[1] }}
(8-bit, antialiased bicubic).</p>

<h2>What to know before reading on</h2>
<ul>
{% for remark in metrics.remarks %}
<li>{{ remark }}</li>
{% endfor %}
</ul>

<h2>Distance from real images</h2>
<div class="scroll"><table>
<thead><tr><th></th><th>synthetic against real</th><th>real against real</th></tr>
</thead>
<tbody>
<tr><td>compared</td><td>{{ synthetic.compared }}</td><td>{{ real.compared }}</td></tr>
<tr><td>images a side</td><td>{{ synthetic.images }}</td><td>{{ real.images }}</td></tr>
<tr><td>Fréchet distance, all of them</td>
<td>{{ synthetic.frechet_distance | number }}</td>
<td>{{ real.frechet_distance | number }}</td></tr>
<tr><td>Fréchet distance over {{ synthetic.frechet_trials.trials }} trials of
{{ synthetic.frechet_trials.sample_size }} images a side</td>
{% for side in (synthetic, real) %}
{% set trials = side.frechet_trials %}
<td><strong>{{ trials.mean | number }}</strong>,
SD {{ trials.standard_deviation | number }}<br>95 %: {{ trials.interval_95 | interval }}
</td>
{% endfor %}
</tr>
<tr><td>kernel distance</td><td>{{ synthetic.kernel_distance | number }}</td>
<td>{{ real.kernel_distance | number }}</td></tr>
{% for name in ("precision", "recall", "density", "coverage") %}
<tr><td>{{ name }} (k = {{ synthetic.neighbours }})</td>
<td>{{ synthetic[name] | number }}</td><td>{{ real[name] | number }}</td></tr>
{% endfor %}
</tbody></table></div>
<p class="note">Smaller distances are better. Precision: share of images that lie among
the real ones; recall: share of the real ones that lie among the images. Density and
coverage say the same, less moved by outliers.</p>

<h2>Does skin colour follow the map?</h2>
<div class="scroll"><table>
<thead><tr><th></th><th>synthetic</th><th>real</th></tr></thead>
<tbody>
<tr><td>Spearman correlation of ITA with the skin type (−1 is perfect)</td>
{% for side in (tone.synthetic, tone.real) %}
<td><strong>{{ side.spearman | number }}</strong><br>
95 %: {{ side.interval_95 | interval }}</td>
{% endfor %}
</tr>
<tr><td>images measured (cases)</td>
{% for side in (tone.synthetic, tone.real) %}
<td>{{ side.images }} ({{ side.cases }})</td>
{% endfor %}
</tr>
<tr><td>images without enough visible skin</td><td>{{ tone.synthetic.unmeasured }}</td>
<td>{{ tone.real.unmeasured }}</td></tr>
<tr><td>images of unknown skin type, left out</td><td>{{ tone.unknown_type }}</td>
<td>{{ tone.unknown_type }}</td></tr>
</tbody></table></div>
{% if tone.by_type %}
<svg width="420" height="240" role="img" viewBox="0 0 420 240"
  aria-label="Median ITA by skin type, real and synthetic">
{% for degrees in (-50, 0, 50) %}
{% set y = degrees | height %}
<line x1="50" x2="410" y1="{{ y }}" y2="{{ y }}" stroke="#ddd"/>
<text x="44" y="{{ y + 4 }}" text-anchor="end">{{ degrees }}°</text>
{% endfor %}
{% for row in tone.by_type %}
{% set x = 20 + 60 * row.fitzpatrick %}
<text x="{{ x }}" y="220" text-anchor="middle">{{ type_names[row.fitzpatrick] }}</text>
{% if row.real_ita is not none %}
<circle cx="{{ x - 5 }}" cy="{{ row.real_ita | height }}" r="5"
  fill="none" stroke="#222" stroke-width="2">
  <title>real {{ row.real_ita | number }}°</title></circle>
{% endif %}
{% if row.synthetic_ita is not none %}
<circle cx="{{ x + 5 }}" cy="{{ row.synthetic_ita | height }}" r="5"
  fill="#c2410c"><title>synthetic {{ row.synthetic_ita | number }}°</title></circle>
{% endif %}
{% endfor %}
<text x="50" y="14">median ITA by skin type: ○ real, ● synthetic</text>
</svg>
<div class="scroll"><table>
<thead><tr><th>skin type</th><th>images</th><th>synthetic, median ITA</th>
<th>real, median ITA</th></tr></thead>
<tbody>
{% for row in tone.by_type %}
<tr><td>{{ type_names[row.fitzpatrick] }}</td><td>{{ row.images }}</td>
<td>{{ row.synthetic_ita | number }}°</td><td>{{ row.real_ita | number }}°</td></tr>
{% endfor %}
</tbody></table></div>
{% endif %}
<p class="note">ITA is measured on likely skin outside the boxes, in both kinds alike.
</p>

<h2>Held-out maps, painted</h2>
<p class="note">The first of each condition, not chosen for looks. The right one of three is
synthetic, the one before it is of the data set: handle this file as confidentially as
the data.</p>
<div class="scroll"><img alt="Maps, real images and synthetic images side by side"
  src="data:image/png;base64,{{ sheet }}"></div>

<h2>Counts and origins</h2>
<div class="scroll"><table>
<thead><tr><th>condition</th><th>images</th></tr></thead><tbody>
{% for name, count in data.conditions.items() %}
<tr><td>{{ name }}</td><td>{{ count }}</td></tr>
{% endfor %}
</tbody></table></div>
<p>Generator {{ metrics.generator.fingerprint }}<br>
Pairs {{ data.fingerprint }}<br>
Embedding {{ embedding.fingerprint }}</p>
</body>
</html>
"""
