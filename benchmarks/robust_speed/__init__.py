"""Time and memory of Huber paths, beside other packages' robust fits."""
