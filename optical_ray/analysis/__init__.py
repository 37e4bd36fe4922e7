"""From a run folder to an answer: no Ray, no torch, no checkpoint; works on a running, a killed and a finished sweep.

load       a run folder -> Run: what was asked, every trial, every counted per-query outcome
outcomes   per-query rows -> aligned arrays per system and language
design     what the trials are to each other: parts, arms, k, what varies, which languages a curve over k is scored on
summary    per trial, system and group of languages: means with intervals over relevant sentences; the rows of summary.parquet
curves     per cell of the grid (arm, k), seeds averaged: what the figures over k and languages draw
compare    paired differences on the same queries: arms against the floors, OT's own share, what k does, the search's choice
analyse    all of the above in one object
answer     sentences that the numbers allow, and what is missing
table      the table in the terminal
figures    panels as SVG and PNG
page       the template's view of an analysis: cells, captions, notes
averages   of one evaluation's rows: means with intervals by view, language, system and scorer; the lines of its summary.csv
report     report/: index.html, figures, CSV, Parquet
"""
