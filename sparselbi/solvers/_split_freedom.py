"""Degrees of freedom of the dense coefficients of Split LBI."""

class DenseFreedom:
    def __init__(self, split):
        self.split = split
