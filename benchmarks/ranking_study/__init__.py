"""Who finds the wrong votes, and who ranks best: simulations and FG-NET."""
