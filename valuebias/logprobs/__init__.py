"""From the log-probs of whole vocabularies to implicit rewards."""
