"""What inverse problems mean to people: one folder each, and no other room knows their names.

A folder says in ``PROBLEMS`` which problems it holds. That is all that finds it.
"""
