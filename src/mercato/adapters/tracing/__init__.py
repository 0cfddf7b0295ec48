"""Where recorded spans go: to a collector by OTLP, to a file, or to the console."""
