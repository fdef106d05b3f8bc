"""gms-bench: a benchmark harness for 2-D medical image segmentation."""

__version__ = "0.1.0"
