"""Measurements that take minutes; each is run by hand and says what it measured."""
