"""From an encoded event to a delivered batch: queue, segments on disk, listener, retry and account."""
