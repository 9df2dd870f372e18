"""Puts this folder, with forked.py in it, on the path of all integration tests."""
