"""Break the exchange on purpose, and find out what its clients would notice.

`cluster` runs servers and processes and hurts them; `scenarios` is the table of what can be done to
them; `load` is the clients, who write down what they asked and heard; `checker` compares that with
what PostgreSQL holds; `campaign` repeats it all with a seed. tests/faults/ runs a short selection.
"""
