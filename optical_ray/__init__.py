"""optical_ray: does the language set matter? A Ray-distributed sweeper for cross-lingual retrieval by optimal transport.

The stages, in the order in which data flows through them (imports point the other way, and only down):

    languages      codes, scripts; nested language sets; mixing (temperature, budget -> rows per language)
    data           bitext sources -> cleaned Parquet shards + manifest; the batch plan; the teacher cache
    encoders       the frozen English teacher, the multilingual student, tokenizers, token interaction
    transport      ground cost, marginals, Sinkhorn, the plan
    training       objectives, optimizer, reduction over workers, checkpoints, the loop
    retrieval      exact search, tasks, measures, intervals, reference systems
    recipe         everything that determines a number, in one frozen object
    teaching       an English teacher from relevance data, with a verdict on whether it may teach
    trial          run_trial(recipe) -> rows: every stage on one machine, without Ray. Read this first
    sweep          a question, a base recipe and a space -> trial recipes
    orchestration  the only folder that imports Ray: where and how many
    analysis       run folders -> tables, figures, report
    cli            the verbs
"""
