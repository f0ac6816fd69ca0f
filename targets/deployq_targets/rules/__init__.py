"""One small function for each way in which a profile can contradict itself.

The docstring of a rule is the rule in the user's words: errors and documentation print it. A rule
yields one Clash for each place that breaks it.
"""
