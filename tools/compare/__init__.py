"""The experiment suite behind ``keyclip compare`` and ``keyclip demo``.

Arms are trained and evaluated one after another from one store; what is done is kept, so the same command continues.
"""
