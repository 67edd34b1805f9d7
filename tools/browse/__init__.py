"""``keyclip browse``: a store and its image shards as local web pages."""
