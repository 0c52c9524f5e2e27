"""From an encoded event to a delivered batch: queue, segments on disk, worker, retry and stats."""
