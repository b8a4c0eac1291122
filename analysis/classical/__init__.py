"""The paper's own analysis, to the digit."""
