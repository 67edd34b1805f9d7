"""``keyclip store``: commands that query, check and copy stores."""
