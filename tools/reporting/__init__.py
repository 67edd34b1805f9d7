"""Reports: reads runs and results, compares the arms, and writes tables and one self-contained HTML file.

``inputs`` (files -> runs and results) -> ``compare`` (results -> tables of measures) -> ``verdict`` (who wins where);
``table`` renders for terminals and Markdown, ``html`` for browsers and paper.
"""
