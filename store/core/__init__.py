"""What every backend obeys and shares: the contract of stores and fields, specs, dtypes, names."""
