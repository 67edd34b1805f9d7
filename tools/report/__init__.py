"""Reports: reads runs and results, compares the arms, and writes tables and one self-contained HTML file.

``inputs`` (files -> runs and results) -> ``summary``, ``paper``, ``ablations``, ``claims`` (results -> ``tables``) ->
``report``; ``terminal``, ``markdown`` and ``html`` write it, the last with the templates of ``templates``.
"""
