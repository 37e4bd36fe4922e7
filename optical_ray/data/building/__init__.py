"""Sources -> corpus, as a chain of pure tasks on files: any driver may map them, and a build that was killed goes on where it stopped.

    harvest    a chunk of a source: read, clean, hash the English key -> rows by bucket of the hash
    near       buckets of English keys -> which are near-duplicates (MinHash bands, judged bucket by bucket)
    settle     one bucket, all languages: duplicates out, rows in stored order
    number     one bucket: the English strings that are left, once each (not of text alone)
    assemble   one language (or a part of a large one): its Parquet files

Equal English keys have equal hashes, so they meet in one bucket and no task ever holds all keys. Buckets are ranges of the hash and the
stored order is the order of the hash: buckets one after the other are the corpus, whatever their number. Of text alone the key is that of
the text itself. `pipeline` drives the chain.
"""
