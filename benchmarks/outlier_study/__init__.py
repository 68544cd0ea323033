"""Who finds the outliers: real data, simulations, breakdown, intervals."""
