"""Models and classifiers to evidence: tests, intervals, reports."""
