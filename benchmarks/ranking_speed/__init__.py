"""Time and memory of rankings from votes, beside other packages' Bradley-Terry fits."""
