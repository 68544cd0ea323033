"""Which variables and which coefficients selection rules find, where truth is known."""
