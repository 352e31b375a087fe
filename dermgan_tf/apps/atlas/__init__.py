"""The image atlas: real, drawn and synthetic skin images, searched by what they show.

`build` embeds the images of `sources` and puts them into a `store` (LanceDB); each is
kept as a small picture without metadata (`pictures`), a synthetic one with its mark in
the pixels. `filters` are what may be asked for, `query` finds what is alike, and
`dermgan_tf.apps.atlas.pages` shows it. The extra [atlas] installs what is needed;
docs/atlas.md tells why.
"""
