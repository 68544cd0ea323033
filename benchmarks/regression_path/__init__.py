"""How long a whole regularization path takes, beside other packages' paths."""
