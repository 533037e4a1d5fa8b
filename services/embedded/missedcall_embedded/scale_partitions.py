"""`missedcall scale-partitions`: the classifier's own, which its image has without this package."""

from missedcall_classifier.scale_partitions import main

__all__ = ["main"]
