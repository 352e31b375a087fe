"""One run of a training: options, loop, callbacks, checkpoints, devices."""
