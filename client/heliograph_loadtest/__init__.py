"""`heliograph loadtest`: what a gateway answers, how fast, and up to which rate.

Two loads: an open loop sends by a clock, whatever the target does, and measures each latency from
the moment the call was due; a closed loop has a number of callers that wait for their answers. One
step is one load for a time; a run has one step or several (a ramp, or a search for the highest rate
that keeps an objective).

One call's way: `arrivals` says when it is due, `generator` sends it, `calls` turns its answer into
an outcome, `recording` writes it down, `generator_process` ships the records to the command's own
process, `aggregation` folds them into `results`, and `terminal`, `document` and `page` show those.
"""
