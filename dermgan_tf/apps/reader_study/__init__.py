"""The reader study: people judge real and synthetic images, without knowing which.

Both experiments of DermGAN (arXiv 1911.08716): part 1, "which of these are real?", and
part 2, "which images show condition X?". `build` makes a study's folder, `study` reads
it, `store` keeps participants and answers, `analysis` tells what they come to;
`dermgan_tf.apps.reader_study.pages` shows it in a browser.
"""
