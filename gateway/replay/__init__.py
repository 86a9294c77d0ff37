"""Replay: what a change of the policies would have done to the requests that the log holds.

The log is verified first, then each recorded decision's facts are put to the policies in force and to the draft. Equal facts are
asked once: equal means that neither of the two can tell them apart (`telling`). Nothing is guessed: a record that lacks a fact
which one of the two reads is counted apart, with the fact's name.
"""
