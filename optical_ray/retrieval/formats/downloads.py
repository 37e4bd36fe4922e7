"""What to say when files are not there: which release holds them, what to fetch, where to put it, how it should look then."""

from __future__ import annotations

from pathlib import Path

from optical_ray.errors import DataError

LAYOUTS = {
    "bitext": "lang=<code>/part-*.parquet with columns english and text, or a corpus that `optical data build --out` made",
    "tatoeba": "tatoeba.<iso>-eng.<iso> and tatoeba.<iso>-eng.eng (as many lines in both), or lang=<code>/part-*.parquet",
    "lareqa": "<lang>.json or xquad-r/<lang>.json (SQuAD with `sentences` and `sentence_breaks`), or queries, corpus and qrels .parquet",
    "mewsli-x": "candidate_set_entities.jsonl and wikinews_mentions-<dev|test>.jsonl",
    "trec": "topics.*, qrels* and documents.* (or a folder documents/): TREC's tags, XML, JSONL or id<TAB>text; .gz is fine",
    "beir": "corpus.jsonl, queries.jsonl and qrels/<test|dev>.tsv",
    "parquet": "queries.parquet (query_id, text, lang), corpus.parquet (doc_id, text, lang), qrels.parquet (query_id, doc_id, relevance)",
    "mmarco": "collections/<language>_collection.tsv, queries/dev/<language>_queries.dev.small.tsv and qrels.dev.small.tsv",
    "wikiclir": "english/wiki_en.queries, and for each language <language>/wiki_<code>.documents and <language>/en2<code>.rel",
    "clirmatrix": "DOCS/<code>.tsv.gz, and <code>/<code>.<code>.<dev|test1>*.jl.gz somewhere below (BI-139/base, BI-139/full, MULTI-8)",
    "ir_datasets": "an id of ir_datasets that has documents, queries and judgements, such as hc4/fa/test",
}
"""What each task reads."""

SOURCES = {
    "bitext": "any parallel text will do: build it with `optical data build SOURCE --out FOLDER`",
    "tatoeba": "fetch https://github.com/facebookresearch/LASER and name its folder data/tatoeba/v1 (112 languages, CC BY 2.0 FR)",
    "lareqa": "fetch https://github.com/google-research-datasets/lareqa and name its folder xquad-r (11 languages, CC BY-SA 4.0)",
    "mewsli-x": "fetch https://storage.googleapis.com/gresearch/mewsli/mewsli-x_20220518_6.zip (291 MB) by the script get-mewsli-x.sh of "
    "https://github.com/google-research/google-research, dense_representations_for_entity_retrieval/mel, which also puts the texts of the "
    "news articles in, and name its folder mewsli_x/output/dataset",
    "trec": "collections of TREC and CLEF come from NIST, LDC or ELRA; HC4 from https://github.com/hltcoe/HC4, NeuCLIR: neuclir.github.io",
    "beir": "fetch a data set from https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets/ and unpack it",
    "parquet": "write the three tables from any collection",
    "mmarco": "fetch https://huggingface.co/datasets/unicamp-dl/mmarco and name its folder data/google, data/qrels.dev.small.tsv in it or "
    "beside it",
    "wikiclir": "fetch https://www.cs.jhu.edu/~kevinduh/a/wikiclir2018/wiki-clir.tar.gz (7 GB), unpack it and name its folder wiki-clir",
    "clirmatrix": "fetch the files from https://www.cs.jhu.edu/~shuosun/clirmatrix/data/ and keep its folders",
    "ir_datasets": "see https://ir-datasets.com for the ids, and which of them need files that have to be asked for",
}
"""Where each task's files come from."""


def missing(task: str, where: Path | str, found: str) -> DataError:
    """The one line that is said when a task's files are not there.

    Args:
        task: Which.
        where: The user's path.
        found: What is there, or is not.
    """
    return DataError(f"{where}: {found}; {task} reads {LAYOUTS[task]}; {SOURCES[task]}")
