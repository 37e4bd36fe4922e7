"""English relevance data for a teacher: sources of any usual format -> queries and documents by row -> batches.

config   where it comes from, how it is split
spec     one source: PATH[,key=value], its format said or guessed
rows     JSON objects (and rows of a Parquet file) that hold a query and its texts
readers  the formats: jsonl, triples, msmarco, beir, parquet
build    all sources -> one artifact of the store
table    the artifact, by row
batches  rows of the plan -> tensors
"""
