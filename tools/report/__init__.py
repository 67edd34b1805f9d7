"""Reports: reads runs and results, compares the arms, and writes tables and one self-contained HTML file.

``material`` (files -> runs and results) -> ``results`` (tables, claims and intervals) -> ``pages`` (HTML, Markdown and
plain text).
"""
