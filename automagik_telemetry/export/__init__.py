"""Export: queue, segments on disk, worker, retry, delivery stats and HTTP."""
