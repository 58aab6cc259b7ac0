"""Whole jobs on files, without a word on a screen: a plan that touches nothing, then an iterator of events."""
