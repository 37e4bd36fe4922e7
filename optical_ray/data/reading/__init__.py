"""Bitext, or text alone, of any format -> chunks (plain data) -> batches of rows: `plan_chunks` in the driver, `read_chunk` anywhere.

spec      a source string            naming    what a name says of language and format   places    local paths and URIs
discover  source -> files            hub       a data set of the Hugging Face hub        inspect   file -> columns and parts
columns   which column is what       cuts      where big files are cut                   plan      sources -> chunks
streams   bytes, decompressed        lines     bytes -> lines                            read      chunk -> batches by language
moses, delimited, json_lines, tmx, tables, text      the formats                         tally     bad rows, counted
"""

from optical_ray.data.reading.chunks import BATCH_ROWS, CHUNK_BYTES, Chunk, Kind, OnBadRow, RawBatch, UnknownLanguages
from optical_ray.data.reading.plan import SourceFiles, SourcePlan, find_sources, plan_chunks
from optical_ray.data.reading.read import read_chunk
from optical_ray.data.reading.tally import Tally

__all__ = [
    "BATCH_ROWS",
    "CHUNK_BYTES",
    "Chunk",
    "Kind",
    "OnBadRow",
    "RawBatch",
    "SourceFiles",
    "SourcePlan",
    "Tally",
    "UnknownLanguages",
    "find_sources",
    "plan_chunks",
    "read_chunk",
]
