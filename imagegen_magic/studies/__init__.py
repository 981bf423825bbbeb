"""What a researcher does with many results: sweeps, comparing, voting, history, money, export; knows no notebook."""
