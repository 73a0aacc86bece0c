"""``bardge_async.doctor``."""
