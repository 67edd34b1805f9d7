"""Questions to a store: what is near, how vectors are spread, what is covered, how two stores differ."""
