"""Captions in, keyed vectors out: encodes captions with a frozen model and commits them to a store."""

import logging

# else logging prints errors on stderr, where the command prints them too
logging.getLogger("keyclip.embedder").addHandler(logging.NullHandler())
